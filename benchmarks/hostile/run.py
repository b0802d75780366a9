"""One training of four workers in one process, with the library's own masks, rule and optimizer."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

import stablestep.torch as sst
from benchmarks.hostile.faults import STEPS, Fault
from benchmarks.hostile.messages import mean_message
from benchmarks.hostile.optimizers import Make
from benchmarks.hostile.trainings import BATCH, TRAININGS, WORKERS, Training
from stablestep import compressor as c
from stablestep.torch.exchange.meter import Arrival
from stablestep.torch.step.rule import Rule

Tensor = torch.Tensor


@dataclass
class Task:
    """What is trained, how, and what goes wrong.

    Attributes:
        lr: the tuned one, which the fault may multiply.
        spent: gradients of each worker beside the training's, for probes.
    """

    training: Training
    make: Make
    lr: float
    omega: float
    fault: Fault
    seed: int
    model: nn.Module = field(init=False)
    spent: int = 0

    def __post_init__(self):
        torch.manual_seed(0)
        self.model = self.training.make()

    @classmethod
    def of(cls, name: str, *rest) -> "Task":
        """By the training's name."""
        return cls(TRAININGS[name], *rest)

    @property
    def rate(self) -> float:
        """The learning rate that the optimizer is made with."""
        return self.lr * self.fault.hot

    def omega_at(self, step: int) -> float:
        """That of the masks."""
        late = self.fault.omega_late
        return late if late is not None and step >= STEPS // 2 else self.omega


class Batches:
    """The workers' batches, step by step."""

    def __init__(self, task: Task):
        self.data, self.fault = task.training.data(), task.fault
        self.generator = torch.Generator().manual_seed(1000 + task.seed)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets [N, b, …] of the next step."""
        x, y = self.data
        index = torch.randint(len(x), (WORKERS, BATCH), generator=self.generator)
        return self.fault.data(x[index], y[index], step)


class Local(sst.HookState):
    """A hook's state whose exchanges happen in this process."""

    def __init__(self):
        super().__init__(c.Identity())
        self.last = Arrival(0, [], [], 0, 0, 0)

    def arrival(self) -> Arrival:
        return self.last

    @property
    def serial(self) -> int:
        return self.last.serial

    def bring(self, norms: Tensor, losses: Tensor) -> None:
        """An exchange has brought these."""
        losses = losses.nan_to_num(nan=math.inf)  # as `note` has it
        finite = bool(norms.isfinite().all())
        in_a_row = 0 if finite else self.last.skipped_in_a_row + 1
        skipped = self.last.skipped + (not finite)
        self.last = Arrival(self.serial + 1, norms.tolist(), losses.tolist(), in_a_row, skipped, self.serial + 1)


def train(task: Task, rule: Rule, steps: int = STEPS) -> tuple[list[float], float]:
    """The mean loss of each step, infinite after one that is not finite, and the workers' mean gradient norm where it is finite."""
    parameters, state = list(task.model.parameters()), Local()
    sizes = [parameter.numel() for parameter in parameters]
    stable = sst.StableStep(task.make(parameters, task.rate), state, rule, max_consecutive_skips=None)
    batches, losses, norms, first = Batches(task), [], [], math.nan
    gradients = torch.empty(WORKERS, sum(sizes))
    message = torch.empty(sum(sizes))
    for parameter, part in zip(parameters, message.split(sizes)):
        parameter.grad = part.view_as(parameter)
    for step in range(steps):
        values = _look(task, batches.at(step), parameters, gradients)
        losses.append(float(values.mean()))
        if not math.isfinite(losses[-1]) and not isinstance(rule, sst.rule.Governor):
            break
        first = float(gradients.norm(dim=1).mean()) if step == 0 else first
        sent = task.fault.gradients(gradients, step, first, task.seed)
        length = sent.norm(dim=1)
        norms.append(float(length.mean()))
        message.copy_(mean_message(sent, sizes, task.omega_at(step), task.seed, step))
        state.bring(length, values)
        stable.step()
    ended = [loss if math.isfinite(loss) else math.inf for loss in losses] + [math.inf] * (steps - len(losses))
    return ended, float(np.nanmean(norms))


def _look(task: Task, batches: tuple[Tensor, Tensor], parameters: list[nn.Parameter], into: Tensor) -> Tensor:
    """Losses [N] and (written) gradients [N, d]; one backward for each worker costs half of what vmap does."""
    losses = []
    for row, x, y in zip(into, *batches):
        loss = task.training.loss(task.model(x), y)
        torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)], out=row)
        losses.append(loss.detach())
    return torch.stack(losses)


def ending(losses: list[float], before: int = 0) -> float:
    """The mean of the last 25 losses, or of those that end so many steps earlier."""
    end = max(25, len(losses) - before)
    return float(np.mean(losses[end - 25 : end]))
