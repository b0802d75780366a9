"""Points through an executor: so many at once that its workers are busy, so few that nothing piles up."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from queue import SimpleQueue

from stablestep.errors import InvalidInput

WAITING = 1024  # tasks that an executor may hold
BYTES = 1 << 28  # and what they may weigh


class NotFinished(RuntimeError):
    """A sweep that ended before its last point; the message says in one sentence what was kept."""


class Serial(Executor):
    """Runs a task as it is submitted."""

    def submit(self, fn, /, *args, **kwargs) -> Future:
        """A finished future."""
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def ahead(executor: Executor, size: int) -> int:
    """How many tasks of this many bytes an executor gets before the first is finished."""
    return 1 if isinstance(executor, Serial) else max(2, min(WAITING, BYTES // max(size, 1)))


def finished(
    executor: Executor, call: Callable, tasks: Iterable[tuple[int, tuple]], most: int
) -> Iterator[tuple[int, Future]]:
    """Each task's number and its future when it is done, in any order; what is left is cancelled when nobody asks any more.

    Raises:
        InvalidInput: if the executor takes nothing.
    """
    done, waiting = SimpleQueue(), {}
    try:
        for number, arguments in tasks:
            future = _submitted(executor, call, arguments)
            waiting[future] = number
            future.add_done_callback(done.put)
            if len(waiting) >= most:
                yield _next(done, waiting)
        while waiting:
            yield _next(done, waiting)
    finally:
        for future in waiting:
            future.cancel()


def _submitted(executor: Executor, call: Callable, arguments: tuple) -> Future:
    try:
        return executor.submit(call, *arguments)
    except BrokenExecutor as error:
        future = Future()
        future.set_exception(error)
        return future
    except RuntimeError as error:
        raise InvalidInput(
            f"the executor takes no task ({error}); give one that is open. Finished points are kept."
        ) from error


def _next(done: SimpleQueue, waiting: dict[Future, int]) -> tuple[int, Future]:
    future = done.get()
    return waiting.pop(future), future
