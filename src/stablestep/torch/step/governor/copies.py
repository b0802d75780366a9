"""What the governor keeps of the parameters: the last update, and a good copy to go back to."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from stablestep.errors import require

Tensor = torch.Tensor
# One kernel for many tensors on a GPU.
_copy, _add = torch._foreach_copy_, torch._foreach_add_  # pyright: ignore[reportPrivateImportUsage]
_subtract, _norms = torch._foreach_sub_, torch._foreach_norm  # pyright: ignore[reportPrivateImportUsage]
_product = torch._foreach_mul  # pyright: ignore[reportPrivateImportUsage]


class Copies:
    """Two tensors for each parameter, or one without the good copy; while a step is made, the last update's holds where it began."""

    def __init__(self, keep: bool):
        self.keep = keep
        self.good: list[Tensor] = []
        self.update: list[Tensor] = []
        self.length = torch.zeros((), dtype=torch.float64)  # of the update
        self.moved = False  # whether `update` is one

    def place(self, parameters: Sequence[Tensor]) -> None:
        """Restored copies go where the parameters are.

        Raises:
            InvalidInput: if they are of other parameters.
        """
        self.good, self.update = _placed(self.good, parameters), _placed(self.update, parameters)
        if self.moved:
            self.length = total_norm(self.update)

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
    def begin(self, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """A step begins: the message's norm, and its cosine with the last update, 0 where one of them is 0 or there was none."""
        norms, dots = [], []
        for updates, some in _together(self.update or [None] * len(parameters), parameters):
            messages = [one.grad for one in some if one.grad is not None]
            norms += _norms(messages) if messages else []
            if self.moved:
                dots += [_dot(one.grad, update) for one, update in zip(some, updates) if one.grad is not None]
            if self.update:
                _copy(updates, some)
        self.update = self.update or [parameter.detach().clone() for parameter in parameters]
        norm, dot = _total(norms), torch.stack(dots).sum() if dots else torch.zeros(())
        product = self.length * norm
        self.moved = False
        return norm, torch.where((product > 0) & bool(dots), dot.to(norm) / product, 0.0)

    @torch.no_grad()
    def end(self, parameters: Sequence[Tensor], cap: float) -> None:
        """A step was made: shorten it to `cap` ‖x‖ unless x was 0, and remember it, along the descent."""
        sizes, lengths = [], []
        for before, after in _together(self.update, parameters):
            sizes += _norms(before) if cap else []
            _subtract(before, after)
            lengths += _norms(before)
        self.length, self.moved = _total(lengths), True
        if cap:
            self._shorten(list(parameters), cap * _total(sizes))

    def _shorten(self, parameters: list[Tensor], most: Tensor) -> None:
        excess = torch.where((self.length > most) & (most > 0), 1 - most / self.length, 0.0)
        # A GPU is not waited for: nothing is added to an update within the cap, which stays as the optimizer made it.
        if excess.device.type != "cpu" or excess > 0:
            _add(parameters, _product(self.update, excess.to(self.update[0].dtype)))

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
    return _total(_norms(list(tensors)))


def _total(norms: Sequence[Tensor]) -> Tensor:
    return torch.linalg.vector_norm(torch.stack(list(norms)).double())


def _together(*lists: Sequence[Any]) -> Iterator[Sequence[list[Any]]]:
    """All tensors at once on a GPU, few kernels; on the CPU one by one, so that what follows finds them in its cache."""
    if lists[-1][0].device.type != "cpu":
        yield [list(each) for each in lists]
    else:
        for row in zip(*lists):
            yield [[one] for one in row]


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
