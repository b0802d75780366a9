"""Measure cells, each in its turn, in one process or more."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from fnmatch import fnmatch
from multiprocessing import get_context
from pathlib import Path

import jax
import numpy as np

from benchmarks.edges.cell import Cell, cells
from benchmarks.edges.points import points
from benchmarks.edges.ramps import finders, ramps
from benchmarks.edges.store import Record, Store
from benchmarks.edges.sweep import sweep
from benchmarks.edges.training import Training

THREADS = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
QUICK = ("softmax", "tanh", "letters")


def chosen(tasks: Sequence[str], only: Sequence[str], quick: bool) -> list[Cell]:
    """All cells, those whose name fits one of the patterns, or a handful."""
    found = list(dict.fromkeys(cells(list(tasks))))
    if quick:
        found = [cell for cell in found if cell.task in QUICK and cell.horizon == 100 and cell.agents == 4]
    return [cell for cell in found if not only or any(fnmatch(cell.name, one) for one in only)]


def measure_all(wanted: Sequence[Cell], store: Store, processes: int, report) -> None:
    """Whatever the store lacks; `report(done, of, cell, seconds)` is called after each."""
    missing = [cell for cell in wanted if cell not in store]
    # Compiled programs are never let go, and after some hundred cells XLA ends a process: each makes about 50.
    for begin in range(0, len(missing), 50 * processes):
        with ProcessPoolExecutor(processes, get_context("spawn"), _prepare, (str(store.folder),)) as pool:
            waiting = [pool.submit(_one, cell) for cell in missing[begin : begin + 50 * processes]]
            try:
                for done, found in enumerate(as_completed(waiting), begin + 1):
                    report(done, len(missing), *found.result())
            finally:
                pool.shutdown(cancel_futures=True)  # where one failed, the others need not be waited for


def _prepare(folder: str) -> None:
    """One thread for each process, before jax looks; compiled programs are kept, as are the cells."""
    global _store
    os.environ["XLA_FLAGS"] = THREADS
    jax.config.update("jax_compilation_cache_dir", str(Path(folder) / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    _store = Store(Path(folder))


_store: Store


def _one(cell: Cell) -> tuple[Cell, float]:
    before = time.perf_counter()
    if cell not in _store:
        _store.write(measure(cell))
    return cell, time.perf_counter() - before


def measure(cell: Cell, count: int = 32) -> Record:
    """Everything that is recorded of a cell."""
    training = Training(cell, count)
    scale, marks = training.scale(), [time.process_time()]
    runs = sweep(training, scale)
    marks.append(time.process_time())
    starts, losses = ramps(training, scale)
    marks.append(time.process_time())
    found = finders(training) if cell.horizon == 100 else np.zeros((0, 0))
    marks.append(time.process_time())
    seconds = dict(zip(("sweep", "ramps", "finders"), np.diff(marks).tolist()))
    noise = cell.noise(training.task.sizes)
    return Record(cell, scale, noise, training.first, seconds, points(training, scale), runs, starts, losses, found)
