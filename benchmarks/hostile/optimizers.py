"""The three optimizers of the runs."""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim import Optimizer

import stablestep.torch as sst

Make = Callable[[Iterable[nn.Parameter], float], Optimizer]


def muon(parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
    """torch's Muon for matrices, AdamW for all else."""
    matrices, others = [], []
    for parameter in parameters:
        (matrices if parameter.ndim == 2 else others).append(parameter)
    return sst.ChainedOptimizer(
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, weight_decay=0.0),
    )


OPTIMIZERS: dict[str, Make] = {
    "SGD-m": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
    "AdamW": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01),
    "Muon": muon,
}
