"""The three optimizers of the runs."""

from collections.abc import Callable

import torch
from torch import nn
from torch.optim import Optimizer

from benchmarks.frontier.optimizers import Pair


def muon(model: nn.Module, lr: float) -> Optimizer:
    """torch's Muon for matrices, AdamW for all else."""
    kinds = {"Muon": [], "AdamW": []}
    for parameter in model.parameters():
        kinds["Muon" if parameter.ndim == 2 else "AdamW"].append(parameter)
    matrices, others = ([{"kind": kind, "params": params}] for kind, params in kinds.items())
    return Pair(
        torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=lr, weight_decay=0.0),
    )


OPTIMIZERS: dict[str, Callable[[nn.Module, float], Optimizer]] = {
    "SGD-m": lambda model, lr: torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9),
    "AdamW": lambda model, lr: torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01),
    "Muon": muon,
}
