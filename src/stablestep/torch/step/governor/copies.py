"""What the governor keeps of the parameters: the last update, and a good copy to go back to."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

Tensor = torch.Tensor


class Copies:
    """Two tensors for each parameter, or one without the good copy; while a step is made, the last update's holds where it began."""

    def __init__(self, keep: bool):
        self.keep = keep
        self.good: list[Tensor] = []
        self.update: list[Tensor] = []
        self.moved = False  # whether `update` is one

    @torch.no_grad()
    def save(self, parameters: Sequence[Tensor]) -> None:
        """These parameters are good."""
        if self.keep:
            self.good = _copied(parameters, self.good)

    @torch.no_grad()
    def restore(self, parameters: Sequence[Tensor]) -> None:
        """Back to the good copy."""
        torch._foreach_copy_(list(parameters), self.good)
        self.moved = False

    @torch.no_grad()
    def begin(self, parameters: Sequence[Tensor]) -> None:
        """A step begins."""
        self.update = _copied(parameters, self.update)
        self.moved = False

    @torch.no_grad()
    def end(self, parameters: Sequence[Tensor], cap: float) -> None:
        """A step was made: shorten it to `cap` ‖x‖, and remember it, along the descent."""
        before, after = self.update, list(parameters)
        size = total_norm(before)
        torch._foreach_sub_(before, after)
        length = total_norm(before)
        share = torch.where(length > cap * size, cap * size / length, 1.0) if cap else torch.ones(())
        # Adding back what is too much leaves an update within the cap exactly as the optimizer made it.
        excess = (1 - share).to(after[0].device)
        torch._foreach_add_(after, torch._foreach_mul(before, excess.to(before[0].dtype)))
        self.moved = True

    def cosine(self, messages: Sequence[Tensor], norm: Tensor) -> Tensor:
        """cos(message, last update); 0 where one of them is 0."""
        products = [(m.flatten() @ u.flatten()).double() for m, u in zip(messages, self.update)]
        dot, length = torch.stack(products).sum(), total_norm(self.update) * norm
        return torch.where(length > 0, dot / length, 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Tensors, to go on bit for bit."""
        return {"good": self.good, "update": self.update if self.moved else [], "moved": self.moved}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """The opposite of `state_dict`."""
        self.good = [tensor.clone() for tensor in saved["good"]]
        self.update = [tensor.clone() for tensor in saved["update"]]
        self.moved = bool(saved["moved"])


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """√(Σ ‖t‖²) in float64."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))).double())


def _copied(parameters: Sequence[Tensor], into: list[Tensor]) -> list[Tensor]:
    if not into:
        return [parameter.detach().clone() for parameter in parameters]
    torch._foreach_copy_(into, [parameter.detach() for parameter in parameters])
    return into
