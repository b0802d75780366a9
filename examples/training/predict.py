"""Does the theory predict real training? The largest stable step that `probe` promises, against the edge that a sweep finds.

python examples/training/predict.py [--task digits|text] [--out FILE]
"""

import argparse
import json
import math
import os
import platform
import time
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tasks import Task, digits, text

import stablestep as ss
import stablestep.torch as sst
from stablestep.stability.ladder import posterior
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.survey.landscape import Landscape
from stablestep.torch.survey.workers import Workers

OMEGAS, AGENTS = (0, 19, 99), (1, 4)
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
        """The step at which half of the runs end up, with its 68 % interval: a coarse bisection, then a fine grid across the change."""
        low, high = 0, len(COARSE) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._up(COARSE[middle], run=0) else (middle, high)
        fine = np.arange(math.log(COARSE[low]) - 0.4, math.log(COARSE[high]) + 0.4, math.log(FINE))
        members = np.tile(fine, RUNS)
        ups = np.array([self._up(math.exp(log), 1 + run) for run, log in enumerate(members)])
        if ups.all() or not ups.any():
            raise SystemExit(
                f"no edge between the steps {math.exp(fine[0]):.3g} and {math.exp(fine[-1]):.3g}; widen the grid."
            )
        found = posterior(members, ups)
        error = math.hypot(1.3 * found.half, 0.03)  # the raw half-width is too narrow, see stability.ladder
        return tuple(math.exp(found.centre + side * error) for side in (-1, 0, 1))

    def _up(self, step: float, run: int) -> bool:
        """With batches and masks of its own, and the same batches for the first and the last losses."""
        common = list(islice(self.task.batches(99, 99), 8))
        landscape = Landscape(self.task.model(0), self.task.loss, common)
        workers = Workers(landscape, Settings(self.compressor, mask="own", seed=run), self.agents)
        streams = [self.task.batches(worker, 1000 + run) for worker in range(self.agents)]
        first, late = landscape.value(common), []
        for number in range(self.steps):
            both = [landscape.gradient(next(stream)) for stream in streams]
            if not np.mean([loss for loss, _ in both]) <= BLOWN * first:
                return True
            message = workers.message([gradient for _, gradient in both], number)
            landscape.step(landscape.point(), step, message)
            if number >= self.steps - self.steps // 5 and number % 10 == 9:
                late.append(landscape.value(common))
        return not np.mean(late) <= first


def compare(task: Task, omega: int, agents: int, steps: int) -> dict:
    """One row: the observed edge, and every predictor's step."""
    compressor = ss.compressor.RandomSparsification(omega=omega) if omega else ss.compressor.Identity()
    before = time.time()
    batches = list(islice(task.batches(0, 0), 64))
    advice = sst.survey(task.model(0), task.loss, batches, agents, compressor, mask="own", steps=steps // 2, link=1e9)
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
        "predicted": {limit.predictor: _number(limit) for limit in advice.limits}
        | {"loss-model, start": advice.points[0].step},
        "cost": {limit.predictor: limit.constant.cost for limit in advice.limits if limit.constant is not None},
        "seconds": {"probe": between - before, "sweep": time.time() - between},
    }


def _number(limit: Any) -> float | str | None:
    """JSON has no infinity; None where there is no answer."""
    if limit.constant is None:
        return None
    return limit.constant.step if math.isfinite(limit.constant.step) else "inf"


def table(rows: list[dict]) -> Table:
    """Predicted over observed."""
    shown = Table(title="largest stable step: predicted over observed")
    names = list(rows[0]["predicted"])
    for head in ("task", "ω", "N", "observed", *names):
        shown.add_column(head, justify="right")
    for row in rows:
        ratios = (_ratio(row["predicted"][name], row["observed"]) for name in names)
        shown.add_row(row["task"], str(row["omega"]), str(row["agents"]), f"{row['observed']:.3g}", *ratios)
    return shown


def _ratio(predicted: float | str | None, observed: float) -> str:
    return "none" if predicted is None else f"{float(predicted) / observed:.2g}"


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
    task, steps = (digits(), 200) if name == "digits" else (text(batch=4), 100)
    return compare(task, omega, agents, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=TASKS, help="only this one")
    parser.add_argument("--out", type=Path, default=OUT, help="where the record goes")
    options = parser.parse_args()
    if options.task and options.out == OUT:
        parser.error("--task alone would leave half a record in the report; add --out FILE")
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
