"""Runs every entrant in every task, as far as the store does not know them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from benchmarks.frontier import protocol
from benchmarks.frontier.dense import REFERENCE
from benchmarks.frontier.entrant import Entrant
from benchmarks.frontier.pool import WORKERS, Failed, Pool
from benchmarks.frontier.protocol import Found
from benchmarks.frontier.score import Score, score
from benchmarks.frontier.store import Store, key
from benchmarks.frontier.tasks import Task
from benchmarks.frontier.train import Cell

Plan = tuple[Task, Entrant]
Told = Callable[[Task, Entrant, Score | str], object]


class Bench:
    """A context manager that holds the workers.

    Args:
        store: of the runs so far.
        seeds: for scoring.
        jobs: groups of workers that run at a time.
        tell: called after each entrant in a task, with its score or with what failed.
    """

    def __init__(self, store: Store, seeds: tuple[int, ...], jobs: int, tell: Told):
        self.store, self.seeds, self.tell = store, seeds, tell
        self._all, self._free = [Pool() for _ in range(jobs)], SimpleQueue()
        for pool in self._all:
            self._free.put(pool)

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._all:
            pool.stop()

    def measure(self, tasks: Sequence[Task], entrants: Sequence[Entrant]) -> dict[tuple[str, str], Found]:
        """What each reached in each task, in this order; those that failed are missing.

        Raises:
            Failed: if the reference does.
        """
        reference, *others = sorted(entrants, key=lambda one: one.name != REFERENCE)
        found = dict(self._each([(task, reference) for task in tasks], {}))
        if missing := {task.name for task in tasks} - {task for task, _ in found}:
            raise Failed(f"nothing to compare with in {', '.join(sorted(missing))}, where {reference.title} failed")
        return found | dict(self._each([(task, one) for task in tasks for one in others], found))

    def _each(self, plans: Sequence[Plan], known: dict) -> Iterator[tuple[tuple[str, str], Found]]:
        threads = ThreadPoolExecutor(len(self._all))
        try:
            reached = threads.map(lambda plan: self._one(*plan, known.get((plan[0].name, REFERENCE))), plans)
            for (task, entrant), found in zip(plans, reached):
                if found is not None:
                    yield (task.name, entrant.name), found
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _one(self, task: Task, entrant: Entrant, reference: Found | None) -> Found | None:
        try:
            found = protocol.measure(task, entrant, self.seeds, self._run, reference)
        except Failed as error:
            self.tell(task, entrant, str(error))
            return None
        self.tell(task, entrant, score(task.name, entrant.name, task.steps, found, reference or found))
        return found

    def _run(self, cell: Cell, entrant: Entrant) -> dict[str, Any]:
        name = key(cell, entrant, WORKERS)
        known = self.store.get(name)
        if known is None:
            with self._pool() as pool:
                known = pool.run(cell)
            self.store.put(name, known)
        return known

    @contextmanager
    def _pool(self) -> Iterator[Pool]:
        pool = self._free.get()
        try:
            yield pool
        finally:
            self._free.put(pool)
