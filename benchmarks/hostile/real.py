"""The same runs with real processes: four gloo workers, DDP and the hook."""

import datetime
import multiprocessing
import tempfile
from collections.abc import Sequence
from pathlib import Path
from queue import Empty

import torch
import torch.distributed as dist
from rich.progress import track
from torch.nn.parallel import DistributedDataParallel

import stablestep.torch as sst
from benchmarks.hostile.cells import Cell, Runs, found
from benchmarks.hostile.designs import DESIGNS
from benchmarks.hostile.faults import BAD, STEPS, Fault
from benchmarks.hostile.messages import randk
from benchmarks.hostile.run import Batches, Task
from benchmarks.hostile.trainings import WORKERS
from stablestep.compressor import Identity
from stablestep.torch.step.rule import Rule

FAULTS = ("healthy", "hot 10", "hot 30", "worker × 10⁴", "worker NaN", "worker flipped", "data spike")
_PATIENCE = datetime.timedelta(seconds=300)


def train(task: Task, rule: Rule, steps: int = STEPS) -> tuple[list[float], float]:
    """As `run.train`, by one of the workers of a process group: what goes wrong with a worker goes wrong with its loss."""
    rank, parameters = dist.get_rank(), list(task.model.parameters())
    state = sst.HookState(randk(task.omega) if task.omega else Identity(), mask="own", seed=task.seed)
    model = DistributedDataParallel(task.model)
    sst.register(model, state)
    stable = sst.StableStep(task.make(parameters, task.rate), state, rule, max_consecutive_skips=None)
    batches, losses, norms = Batches(task), [], []
    for step in range(steps):
        x, y = (part[rank] for part in batches.at(step))
        stable.zero_grad()
        loss = task.training.loss(model(x), y)
        state.note(loss)
        (loss * _factor(task.fault, rank, step)).backward()
        losses.append(state.arrival().loss)
        norms.append(state.arrival().mean_norm)
        stable.step()
    return losses, float(torch.tensor(norms).nanmean())


def _factor(fault: Fault, rank: int, step: int) -> float:
    return fault.worker if rank == 0 and step in BAD else 1.0


def fill(runs: Runs, cells: Sequence[Cell]) -> None:
    """Run those that are missing, one after the other.

    Raises:
        RuntimeError: if a worker dies.
    """
    missing = runs.missing(cells)
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory() as folder:
        answers = context.Queue()
        meeting = f"file://{Path(folder) / 'rendezvous'}"
        group = [
            context.Process(target=_work, args=(rank, meeting, missing, answers), daemon=True)
            for rank in range(WORKERS if missing else 0)
        ]
        for process in group:
            process.start()
        for cell in track(missing, "real processes", disable=not missing):
            runs.put(cell, _next(answers, group))
        for process in group:
            process.join()


def _next(answers, group) -> dict:
    while True:
        try:
            return answers.get(timeout=5)
        except Empty:
            if any(process.exitcode for process in group):
                for process in group:
                    process.kill()
                raise RuntimeError("a worker has died; its words are above.") from None


def _work(rank: int, meeting: str, cells: list[Cell], answers) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", meeting, _PATIENCE, WORKERS, rank)
    for cell in cells:
        task = cell.task()
        answer = found(task, *train(task, DESIGNS[cell.design].rule(task, cell.norm)))
        if rank == 0:
            answers.put(answer)
    dist.barrier()
    dist.destroy_process_group()
