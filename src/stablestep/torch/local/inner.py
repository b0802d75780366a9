"""The optimizer of one worker's own steps."""

from typing import Any

import torch
from torch.optim import Optimizer

Tensor = torch.Tensor


class Inner:
    """Steps without communication; the optimizer's state is never sent.

    Args:
        optimizer: of this worker.
        scaler: its GradScaler, whose scale is the worker's own; a step that it leaves out is left out on this worker only.
    """

    def __init__(self, optimizer: Optimizer, scaler: Any):
        self.optimizer, self.scaler = optimizer, scaler

    def step(self) -> None:
        """One step."""
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)

    def forget_what_is_not_finite(self) -> None:
        """Parameters whose state is not finite begin without one, as they did in the first step."""
        state = self.optimizer.state
        for parameter in [parameter for parameter, values in state.items() if not _finite(values)]:
            del state[parameter]


def _finite(values: dict[str, Any]) -> bool:
    tensors = [value for value in values.values() if isinstance(value, Tensor) and value.is_floating_point()]
    return all(bool(value.isfinite().all()) for value in tensors)
