"""What every compressor needs on the wire: a plan made of randomness, a payload, and how a payload is added to a sum."""

import abc
import math
from typing import Any, ClassVar

import torch

from stablestep.compressor import Compressor
from stablestep.torch.wire.bits import PIECE
from stablestep.torch.wire.randomness import Draw

Tensor = torch.Tensor


class Codec(abc.ABC):
    """A compressor of `stablestep.compressor` for flat torch tensors.

    A linear codec's payload holds values of the gradient's own type, which may be summed on the way where all workers have the same plan
    (all-reduce). Every other payload is bytes of the same number on all workers (all-gather).
    """

    linear: ClassVar[bool] = False
    random: ClassVar[bool] = True
    planned: ClassVar[bool] = False  # decoding needs the sender's plan
    scale_free: ClassVar[bool] = False  # the message does not grow with the gradient

    def __init__(self, compressor: Compressor):
        # Calling an equinox module's method takes longer than coding a small tensor, and would come for each tensor in each step:
        # a codec asks once for each size, through `functools.cache`.
        self.compressor: Any = compressor

    def __reduce__(self):
        return type(self), (self.compressor,)  # a cache cannot be pickled

    def shaped(self, shape: tuple[int, ...]) -> "Codec":
        """The codec of a parameter of this shape."""
        return self

    def plan(self, draw: Draw, dim: int) -> Any:
        """What the randomness decides before the gradient is seen; here nothing."""
        return draw

    @abc.abstractmethod
    def encode(self, flat: Tensor, plan: Any) -> Tensor:
        """The payload of one worker."""

    @abc.abstractmethod
    def add(self, total: Tensor, payload: Tensor, plan: Any) -> None:
        """Add the message in `payload` to `total`."""

    def subtract(self, total: Tensor, payload: Tensor, plan: Any) -> None:
        """Take the message in `payload` from `total`."""
        message = torch.zeros_like(total)
        self.add(message, payload, plan)
        total.sub_(message)

    def squared_error(self, flat: Tensor, payload: Tensor, square: Tensor) -> Tensor | None:
        """‖C(g) − g‖² where it needs no decoding; `square` is ‖g‖²."""
        return None

    def finish(self, mean: Tensor) -> Tensor:
        """What the workers make of the mean message."""
        return mean


def working(flat: Tensor) -> Tensor:
    """The tensor in the type that codecs compute in: half precision becomes single."""
    return flat if flat.dtype == torch.float64 else flat.float()


def squared_norm(values: Tensor) -> Tensor:
    """Σ v² in float64."""
    if values.device.type != "cpu":
        return torch.linalg.vector_norm(values, dtype=torch.float64).square()
    # One piece at a time in double precision, so that it stays in the cache.
    squares = [_square(piece.double()) for piece in values.split(PIECE)]
    return torch.stack(squares).sum() if squares else torch.zeros((), dtype=torch.float64)


def norm(values: Tensor) -> Tensor:
    """‖v‖₂ in the type of v, whose squares may overflow or vanish although v does not."""
    largest = torch.linalg.vector_norm(values, math.inf)
    scale = torch.where((largest > 0) & (largest < math.inf), largest, 1)
    return scale * torch.linalg.vector_norm(values / scale)


def _square(values: Tensor) -> Tensor:
    return values.dot(values)
