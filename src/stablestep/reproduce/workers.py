"""Runs sections, in this process or in others as well."""

import gc
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from importlib import import_module
from multiprocessing import get_context
from threading import Lock
from typing import Any

import jax

from stablestep.interrupt import ignored
from stablestep.progress import watched
from stablestep.report import Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.display import Display
from stablestep.reproduce.registry import Entry
from stablestep.sweep.workers import prepare, stop

Finished = Generator[tuple[str, Section], None, None]


def here(entries: Sequence[Entry], quick: bool, seed: int, display: Display) -> Finished:
    """The sections one after the other."""
    for entry in entries:
        with display.section(entry) as progress:
            section = _run(entry, Context(quick=quick, seed=seed, progress=progress))
        yield entry.name, section


def _run(entry: Entry, context: Context) -> Section:
    try:
        with watched(entry.name, False):  # the display is the bar here
            return import_module(entry.module).run(context)
    finally:
        jax.clear_caches()  # what one section has compiled hardly any other one needs, and it is most of the memory


def shared(jobs: int, entries: Sequence[Entry], quick: bool, seed: int, display: Display) -> Finished:
    """The sections as they finish, this process from the first on and others from the last on: compilation uses one core only."""
    rest, theirs, lock = deque(entries), {}, Lock()
    # Not forked: JAX has threads, which a fork loses.
    pool = ProcessPoolExecutor(jobs - 1, get_context("spawn"), _prepare_worker)

    def give(_: Any = None) -> None:
        """Hand out one more; not all at once, as those that wait for another process cannot be had back."""
        with lock:
            future = pool.submit(work, rest[-1], quick, seed) if rest else None
            if future is not None:
                theirs[future] = rest.pop()
        if future is not None:
            future.add_done_callback(give)

    def take() -> Entry | None:
        with lock:
            return rest.popleft() if rest else None

    try:
        with ignored():
            for _ in range(jobs - 1):
                give()
        while (entry := take()) is not None:
            yield from here([entry], quick, seed, display)
            yield from _taken(theirs, [future for future in list(theirs) if future.done()], display)
        yield from _taken(theirs, as_completed(list(theirs)), display)
    finally:
        rest.clear()
        stop(pool)


def _taken(theirs: dict[Future, Entry], done: Iterable[Future], display: Display) -> Finished:
    for future in done:
        entry, (section, seconds) = theirs.pop(future), future.result()
        display.finished(entry, seconds)
        yield entry.name, section


def _prepare_worker() -> None:
    prepare()
    gc.set_threshold(100_000)  # tracing makes many objects, and hardly any garbage


def work(entry: Entry, quick: bool, seed: int) -> tuple[Section, float]:
    """A section with its files, and how many seconds it took."""
    start = time.perf_counter()
    section = _run(entry, Context(quick=quick, seed=seed))
    _ = section.files  # made here, not by the process that all wait for
    return section, time.perf_counter() - start
