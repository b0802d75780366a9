"""The three optimizers of the runs."""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim import Optimizer

import stablestep.torch as sst

Make = Callable[[Iterable[nn.Parameter], float], Optimizer]


def muon(parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
    """torch's Muon for matrices, AdamW for all else."""
    kinds: dict[str, list[nn.Parameter]] = {"Muon": [], "AdamW": []}
    for parameter in parameters:
        kinds["Muon" if parameter.ndim == 2 else "AdamW"].append(parameter)
    matrices, others = kinds.values()
    return sst.ChainedOptimizer(
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, weight_decay=0.0),
    )


OPTIMIZERS: dict[str, Make] = {
    "SGD-m": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
    "AdamW": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01),
    "Muon": muon,
}
