"""The points that a store has not: computed by an executor, and written as they come."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cloudpickle

from stablestep.errors import InvalidInput, instance
from stablestep.progress import Watch
from stablestep.sweep.grid import Points
from stablestep.sweep.run import NotFinished, Serial, ahead, finished
from stablestep.sweep.store import Store
from stablestep.sweep.task import Unlike, Work, packed, run_packed
from stablestep.sweep.workers import require_no_fork

HOPELESS = 10  # failures without a single result


@dataclass(frozen=True)
class Runner:
    """Where points are computed, and how one is handed over."""

    executor: Executor
    call: Callable
    hand: Callable[[dict[str, Any]], tuple]
    most: int


def runner_of(executor: Any, work: Work) -> Runner:
    instance("executor", executor, Executor, "sweep.processes(4)")
    if isinstance(executor, Serial | ThreadPoolExecutor):
        return Runner(executor, work.run, lambda point: (point,), ahead(executor, 0))
    require_no_fork(executor)
    sent = packed(work)
    return Runner(executor, run_packed, lambda point: (sent, cloudpickle.dumps(point)), ahead(executor, len(sent)))


def compute(runner: Runner, place: Store, points: Points, keys: list[str], told: Watch) -> None:
    """Every point that the store has not: written as it comes."""
    there = place.finished()
    left = {key: number for number, key in reversed(list(enumerate(keys))) if key not in there}
    every = len(set(keys))
    done, failed = every - len(left), []
    told(done / every)
    told.part(done / every, (done + 1) / every)
    for number, future in finished(
        runner.executor, runner.call, _tasks(runner, place, points, keys, left), runner.most
    ):
        error = _error(future, done, every)
        if error is None:
            content, frame = future.result()
            place.write(keys[number], frame, content)
        else:
            failed.append((number, error))
        done += error is None
        told(done / every)
        told.part(done / every, min(done + 1, every) / every)
        if len(failed) == HOPELESS and done == every - len(left):
            break
    if failed:
        number, error = failed[0]
        what = f"{type(error).__name__}: {error}".strip(": ").splitlines()[0]
        raise NotFinished(
            f"{len(failed)} points failed, the first ({points.words(number)}) with {what}; {done} of {every} are kept, "
            "and the same sweep again computes the others."
        ) from error


def _tasks(
    runner: Runner, place: Store, points: Points, keys: list[str], left: dict[str, int]
) -> Iterator[tuple[int, tuple]]:
    """From a place of one's own on, so that sweeps of the same points meet late; what another one has finished is left out."""
    numbers = list(left.values())
    first = secrets.randbelow(len(numbers)) if numbers else 0
    for number in numbers[first:] + numbers[:first]:
        if not place.has(keys[number]):
            yield number, runner.hand(points[number])


def _error(future: Future, done: int, every: int) -> BaseException | None:
    """What went wrong with a point; what concerns all points is raised."""
    try:
        error = future.exception()
    except CancelledError as cancelled:
        error = cancelled
    if isinstance(error, Unlike):
        raise InvalidInput(str(error)) from error
    if isinstance(error, BrokenExecutor | CancelledError):
        raise NotFinished(
            f"the executor lost its workers ({type(error).__name__}); {done} of {every} points are kept, and the same sweep again "
            "with a new executor computes the others."
        ) from error
    return error
