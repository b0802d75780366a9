"""What the governor keeps of the parameters: the last update, and a good copy to go back to."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from stablestep.errors import require

Tensor = torch.Tensor
# One kernel for many tensors on a GPU.
_copy, _add = torch._foreach_copy_, torch._foreach_add_  # pyright: ignore[reportPrivateImportUsage]
_subtract, _norms = torch._foreach_sub_, torch._foreach_norm  # pyright: ignore[reportPrivateImportUsage]


class Copies:
    """Two tensors for each parameter, or one without the good copy; while a step is made, the last update's holds where it began."""

    def __init__(self, keep: bool):
        self.keep = keep
        self.good: list[Tensor] = []
        self.update: list[Tensor] = []
        self.moved = False  # whether `update` is one

    def place(self, parameters: Sequence[Tensor]) -> None:
        """Restored copies go where the parameters are.

        Raises:
            InvalidInput: if they are of other parameters.
        """
        self.good, self.update = _placed(self.good, parameters), _placed(self.update, parameters)

    @torch.no_grad()
    def save(self, parameters: Sequence[Tensor]) -> None:
        """These parameters are good."""
        if self.keep:
            self.good = _copied(parameters, self.good)

    @torch.no_grad()
    def restore(self, parameters: Sequence[Tensor]) -> None:
        """Back to the good copy."""
        _copy(list(parameters), self.good)
        self.moved = False

    @torch.no_grad()
    def begin(self, parameters: Sequence[Tensor]) -> None:
        """A step begins."""
        self.update = _copied(parameters, self.update)
        self.moved = False

    @torch.no_grad()
    def end(self, parameters: Sequence[Tensor], cap: float) -> None:
        """A step was made: shorten it to `cap` ‖x‖ unless x was 0, and remember it, along the descent."""
        before, after = self.update, list(parameters)
        size = total_norm(before)
        _subtract(before, after)
        if cap:
            length = total_norm(before)
            excess = torch.where((length > cap * size) & (size > 0), 1 - cap * size / length, 0.0)
            # Nothing is added to an update within the cap, which stays as the optimizer made it.
            _add(after, [(update * excess).to(update.dtype) for update in before])
        self.moved = True

    def cosine(self, parameters: Sequence[Tensor], norm: Tensor) -> Tensor:
        """cos(message, last update) for a message of this norm; 0 where one of them is 0."""
        pairs = [(one.grad, update) for one, update in zip(parameters, self.update) if one.grad is not None]
        dot = torch.stack([_dot(message, update) for message, update in pairs]).sum()
        length = total_norm(self.update) * norm
        return torch.where(length > 0, dot / length, 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Tensors, to go on bit for bit."""
        return {"good": self.good, "update": self.update if self.moved else []}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """The opposite of `state_dict`."""
        self.good = [tensor.clone() for tensor in saved["good"]]
        self.update = [tensor.clone() for tensor in saved["update"]]
        self.moved = bool(self.update)


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """√(Σ ‖t‖²) in float64."""
    return torch.linalg.vector_norm(torch.stack(_norms(list(tensors))).double())


def _dot(left: Tensor, right: Tensor) -> Tensor:
    precise = torch.promote_types(left.dtype, torch.float32)
    return (left.flatten().to(precise) @ right.flatten().to(precise)).double()


def _copied(parameters: Sequence[Tensor], into: list[Tensor]) -> list[Tensor]:
    if not into:
        return [parameter.detach().clone() for parameter in parameters]
    _copy(into, [parameter.detach() for parameter in parameters])
    return into


def _placed(copies: list[Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    shapes, wanted = [tuple(copy.shape) for copy in copies], [tuple(parameter.shape) for parameter in parameters]
    require(
        not copies or shapes == wanted,
        f"the governor's copies are of parameters of shapes {shapes}, but the optimizer has {wanted}; "
        "resume with the model that was saved.",
    )
    return [copy.to(parameter.device) for copy, parameter in zip(copies, parameters)]
