"""Paired timings: both sides alternate within one run, so that a slow moment of the machine slows both.

Baselines run in a process of their own, kept between timings, so that neither side has the threads, caches and garbage of the other.
"""

import gc
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import jax
import numpy as np

from stablestep.record import engine


@dataclass(frozen=True)
class Side:
    """Something to time, the number of coordinate-steps it computes, and the other process if it runs there."""

    run: Callable[[], object]
    coordinate_steps: int
    elsewhere: ProcessPoolExecutor | None = None

    def nanoseconds(self) -> float:
        """Wall time of one call for each coordinate-step."""
        spent = self.elsewhere.submit(seconds, self.run).result() if self.elsewhere else seconds(self.run)
        return 1e9 * spent / self.coordinate_steps


def other_process() -> ProcessPoolExecutor:
    """A single fresh Python process."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def paired(sides: Sequence[Side], repetitions: int) -> np.ndarray:
    """Wall time in ns for each coordinate-step, (sides, repetitions); the first call, which compiles, is left out."""
    for side in sides:
        side.nanoseconds()
    return np.array([[side.nanoseconds() for side in sides] for _ in range(repetitions)]).T


def seconds(run: Callable[[], object]) -> float:
    gc.collect()
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def compile_seconds(run: Callable[[], object], repetitions: int) -> np.ndarray:
    """Tracing, lowering and compiling: what a first call costs beyond the next one, for each repetition."""
    run()  # imports and tables
    return np.array([_cold(run) - seconds(run) for _ in range(repetitions)])


def _cold(run: Callable[[], object]) -> float:
    engine._kernel.cache_clear()
    jax.clear_caches()
    return seconds(run)
