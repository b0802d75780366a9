"""The three optimizers of the runs."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


class Muon(Optimizer):
    """torch's Muon for matrices, SGD with momentum for all else, as one optimizer."""

    def __init__(self, model: nn.Module, lr: float):
        parameters = list(model.parameters())
        matrices = [p for p in parameters if p.ndim == 2]
        self.parts: list[Optimizer] = []
        if matrices:
            self.parts.append(torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
        others = [p for p in parameters if p.ndim != 2]
        if others:
            self.parts.append(torch.optim.AdamW(others, lr=lr, weight_decay=0.0))
        super().__setstate__({"defaults": {"lr": lr}})

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Of all parts."""
        return list(chain.from_iterable(part.param_groups for part in self.parts))

    @property
    def state(self) -> "_States":  # type: ignore[override]
        """Of all parts."""
        return _States(self.parts)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of each part."""
        for part in self.parts:
            part.step()


class _States:
    def __init__(self, parts: list[Optimizer]):
        self.parts = parts

    def clear(self) -> None:
        for part in self.parts:
            part.state.clear()

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(part.state for part in self.parts)


OPTIMIZERS: dict[str, Callable[[nn.Module, float], Optimizer]] = {
    "SGD-m": lambda model, lr: torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9),
    "AdamW": lambda model, lr: torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01),
    "Muon": Muon,
}
