"""The optimizers that entrants share. Every rate of a trainer is the same: the tuned one, times the schedule."""

from collections.abc import Callable

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

import stablestep.torch as sst
from benchmarks.frontier.models import hidden_matrices

Make = Callable[[nn.Module, float], Optimizer]


def adamw(model: nn.Module, lr: float) -> Optimizer:
    return AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.01)


def momentum(model: nn.Module, lr: float) -> Optimizer:
    return SGD(model.parameters(), lr=lr, momentum=0.9)


def plain(model: nn.Module, lr: float) -> Optimizer:
    return SGD(model.parameters(), lr=lr)


def muon(model: nn.Module, lr: float, momentum: float = 0.95) -> Optimizer:
    """Muon for hidden matrices, with rates as AdamW's, and AdamW for the rest."""
    matrices = hidden_matrices(model)
    chosen = set(map(id, matrices))
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    options = {"adjust_lr_fn": "match_rms_adamw", "momentum": momentum, "nesterov": momentum > 0}
    return sst.ChainedOptimizer(
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.01, **options),
        AdamW(rest, lr=lr, betas=(0.9, 0.99), weight_decay=0.01),
    )
