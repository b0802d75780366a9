"""One run of one entrant, on every worker alike."""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.utils import parameters_to_vector

from benchmarks.frontier.entrant import Entrant, Run, Trainer
from benchmarks.frontier.ledger import Ledger
from benchmarks.frontier.tasks import Task, loss

WARM_UP, LEAST = 0.05, 0.02  # of the steps, of the rate
FIRST_HALF, SECOND_HALF = 32, 8  # steps between looks at the held-out loss; nobody is at the target in the first half


@dataclass(frozen=True)
class Cell:
    """What defines a run, with the code of its task and entrant.

    Args:
        split: held-out examples that are looked at, "tuning" or "scoring".
    """

    task: str
    entrant: str
    lr: float
    seed: int
    steps: int
    split: str


def shape(step: int, steps: int) -> float:
    """The rate at a step, as a share of the largest: linear warm-up over 5 %, a cosine to 2 %.

    >>> [round(shape(step, 100), 3) for step in (0, 4, 5, 99)]
    [0.2, 1.0, 1.0, 0.02]
    """
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    turn = math.pi * (step - warm) / max(1, steps - 1 - warm)
    return LEAST + (1 - LEAST) * (1 + math.cos(turn)) / 2


def train(task: Task, entrant: Entrant, cell: Cell, ledger: Ledger) -> dict[str, Any]:
    """The curve of held-out losses: rows of (step, loss, bytes sent by this worker), until one is not finite."""
    model, ledger.sent, begin = task.start(cell.seed), 0.0, (time.perf_counter(), time.process_time())
    trainer = entrant.build(model, Run(cell.lr, cell.seed, cell.steps))
    curve, due = [], _next_look(0, cell)
    for step, batch in zip(range(cell.steps), task.batches(dist.get_rank(), cell.seed)):
        _set_rate(trainer, cell.lr * shape(step, cell.steps))
        with ledger.counting():
            trainer.optimizer.zero_grad()
            loss(trainer.model, batch).backward()
            trainer.step()
            last = step + 1 == cell.steps
            if last:
                trainer.finish()
        if last or (step + 1 >= due and trainer.synchronised()):
            due = _next_look(step + 1, cell)
            curve.append((step + 1, held_out(task, model, cell.split), round(ledger.sent)))
            if not math.isfinite(curve[-1][1]):
                break
    require_one_model(model)
    seconds, cpu = (now - then for now, then in zip((time.perf_counter(), time.process_time()), begin))
    return {"curve": curve, "seconds": round(seconds, 2), "cpu": round(cpu, 2)}


def _next_look(step: int, cell: Cell) -> int:
    """Tuning only wants the end, and to know soon if a run diverges."""
    if cell.split == "tuning":
        return step + max(1, cell.steps // 8)
    return step + (SECOND_HALF if 2 * step >= cell.steps else FIRST_HALF)


def _set_rate(trainer: Trainer, lr: float) -> None:
    for group in trainer.optimizer.param_groups:
        group["lr"] = lr


@torch.no_grad()
def require_one_model(model: nn.Module) -> None:
    """Raise if workers have drifted apart, bit for bit: such an entrant would measure nothing."""
    own = parameters_to_vector(model.parameters()).view(torch.uint8)
    rows = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, own)
    if not all(torch.equal(own, row) for row in rows):
        raise RuntimeError("the workers end with different models")


@torch.no_grad()
def held_out(task: Task, model: nn.Module, split: str) -> float:
    """The mean over all examples, of which each worker takes its share."""
    rank, workers = dist.get_rank(), dist.get_world_size()
    inputs, targets = (each[rank::workers] for each in task.held_out[split])
    total = torch.stack([loss(model, (inputs, targets)).double() * len(inputs), torch.tensor(len(inputs)).double()])
    dist.all_reduce(total)
    return float(f"{float(total[0] / total[1]):.6g}")
