"""The three optimizers of the runs."""

from collections.abc import Callable

import torch
from torch import nn
from torch.optim import Optimizer

import stablestep.torch as sst


def muon(model: nn.Module, lr: float) -> Optimizer:
    """torch's Muon for matrices, AdamW for all else."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim != 2]
    return sst.ChainedOptimizer(
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, weight_decay=0.0),
    )


OPTIMIZERS: dict[str, Callable[[nn.Module, float], Optimizer]] = {
    "SGD-m": lambda model, lr: torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9),
    "AdamW": lambda model, lr: torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01),
    "Muon": muon,
}
