"""What a sweep costs beyond its function: `python -m benchmarks.cells` writes benchmarks/cells.json.

Cells of exact moments, with the time inside the function measured where it is called, and the memory of the process after a hundredth of
them and at its peak; then rollouts on one Dask worker and on two, each after a point that brings its imports. Targets: at most 5 ms for a
cell, memory that does not grow with their number, two workers at least 1.7 times as fast as one.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np
import psutil

import stablestep as ss
from benchmarks.machine import load, machine
from stablestep import compressor, noise, problem
from stablestep.files import write_files
from stablestep.setup import Agents, Setup

HERE = Path(__file__).parent
TARGETS = {"milliseconds": 5.0, "grown": 1.1, "workers": 1.7}
SETUP = Setup(
    problem.Quadratic([1.0, 4.0]), Agents(4, noise.Gaussian(sigma1=0.1), compressor.RandomSparsification(omega=3.0))
)
COUNTS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
INSIDE = []  # seconds of each call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000, help="of exact moments (default: 10000)")
    parser.add_argument("--rollouts", type=int, default=200, help="on Dask's workers (default: 200; 0 for none)")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="where cells.json goes")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    record = {**machine(), "load": load(), "targets": TARGETS, "cells": cells(options.cells)}
    if options.rollouts:
        record["rollouts"] = rollouts(options.rollouts)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    print(text)
    write_files({options.out / "cells.json": text.encode()})


def edge(setup: Setup) -> ss.stability.CriticalStep:
    """The exact threshold, timed."""
    begin = time.perf_counter()
    found = ss.stability.critical_step(setup, x0=1.0, method="moments")
    INSIDE.append(time.perf_counter() - begin)
    return found


def grid(cells: int) -> dict[str, list]:
    """So many cells, at least ten."""
    return {"omega": np.linspace(0, 99, max(1, cells // len(COUNTS))).tolist(), "count": COUNTS}


def cells(count: int) -> dict[str, float]:
    """Milliseconds that a cell takes inside the function and beside it (its result is read once), and MB of memory."""
    memory = []
    with TemporaryDirectory() as folder:
        _swept(folder, 10, memory)  # imports
        INSIDE.clear()
        memory.clear()
        begin = time.perf_counter()
        found = _swept(folder, count, memory).load()
        spent = time.perf_counter() - begin
    done, bare = len(INSIDE), sum(INSIDE)
    return {
        "count": found.step.size,
        "function_ms": 1e3 * bare / done,
        "overhead_ms": 1e3 * (spent - bare) / done,
        "memory_at_a_hundredth": memory[len(memory) // 100],
        "memory_at_most": max(memory),
    }


def _swept(folder: str, count: int, memory: list[float]):
    process = psutil.Process()
    watch = lambda done: memory.append(process.memory_info().rss / 1e6)  # noqa: E731
    return ss.sweep(edge, SETUP, grid(count), store=f"{folder}/{count}", progress=watch)


def rollouts(count: int) -> dict[str, float]:
    """Seconds of as many rollouts on one worker and on two, and how many times as fast two are."""
    seconds = {f"workers_{workers}": _on_dask(workers, count) for workers in (1, 2)}
    return {"count": count, **seconds, "ratio": seconds["workers_1"] / seconds["workers_2"]}


def _on_dask(workers: int, count: int) -> float:
    points = [{"omega": float(omega)} for omega in np.linspace(0, 99, count)]
    with _cluster(workers) as executor, TemporaryDirectory() as folder:
        begin = time.perf_counter()
        ss.sweep(
            ss.stability.critical_step, SETUP, points, x0=1.0, store=folder, executor=executor, progress=False
        ).load()
        return time.perf_counter() - begin


@contextmanager
def _cluster(workers: int) -> Iterator:
    """Dask on this machine, whose workers have imported what they need."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(ss.stability.critical_step, SETUP, x0=1.0)
        yield client.get_executor(pure=False)


if __name__ == "__main__":
    main()
