"""Signs of one bit and Top-k."""

from functools import cache

import torch

from stablestep.torch import bits
from stablestep.torch.codec import Codec, squared_norm, working
from stablestep.torch.mask import smallest

_BLOCK = 256


class SignCodec(Codec):
    """One bit for each coordinate, and one for each block of 256 coordinates that says whether it is all zero (then its message is 0).

    The method's sign of 0 is 0, which one bit cannot say: a 0 in a block that is not all zero becomes a fair random sign.
    """

    scale_free = True

    def encode(self, flat, plan):
        negative, alive = flat < 0, torch.ones(-(-len(flat) // _BLOCK), dtype=torch.bool, device=flat.device)
        zero = flat == 0
        if bool(zero.any()):
            alive = ~_blocks(zero).all(1)
            zero &= _spread(alive, len(flat))
            negative[zero] = plan(int(zero.sum())) < 0.5
        return torch.cat([bits.pack_bits(negative), bits.pack_bits(alive)])

    def add(self, total, payload, plan):
        size = bits.packed_size(len(total), 1)
        message = 1 - 2 * bits.unpack_bits(payload[:size], len(total)).view(torch.int8)
        alive = bits.unpack_bits(payload[size:], -(-len(total) // _BLOCK))
        total.add_(message if bool(alive.all()) else message * _spread(alive.to(torch.int8), len(total)))

    def squared_error(self, flat, payload, square):
        """That of the best multiple of the sign, ‖g‖₂² − ‖g‖₁²/d: the scale of a sign is the step's affair."""
        return square - torch.linalg.vector_norm(working(flat), 1).double().square() / len(flat)


class MajorityCodec(SignCodec):
    """The sign of the sum of the signs; ties, which an even number of workers can have, give 0."""

    def finish(self, mean):
        return mean.sign()


def _blocks(zero: torch.Tensor) -> torch.Tensor:
    missing = -len(zero) % _BLOCK
    return torch.nn.functional.pad(zero, (0, missing), value=True).view(-1, _BLOCK)


def _spread(alive: torch.Tensor, count: int) -> torch.Tensor:
    return alive.repeat_interleave(_BLOCK)[:count]


class TopKCodec(Codec):
    """The k largest coordinates: 32-bit indices, then values."""

    random = False

    def __init__(self, compressor):
        super().__init__(compressor)
        self.kept = cache(self.compressor.kept)

    def encode(self, flat, plan):
        # A gradient that is not finite is never applied, but its payload needs the right size.
        indices = smallest(-flat.nan_to_num(nan=0.0).abs(), self.kept(len(flat)))
        return torch.cat([bits.as_bytes(indices.int()), bits.as_bytes(working(flat[indices]))])

    def add(self, total, payload, plan):
        size = 4 * self.kept(len(total))
        indices = bits.from_bytes(payload[:size], torch.int32).long()
        total[indices] += bits.from_bytes(payload[size:], total.dtype)

    def squared_error(self, flat, payload, square):
        size = 4 * self.kept(len(flat))
        return (square - squared_norm(bits.from_bytes(payload[size:], working(flat[:0]).dtype))).clamp(min=0)
