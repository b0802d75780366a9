"""One run of the benchmark, and a store of what was found, so that an interrupted benchmark goes on where it was."""

import ast
import hashlib
import inspect
import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from rich.progress import track

import stablestep.torch.step.governor.governor
from benchmarks.frontier.store import Store
from benchmarks.hostile import designs, faults, messages, optimizers, probed, trainings
from benchmarks.hostile import run as runs
from benchmarks.hostile.designs import DESIGNS
from benchmarks.hostile.faults import FAULTS, HEALTHY, STEPS
from benchmarks.hostile.optimizers import OPTIMIZERS
from benchmarks.hostile.run import Task, ending, train
from stablestep.torch.step import rule

ALL_FAULTS = {fault.name: fault for fault in [HEALTHY, *FAULTS]}
_GOVERNOR = Path(stablestep.torch.step.governor.governor.__file__).parent


@dataclass(frozen=True)
class Cell:
    """What is trained how, and what goes wrong; `norm` is the mean gradient norm of the tuned run, `real` a run of real processes."""

    training: str
    optimizer: str
    omega: float
    design: str
    fault: str
    seed: int
    lr: float
    norm: float = 0.0
    real: bool = False

    def task(self) -> Task:
        """What its run needs."""
        instead = DESIGNS[self.design].optimizer
        make, lr = (OPTIMIZERS[self.optimizer], self.lr) if instead is None else (instead, 1.0)
        return Task.of(self.training, make, lr, self.omega, ALL_FAULTS[self.fault], self.seed)


def run(cell: Cell) -> dict:
    """Its first and its last loss, its mean gradient norm, and what a probe cost."""
    torch.set_num_threads(1)
    task = cell.task()
    return found(task, *train(task, DESIGNS[cell.design].rule(task, cell.norm)))


def found(task: Task, losses: list[float], norm: float) -> dict:
    """What is kept of a run."""
    paid = ending(losses, min(task.spent, STEPS))
    return {"first": losses[0], "last": ending(losses), "norm": norm, "spent": task.spent, "paid": paid}


class Runs:
    """What was found in each cell, kept in a store."""

    def __init__(self, path: Path):
        self.store = Store(path)

    def get(self, cell: Cell) -> dict:
        """What the cell gave."""
        found = self.store.get(_key(cell))
        assert found is not None
        return found

    def has(self, cell: Cell) -> bool:
        """Whether it was run."""
        return self.store.get(_key(cell)) is not None

    def put(self, cell: Cell, found: dict) -> None:
        """It was run."""
        self.store.put(_key(cell), found)

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Those that were not run."""
        return [cell for cell in dict.fromkeys(cells) if not self.has(cell)]

    def fill(self, cells: Iterable[Cell], what: str) -> None:
        """Run those that are missing, on all cores."""
        missing = self.missing(cells)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
            futures = {pool.submit(run, cell): cell for cell in missing}
            for future in track(as_completed(futures), what, total=len(futures), disable=not futures):
                self.put(futures[future], future.result())


def _key(cell: Cell) -> dict:
    return {**asdict(cell), "torch": torch.__version__, "code": _code(_kind(cell.design))}


def _kind(design: str) -> str:
    if not design.startswith("Governor"):
        return "nothing" if design == "nothing" else "other"
    return "probe" if "probe" in design else "Governor"


@cache
def _code(kind: str) -> str:
    """A digest of the code that makes a run; of the library that is the rule, since what else it uses has tests of its own."""
    modules = [faults, messages, optimizers, runs, trainings]
    modules += {"nothing": [], "other": [designs, rule], "Governor": [], "probe": [probed]}[kind]
    files = [Path(inspect.getfile(module)) for module in modules]
    files += sorted(_GOVERNOR.glob("*.py")) if kind in ("Governor", "probe") else []
    text = "\n".join(ast.dump(ast.parse(file.read_text(encoding="utf-8"))) for file in files)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
