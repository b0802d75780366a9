"""The optimizers that entrants share. Every rate of a trainer is the same: the tuned one, times the schedule."""

from collections.abc import Callable

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from benchmarks.frontier.models import hidden_matrices

Make = Callable[[nn.Module, float], Optimizer]


def adamw(model: nn.Module, lr: float) -> Optimizer:
    return AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.01)


def momentum(model: nn.Module, lr: float) -> Optimizer:
    return SGD(model.parameters(), lr=lr, momentum=0.9)


def plain(model: nn.Module, lr: float) -> Optimizer:
    return SGD(model.parameters(), lr=lr)


class Pair(Optimizer):
    """Two optimizers of one model, as one."""

    def __init__(self, *both: Optimizer):
        self.both = both
        super().__init__([group for one in both for group in one.param_groups], {})
        for one in both:
            one.param_groups = [group for group in self.param_groups if group["kind"] == type(one).__name__]
            one.state = self.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for one in self.both:
            one.step()


def muon(model: nn.Module, lr: float, momentum: float = 0.95) -> Optimizer:
    """Muon for hidden matrices, with rates as AdamW's, and AdamW for the rest."""
    matrices = hidden_matrices(model)
    chosen = set(map(id, matrices))
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    groups = {"kind": "Muon", "params": matrices}, {"kind": "AdamW", "params": rest}
    options = {"adjust_lr_fn": "match_rms_adamw", "momentum": momentum, "nesterov": momentum > 0}
    return Pair(
        torch.optim.Muon(groups[:1], lr=lr, weight_decay=0.01, **options),
        AdamW(groups[1:], lr=lr, betas=(0.9, 0.99), weight_decay=0.01),
    )
