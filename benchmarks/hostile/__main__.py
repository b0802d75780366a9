"""Tune, run and score: `python -m benchmarks.hostile [--trainings …] [--seeds …]`; finished cells are kept in a store and not run again."""

import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import track

from benchmarks.frontier.store import Store
from benchmarks.hostile.designs import DESIGNS
from benchmarks.hostile.faults import FAULTS, HEALTHY
from benchmarks.hostile.optimizers import OPTIMIZERS
from benchmarks.hostile.run import ending, train
from benchmarks.hostile.score import report
from benchmarks.hostile.trainings import TRAININGS

OMEGAS = (0.0, 19.0)
TUNING_SEEDS = (100, 101)
_ALL = {fault.name: fault for fault in [HEALTHY, *FAULTS]}


@dataclass(frozen=True)
class Cell:
    """One run: what is trained how, and what goes wrong."""

    training: str
    optimizer: str
    omega: float
    design: str
    fault: str
    seed: int
    lr: float
    norm: float = 0.0


def run(cell: Cell) -> dict:
    """Its first and its last loss, and its mean gradient norm."""
    torch.set_num_threads(1)
    design = DESIGNS[cell.design]
    lr = 1.0 if cell.design == "Prodigy" else cell.lr
    losses, norm = train(
        cell.training,
        design.optimizer(cell.optimizer),
        lr,
        design.rule(cell.norm),
        cell.omega,
        _ALL[cell.fault],
        cell.seed,
    )
    return {"first": losses[0], "last": ending(losses), "norm": norm}


class Runs:
    """What was found in each cell, kept in a store."""

    def __init__(self, path: Path):
        self.store = Store(path)

    def get(self, cell: Cell) -> dict:
        """What the cell gave."""
        found = self.store.get(asdict(cell))
        assert found is not None
        return found

    def fill(self, cells: list[Cell], what: str) -> None:
        """Run those that are missing, on all cores."""
        missing = [cell for cell in dict.fromkeys(cells) if self.store.get(asdict(cell)) is None]
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            futures = {pool.submit(run, cell): cell for cell in missing}
            for future in track(as_completed(futures), what, total=len(futures), disable=not futures):
                self.store.put(asdict(futures[future]), future.result())


def tuned(runs: Runs, cases: list[tuple[str, str, float]]) -> dict[tuple[str, str, float], tuple[float, float]]:
    """The best learning rate of each case on a √2 grid, never at its edge, and the mean gradient norm there."""
    middle = {case: round(2 * np.log2(0.1 if case[1] == "SGD-m" else 0.01)) for case in cases}
    done: dict = {}
    while len(done) < len(cases):
        trials = {case: range(middle[case] - 8, middle[case] + 9, 2) for case in cases}
        runs.fill([_trial(case, k, seed) for case in cases for k in trials[case] for seed in TUNING_SEEDS], "tuning")
        for case in cases:
            k = min(trials[case], key=lambda k: _score(runs, case, k))
            if k in (trials[case][0], trials[case][-1]):
                middle[case] = k
            else:
                done[case] = k
    near = {case: [k - 1, k, k + 1] for case, k in done.items()}
    runs.fill([_trial(case, k, seed) for case in cases for k in near[case] for seed in TUNING_SEEDS], "tuning, finer")
    chosen = {case: min(near[case], key=lambda k: _score(runs, case, k)) for case in cases}
    return {
        case: (_rate(k), float(np.mean([runs.get(_trial(case, k, s))["norm"] for s in TUNING_SEEDS])))
        for case, k in chosen.items()
    }


def _rate(k: int) -> float:
    return float(f"{2 ** (k / 2):.6g}")


def _trial(case: tuple[str, str, float], k: int, seed: int) -> Cell:
    return Cell(*case, "nothing", HEALTHY.name, seed, _rate(k))


def _score(runs: Runs, case: tuple[str, str, float], k: int) -> float:
    return float(np.mean([runs.get(_trial(case, k, seed))["last"] for seed in TUNING_SEEDS]))


def main(
    trainings: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    designs: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
    seeds: int = 1,
    store: Path = Path("build/hostile.jsonl"),
    out: Path | None = None,
) -> None:
    """Run every design on every hostile run that the store lacks, and print the scores."""
    kept = Runs(store)
    cases = list(product(trainings or TRAININGS, OPTIMIZERS, OMEGAS))
    rates = tuned(kept, cases)
    cells = [
        Cell(*case, design, fault, seed, *rates[case])
        for case, design, fault, seed in product(
            cases, dict.fromkeys(["nothing", *(designs or DESIGNS)]), _ALL, range(seeds)
        )
        if fault != "ω → 99" or case[2] > 0
    ]
    kept.fill(cells, "hostile runs")
    report(cells, kept, out)


if __name__ == "__main__":
    typer.run(main)
