"""A copy of a model with its loss and batches: points and gradients are flat tensors [d], and nothing of the user's changes."""

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from stablestep.errors import InvalidInput, require, shown
from stablestep.torch.exchange.hook import is_sharded, require_dense, require_real

Tensor = torch.Tensor
Batch = Any
Loss = Callable[[torch.nn.Module, Batch], Tensor]
FEWEST = 8
LOOKED_AT = 16  # batches of a loss that is compared with another one


class Landscape:
    """The loss around the model's parameters.

    Args:
        model: its parameters are the first point; it is copied, so yours stays as it is.
        loss: loss(model, batch), a scalar.
        batches: at least 8; the first `most` are kept.
        most: see batches.

    Raises:
        InvalidInput: if an argument is of the wrong kind, there are too few batches, or the loss is no finite scalar that depends on the
            parameters.
    """

    def __init__(self, model: torch.nn.Module, loss: Loss, batches: Iterable[Batch], most: int = 64):
        require(
            isinstance(model, torch.nn.Module), f"model is a {type(model).__name__}, but must be a torch.nn.Module."
        )
        require(
            callable(loss), f"loss is {shown(loss)}, but must be a function loss(model, batch) that gives a scalar."
        )
        self.model = _copied(model.module if isinstance(model, DistributedDataParallel) else model)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        require(len(self.parameters) > 0, "the model has no parameters to train.")
        require_real(self.parameters)
        self.sizes = [parameter.numel() for parameter in self.parameters]
        self.buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        self.loss, self.pool = loss, _pool(batches, most)
        self.double_backward = True
        self._check()

    @property
    def dim(self) -> int:
        """d."""
        return sum(self.sizes)

    @property
    def devices(self) -> list[int]:
        """Indices of the GPUs that the model is on."""
        return sorted({parameter.device.index or 0 for parameter in self.parameters if parameter.is_cuda})

    def point(self) -> Tensor:
        """The parameters now."""
        return _flat(self.parameters).detach()

    def move(self, point: Tensor) -> None:
        """Make these the parameters."""
        with torch.no_grad():
            for parameter, piece in zip(self.parameters, point.split(self.sizes)):
                parameter.copy_(piece.view_as(parameter))

    def step(self, point: Tensor, step: float, direction: Tensor) -> Tensor:
        """Make x − h·direction the parameters, the update of SGD, and return it."""
        moved = point - step * direction
        self.move(moved)
        return moved

    def restart(self, point: Tensor) -> None:
        """Make these the parameters, and give the buffers their first values."""
        self.move(point)
        with torch.no_grad():
            for buffer, first in self.buffers:
                buffer.copy_(first)

    def value(self, batches: Sequence[Batch] | None = None) -> float:
        """The mean loss, by default on the first batches of the pool: always the same, so that hardly any change is a tie, not a coin."""
        batches = self.pool[:LOOKED_AT] if batches is None else batches
        # Not without gradients, which some losses take themselves.
        return sum(float(self.loss(self.model, batch).detach()) for batch in batches) / len(batches)

    def gradient(self, batch: Batch) -> tuple[float, Tensor]:
        """Loss and gradient on one batch."""
        loss = self.loss(self.model, batch)
        return float(loss.detach()), _flat(torch.autograd.grad(loss, self.parameters, materialize_grads=True))

    def curvature(self, batches: Sequence[Batch], direction: Tensor) -> Tensor:
        """Hv of the mean loss on some batches: by double backward, or where the model has none by central differences."""
        product = self._product if self.double_backward else self._difference
        try:
            return torch.stack([product(batch, direction) for batch in batches]).mean(0)
        except RuntimeError:
            # Fused and compiled kernels say so in many words; what is really wrong the differences meet again.
            if not self.double_backward:
                raise
            self.double_backward = False
            return self.curvature(batches, direction)

    def _product(self, batch: Batch, direction: Tensor) -> Tensor:
        loss = self.loss(self.model, batch)
        gradient = _flat(torch.autograd.grad(loss, self.parameters, create_graph=True, materialize_grads=True))
        if not gradient.requires_grad:  # a linear loss, or a kernel that keeps no graph of its backward
            return self._difference(batch, direction)
        bent = torch.autograd.grad(gradient @ direction, self.parameters, materialize_grads=True)
        return _flat(bent).detach()

    def _difference(self, batch: Batch, direction: Tensor) -> Tensor:
        """On the same batch and with the same dropout, so that their noise cancels; steps of the cube root of the precision."""
        here, length = self.point(), float(direction.norm())
        if length == 0:
            return torch.zeros_like(direction)
        reach = torch.finfo(here.dtype).eps ** (1 / 3) * (1 + float(here.norm())) / length
        sides = []
        for sign in (1, -1):
            with torch.random.fork_rng(devices=self.devices):
                self.move(here + sign * reach * direction)
                sides.append(self.gradient(batch)[1])
        self.move(here)
        return (sides[0] - sides[1]) / (2 * reach)

    def _check(self) -> None:
        try:
            loss = self.loss(self.model, self.pool[0])
        except Exception as error:  # whatever a user's code may raise
            words = " ".join(str(error).split())
            raise InvalidInput(
                f"loss(model, batch) failed with {type(error).__name__}: {words}; it gets the model and one batch, as in "
                "lambda model, batch: mse_loss(model(batch[0]), batch[1]), and gives the mean loss over it."
            ) from error
        require(
            isinstance(loss, Tensor) and loss.numel() == 1,
            f"loss gave {_described(loss)}, but must give a tensor with one number: the mean over the batch.",
        )
        require(loss.requires_grad, "loss does not depend on the model's parameters; compute it with the given model.")
        require(
            bool(torch.isfinite(loss.detach()).all()), f"loss is {float(loss.detach())} at the start; begin elsewhere."
        )
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for gradient in found:
            if gradient is not None:
                require_dense(gradient)


def _pool(batches: Iterable[Batch], most: int) -> list[Batch]:
    require(
        isinstance(batches, Iterable),
        f"batches is a {type(batches).__name__}, but must be a list of batches, or a loader.",
    )
    pool = list(islice(batches, most))
    require(
        len(pool) >= FEWEST,
        f"batches has {len(pool)} of them, but the noise between batches needs at least {FEWEST}; give more, such as 64.",
    )
    return pool


def _copied(model: torch.nn.Module) -> torch.nn.Module:
    require(not is_sharded(model), f"the model is a {type(model).__name__}, which is sharded; give the whole model.")
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise InvalidInput(
            f"The model cannot be copied ({error}); give one that was freshly built and loaded."
        ) from error


def _described(loss: object) -> str:
    return f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
