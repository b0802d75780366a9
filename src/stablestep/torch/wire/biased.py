"""Signs of one bit, alone or with a scale, and Top-k."""

from functools import cache

import torch

from stablestep.torch.wire import bits
from stablestep.torch.wire.codec import Codec, squared_norm, working
from stablestep.torch.wire.randomness import SAMPLE, Draw, likely_few, probably_above, smallest

Tensor = torch.Tensor
_BLOCK = 256


class SignCodec(Codec):
    """One bit for each coordinate, and one for each block of 256 coordinates that says whether it is all zero (then its message is 0).

    The method's sign of 0 is 0, which one bit cannot say: a 0 in a block that is not all zero becomes a fair random sign.
    """

    scale_free = True

    def encode(self, flat, plan):
        return _packed(flat, plan)

    def add(self, total, payload, plan):
        total.add_(_signs(payload, len(total)))

    def squared_error(self, flat, payload, square):
        """That of the best multiple of the sign, ‖g‖₂² − ‖g‖₁²/d: the scale of a sign is the step's affair."""
        return square - _absolute(flat).square() / len(flat)


class MajorityCodec(SignCodec):
    """The sign of the sum of the signs; ties, which an even number of workers can have, give 0."""

    def finish(self, mean):
        return mean.sign()


class ScaledSignCodec(Codec):
    """‖g‖₁/d in full, then the bits of `SignCodec`; a 0 in a block that is not all zero becomes ±‖g‖₁/d, which still contracts."""

    def encode(self, flat, plan):
        return torch.cat([bits.as_bytes(working(flat).abs().mean().view(1)), _packed(flat, plan)])

    def add(self, total, payload, plan):
        scale, rest = _split(payload, total.dtype)
        total.add_(_signs(rest, len(total)) * scale)

    def squared_error(self, flat, payload, square):
        """‖g‖₂² − 2a‖g‖₁ + a² · (signs that were sent), a the scale."""
        scale, rest = _split(payload, working(flat[:0]).dtype)
        scale, alive, missing = scale[0].double(), _alive(rest, len(flat)), -len(flat) % _BLOCK
        sent = alive.sum() * _BLOCK - alive[-1] * missing
        return (square - 2 * scale * _absolute(flat) + scale.square() * sent).clamp(min=0)


def _packed(flat: Tensor, draw: Draw) -> Tensor:
    negative, alive = flat < 0, torch.ones(-(-len(flat) // _BLOCK), dtype=torch.bool, device=flat.device)
    if not bool(flat.abs().amin()):  # five times as fast as asking flat == 0; NaN is no zero
        zero = flat == 0
        alive = ~_blocks(zero).all(1)
        zero &= _spread(alive, len(flat))
        negative[zero] = draw(int(zero.sum())) < 0.5
    return torch.cat([bits.pack_bits(negative), bits.pack_bits(alive)])


def _signs(payload: Tensor, count: int) -> Tensor:
    """−1 and 1, and 0 in blocks that are all zero (int8)."""
    signs = 1 - 2 * bits.unpack_bits(payload[: bits.packed_size(count, 1)], count).view(torch.int8)
    alive = _alive(payload, count)
    return signs if bool(alive.all()) else signs * _spread(alive.to(torch.int8), count)


def _alive(payload: Tensor, count: int) -> Tensor:
    """Which blocks are not all zero."""
    return bits.unpack_bits(payload[bits.packed_size(count, 1) :], -(-count // _BLOCK))


def _split(payload: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The scale [1], and the rest."""
    return bits.from_bytes(payload[: dtype.itemsize], dtype), payload[dtype.itemsize :]


def _absolute(flat: Tensor) -> Tensor:
    """‖g‖₁."""
    return torch.stack([piece.abs().sum().double() for piece in working(flat).split(bits.PIECE)]).sum()


def _blocks(zero: Tensor) -> Tensor:
    missing = -len(zero) % _BLOCK
    return torch.nn.functional.pad(zero, (0, missing), value=True).view(-1, _BLOCK)


def _spread(alive: Tensor, count: int) -> Tensor:
    return alive.repeat_interleave(_BLOCK)[:count]


class TopKCodec(Codec):
    """The k largest coordinates: 32-bit indices, then values."""

    random = False

    def __init__(self, compressor):
        super().__init__(compressor)
        self.kept = cache(self.compressor.kept)

    def encode(self, flat, plan):
        indices = largest(flat, self.kept(len(flat)))
        return torch.cat([bits.as_bytes(indices.int()), bits.as_bytes(working(flat[indices]))])

    def add(self, total, payload, plan):
        indices, values = self._read(total, payload)
        total[indices] += values

    def subtract(self, total, payload, plan):
        indices, values = self._read(total, payload)
        total[indices] -= values

    def _read(self, total: Tensor, payload: Tensor) -> tuple[Tensor, Tensor]:
        size = 4 * self.kept(len(total))
        return bits.from_bytes(payload[:size], torch.int32).long(), bits.from_bytes(payload[size:], total.dtype)

    def squared_error(self, flat, payload, square):
        size = 4 * self.kept(len(flat))
        return (square - squared_norm(bits.from_bytes(payload[size:], working(flat[:0]).dtype))).clamp(min=0)


def largest(flat: Tensor, count: int) -> Tensor:
    """The indices of the `count` entries of largest magnitude in ascending order; ties go to the lower index, and NaN counts as 0.

    A gradient that is not finite is never applied, but its payload needs the right size.

    >>> largest(torch.tensor([1.0, -3.0, float("nan"), 2.0, 3.0]), 2).tolist()
    [1, 4]
    """
    if likely_few(len(flat), count):
        limit = -probably_above(_size(flat[::SAMPLE]).neg_(), count)
        # In pieces, since memory that is new to the process costs more than looking at it.
        found = [(piece.abs() >= limit).nonzero().squeeze(1) + start for start, piece in _pieces(flat)]
        few = torch.cat(found)
        if count <= len(few):
            return few[smallest(_size(flat[few]).neg_(), count)]
    return smallest(_size(flat).neg_(), count)


def _size(values: Tensor) -> Tensor:
    return values.abs().nan_to_num_(nan=0.0)


def _pieces(flat: Tensor) -> list[tuple[int, Tensor]]:
    """With the place where each begins; a GPU takes all at once."""
    if flat.device.type != "cpu":
        return [(0, flat)]
    return [(start, flat[start : start + bits.PIECE]) for start in range(0, len(flat), bits.PIECE)]
