"""How runs are split into chunks that stay in the cache, spread over the cores, and kept within the memory there is."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import numpy as np
import psutil

from stablestep.errors import require

T = TypeVar("T")
CHUNK = 1 << 16  # numbers of a chunk: a quarter MiB in float32, so that what a step reads and writes stays in the cache


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunk_of(runs: int, size: int, most: int = 4096) -> int:
    """Runs in one call, where the state of a run holds `size` numbers: the calls are alike, and every core gets as many.

    >>> chunk_of(10, size=1000)
    5
    """
    chunk = int(np.clip(CHUNK // size, 4, most))
    workers = min(cores(), runs)
    calls = -(-runs // (chunk * workers)) * workers
    return -(-runs // calls)


def in_threads(call: Callable[[int], T], firsts: Iterable[int], told: Callable[[float], None]) -> list[T]:
    """`call` of each, in as many threads as there are cores: compiled kernels run side by side, on one device and without any setting."""
    todo, wide = list(firsts), jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
    if len(todo) == 1:
        return [_told(call(todo[0]), 1.0, told)]

    def run(first: int) -> T:
        with jax.enable_x64(wide):  # which is a setting of each thread
            return call(first)

    pool = ThreadPoolExecutor(cores())
    try:
        waiting = [pool.submit(run, first) for first in todo]
        return [_told(one.result(), done / len(todo), told) for done, one in enumerate(waiting, start=1)]
    finally:
        pool.shutdown(cancel_futures=True)


def _told(result: T, done: float, told: Callable[[float], None]) -> T:
    told(done)
    return result


def require_memory(runs: int, size: int, batch: int, points: Any, recorded: int, keep_final: bool) -> None:
    """Raise `InvalidInput` where a Monte Carlo cannot fit, with the bytes that it needs."""
    width, dim = points.dtype.itemsize, points.shape[1]
    # A step reads the state of a chunk and writes another; what is recorded exists twice while it is put together.
    needed = width * (runs * (dim * (2 if keep_final else 1) + 2 * recorded) + 3 * cores() * batch * size)
    within_memory(
        needed,
        f"{runs} runs whose state holds {size} numbers each",
        "fewer runs, fewer recorded times, or fewer agents",
    )


def within_memory(needed: int, what: str, cure: str) -> None:
    """Raise `InvalidInput` where `what` needs more bytes than the machine has free.

    >>> within_memory(1000, "a run", "less")
    """
    free = psutil.virtual_memory().available
    require(needed <= free, f"{what} need {needed:.3g} bytes, but only {free:.3g} are free; use {cure}.")
