"""What a sweep would take."""

import time
from collections.abc import Mapping, Set
from dataclasses import dataclass

import psutil

from stablestep.sweep.grid import Points
from stablestep.sweep.task import Work


@dataclass(frozen=True)
class Plan:
    """What a sweep would take.

    Attributes:
        points: how many different ones there are.
        finished: how many of them the store has already.
        first: seconds that the first point took here, with its compilation.
        seconds: that another one took.
        size: bytes of a point in the store.
        memory: bytes that this process needs, of which every worker needs as many.
    """

    points: int
    finished: int
    first: float
    seconds: float
    size: int
    memory: int

    def hours(self, workers: int = 1) -> float:
        """How long the rest takes.

        >>> Plan(points=102, finished=0, first=72.0, seconds=72.0, size=1, memory=1).hours(workers=2)
        1.02
        """
        left = self.points - self.finished
        return (left > 0) * (self.first + self.seconds * max(left - workers, 0) / workers) / 3600


def measured(work: Work, points: Points, keys: Mapping[str, int], there: Set[str]) -> Plan:
    """Two points are computed: the first shows how long compilation takes, the second what each of the others does."""
    left = [number for key, number in keys.items() if key not in there] or list(keys.values())
    times, size = [], 0
    for number in (left * 2)[:2]:
        start = time.perf_counter()
        size = max(size, len(work.run(points[number])[0]))
        times.append(time.perf_counter() - start)
    memory = psutil.Process().memory_info().rss
    return Plan(len(keys), len(keys.keys() & there), times[0], times[1], size, memory)
