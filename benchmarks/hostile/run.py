"""One training of four workers in one process, with the library's own codec, rule and optimizer."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.utils import parameters_to_vector

import stablestep.torch as sst
from benchmarks.hostile.faults import STEPS, Fault
from benchmarks.hostile.trainings import BATCH, TRAININGS, WORKERS, Training
from stablestep import compressor as c
from stablestep.torch.exchange.meter import Arrival
from stablestep.torch.step.rule import Rule
from stablestep.torch.wire.randomness import drawer
from stablestep.torch.wire.registry import codec
from stablestep.torch.wire.transmit import Channel

Tensor = torch.Tensor


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


class Workers:
    """Losses and gradients of all workers at the model's parameters."""

    def __init__(self, training: Training, model: nn.Module, seed: int):
        self.data, self.model = training.data(), model
        self.generator = torch.Generator().manual_seed(1000 + seed)
        names = [name for name, _ in model.named_parameters()]
        sizes, shapes = zip(*((p.numel(), p.shape) for p in model.parameters()))

        def loss(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
            parts = {n: part.view(s) for n, part, s in zip(names, flat.split(sizes), shapes)}
            return training.loss(functional_call(model, parts, (x,)), y)

        self.both = vmap(grad_and_value(loss), in_dims=(None, 0, 0))

    def look(self, fault: Fault, step: int) -> tuple[Tensor, Tensor]:
        """Gradients [N, d] and losses [N] of one batch for each."""
        x, y = self.data
        index = torch.randint(len(x), (WORKERS, BATCH), generator=self.generator)
        flat = parameters_to_vector(self.model.parameters()).detach()
        return self.both(flat, *fault.data(x[index], y[index], step))


def train(
    name: str, optimizer: Callable, lr: float, rule: Rule, omega: float, fault: Fault, seed: int
) -> tuple[list[float], float]:
    """The mean loss of each of the 250 steps, and the workers' mean gradient norm; what follows a loss that is not finite is infinite."""
    training = TRAININGS[name]
    torch.manual_seed(0)
    model = training.make()
    state = Local()
    stable = sst.StableStep(optimizer(model, lr * fault.hot), state, rule, max_consecutive_skips=None)
    workers = Workers(training, model, seed)
    losses: list[float] = []
    norms: list[float] = []
    first = math.nan
    for step in range(STEPS):
        gradients, values = workers.look(fault, step)
        first = float(gradients.norm(dim=1).mean()) if step == 0 else first
        gradients = fault.gradients(gradients, step, first, seed)
        losses.append(float(values.mean()))
        if not math.isfinite(losses[-1]) and not isinstance(rule, sst.rule.Governor):
            break
        late = fault.omega_late if fault.omega_late is not None and step >= STEPS // 2 else omega
        mean = _mean_message(gradients, late, seed, step)
        for parameter, part in zip(model.parameters(), mean.split([p.numel() for p in model.parameters()])):
            parameter.grad = part.view_as(parameter)
        norms.append(float(gradients.norm(dim=1).mean()))
        state.bring(gradients.norm(dim=1), values)
        stable.step()
    ended = [loss if math.isfinite(loss) else math.inf for loss in losses] + [math.inf] * (STEPS - len(losses))
    return ended, float(np.mean(norms))


def _mean_message(gradients: Tensor, omega: float, seed: int, step: int) -> Tensor:
    if omega == 0:
        return gradients.mean(0)
    kept = codec(c.RandK(fraction=1 / (1 + omega)))
    channel = Channel(kept, WORKERS, False, lambda worker: drawer(gradients, seed, step, 0, worker))
    return channel.mean_message(list(gradients))


def ending(losses: list[float]) -> float:
    """The mean of the last 25 losses."""
    return float(np.mean(losses[-25:]))
