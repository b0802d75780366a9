"""Does the theory predict real training? The largest stable step that `probe` promises, against the edge that a sweep finds.

python examples/training/predict.py [--task digits|text] [--out FILE]
"""

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tasks import Task, digits, text

import stablestep as ss
import stablestep.torch as sst
from stablestep.stability.ladder import posterior
from stablestep.torch.workers import Workers

OMEGAS, AGENTS = (0, 19, 99), (2, 8)
COARSE = np.geomspace(0.01, 10, 11)
FINE, RUNS = 1.25, 2
BLOWN = 1000.0
TASKS = ("digits", "text")
OUT = Path(__file__).parents[2] / "src" / "stablestep" / "reproduce" / "training.json"


@dataclass(frozen=True)
class Sweep:
    """Plain SGD with a constant step from the same start; a run is up if its mean loss over the last fifth is above the first loss."""

    task: Task
    agents: int
    compressor: ss.compressor.Compressor
    steps: int

    def edge(self) -> tuple[float, float, float]:
        """The step at which half of the runs end up, with its 68 % interval: a coarse grid, then a fine one across the change."""
        coarse = np.array([self._up(step, run=0) for step in COARSE])
        last = int(np.flatnonzero(~coarse).max(initial=0))
        fine = np.arange(math.log(COARSE[last]) - 0.35, math.log(COARSE[min(last + 1, 10)]) + 0.35, math.log(FINE))
        ups = [self._up(math.exp(log), run) for run in range(1, RUNS + 1) for log in fine]
        found = posterior(np.tile(fine, RUNS), np.array(ups))
        return tuple(math.exp(found.centre + side * found.half) for side in (-1, 0, 1))

    def _up(self, step: float, run: int) -> bool:
        streams = [self.task.batches(worker, 1000 + run) for worker in range(self.agents)]
        workers = Workers(
            self.task.model(0),
            self.task.loss,
            list(islice(self.task.batches(0, 0), 8)),
            self.agents,
            self.compressor,
            "own",
        )
        losses = list(islice(self._losses(workers, streams, step, run), self.steps))
        late = losses[-max(1, self.steps // 5) :]
        return len(losses) < self.steps or not np.mean(late) <= workers_first(self.task)

    def _losses(self, workers: Workers, streams: list, step: float, run: int) -> Iterator[float]:
        for number in range(self.steps):
            both = [workers.gradient(next(stream)) for stream in streams]
            loss = float(np.mean([value for value, _ in both]))
            if not loss <= BLOWN * workers_first(self.task):
                return
            yield loss
            message = workers.message([gradient for _, gradient in both], run, number)
            workers.move(workers.point() - step * message)


def workers_first(task: Task) -> float:
    """The loss at the start, on batches of its own."""
    model = task.model(0)
    with torch.no_grad():
        return float(np.mean([float(task.loss(model, batch)) for batch in islice(task.batches(99, 99), 32)]))


def compare(task: Task, omega: int, agents: int, steps: int) -> dict:
    """One row: the observed edge, and every predictor's step."""
    compressor = ss.compressor.RandomSparsification(omega=omega) if omega else ss.compressor.Identity()
    before = time.time()
    batches = list(islice(task.batches(0, 0), 64))
    advice = sst.probe(task.model(0), task.loss, batches, agents, compressor, mask="own", link=1e9)
    between = time.time()
    low, edge, high = Sweep(task, agents, compressor, steps).edge()
    return {
        "task": task.name,
        "omega": omega,
        "agents": agents,
        "steps": steps,
        "observed": edge,
        "low": low,
        "high": high,
        "predicted": {limit.predictor: limit.constant and _number(limit.constant.step) for limit in advice.limits},
        "cost": {limit.predictor: limit.constant and limit.constant.cost for limit in advice.limits},
        "seconds": {"probe": between - before, "sweep": time.time() - between},
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def table(rows: list[dict]) -> Table:
    """Predicted over observed."""
    shown = Table(title="largest stable step: predicted over observed")
    names = list(rows[0]["predicted"])
    for head in ("task", "ω", "N", "observed", *names):
        shown.add_column(head, justify="right")
    for row in rows:
        ratios = (
            f"{row['predicted'][name] / row['observed']:.2g}" if row["predicted"][name] else "–" for name in names
        )
        shown.add_row(row["task"], str(row["omega"]), str(row["agents"]), f"{row['observed']:.3g}", *ratios)
    return shown


def record(rows: list[dict]) -> dict:
    """What the report shows."""
    versions = {name: version(name) for name in ("stablestep", "torch")} | {"python": platform.python_version()}
    return {
        "command": "python examples/training/predict.py",
        "date": date.today().isoformat(),
        "versions": versions,
        "rows": rows,
    }


def row(plan: tuple[str, int, int]) -> dict:
    """In a process of its own."""
    name, omega, agents = plan
    torch.set_num_threads(1)
    task, steps = (digits(), 100) if name == "digits" else (text(batch=4), 60)
    return compare(task, omega, agents, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, help="only this one")
    parser.add_argument("--out", type=Path, default=OUT, help="where the record goes")
    options = parser.parse_args()
    names = [options.task] if options.task else TASKS
    plans = [(name, omega, agents) for name in names for omega in OMEGAS for agents in AGENTS]
    rows = []
    with get_context("spawn").Pool(min(len(plans), os.cpu_count() or 1)) as pool:
        for found in pool.imap(row, plans):
            rows.append(found)
            Console().print(table(rows))
            options.out.write_text(json.dumps(record(rows), indent=1) + "\n")


if __name__ == "__main__":
    main()
