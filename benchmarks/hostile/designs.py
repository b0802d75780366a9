"""What stands beside the governor: rules that everyone would try first."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from benchmarks.hostile.probed import probed
from benchmarks.hostile.run import Task
from stablestep.torch import rule
from stablestep.torch.step.rule import Rule, Seen


class ZClip(Rule):
    """Clip the message to its running mean norm where it is more than 2.5 running deviations above it, after 25 steps."""

    def __init__(self):
        self.mean = self.variance = 0.0
        self.first: list[float] = []

    def factor(self, seen: Seen) -> float:
        norm = float(torch.nn.utils.get_total_norm(seen.messages))
        if len(self.first) < 25:
            self.first.append(norm)
            self.mean = sum(self.first) / len(self.first)
            self.variance = sum((one - self.mean) ** 2 for one in self.first) / len(self.first)
            return 1.0
        z = (norm - self.mean) / (math.sqrt(self.variance) + 1e-12)
        kept = norm if z <= 2.5 else self.mean + 2.5**2 / z * math.sqrt(self.variance)
        if z > 2.5:
            torch._foreach_mul_(seen.messages, kept / norm)
        self.mean = 0.97 * self.mean + 0.03 * kept
        self.variance = 0.97 * self.variance + 0.03 * (kept - self.mean) ** 2
        return 1.0


class Normed(Rule):
    """LocalNorms whose η0 gives the tuned step at the tuned run's mean norm."""

    def __init__(self, usual_norm: float):
        self.usual = usual_norm

    def factor(self, seen: Seen) -> float:
        return (1 + self.usual) / (1 + seen.mean_norm)


def prodigy(parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
    """Prodigy in place of the optimizer; what is hot is its multiplier."""
    from prodigyopt import Prodigy

    return Prodigy(parameters, lr=lr)


@dataclass(frozen=True)
class Design:
    """A rule for a task whose tuned run has this mean norm, and what replaces the optimizer, with a learning rate of 1."""

    rule: Callable[[Task, float], Rule]
    optimizer: Callable[[Iterable[nn.Parameter], float], Optimizer] | None = None


DESIGNS = {
    "nothing": Design(lambda task, norm: rule.Constant()),
    "clip_grad_norm_": Design(lambda task, norm: rule.Clip(1.0)),
    "z-score clip": Design(lambda task, norm: ZClip()),
    "LocalNorms": Design(lambda task, norm: Normed(norm)),
    "Prodigy": Design(lambda task, norm: rule.Constant(), prodigy),
    "Governor": Design(lambda task, norm: rule.Governor()),
    "Governor, no copy": Design(lambda task, norm: rule.Governor(copy=False)),
    "Governor, probe": Design(lambda task, norm: probed(task, "default")),
    "Governor, quick probe": Design(lambda task, norm: probed(task, "quick")),
}
