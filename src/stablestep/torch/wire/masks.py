"""Identity and masks, scaled or not: linear codecs, whose values can be summed on the way."""

from functools import cache

import torch

from stablestep.torch.wire.codec import Codec, squared_norm
from stablestep.torch.wire.randomness import subset

Tensor = torch.Tensor


class DenseCodec(Codec):
    """No compression."""

    linear = True
    random = False

    def encode(self, flat, plan):
        return flat

    def add(self, total, payload, plan):
        total.add_(payload)

    def squared_error(self, flat, payload, square):
        return torch.zeros_like(square)


class MaskCodec(Codec):
    """Some coordinates, as they are on the wire; the plan is their indices in ascending order, which are never sent.

    The receiver multiplies them by `factor`: 1 + ω, or 1 where the compressor has scaled=False.
    """

    linear = True
    planned = True

    def __init__(self, compressor):
        super().__init__(compressor)
        self.factor = cache(self.compressor.factor)

    def encode(self, flat, plan):
        return flat[plan]

    def add(self, total, payload, plan):
        total[plan] += payload.to(total.dtype) * self.factor(len(total))

    def subtract(self, total, payload, plan):
        total[plan] -= payload.to(total.dtype) * self.factor(len(total))

    def squared_error(self, flat, payload, square):
        kept, excess = squared_norm(payload), self.factor(len(flat)) - 1
        return (square - kept).clamp(min=0) + excess**2 * kept


class BernoulliCodec(MaskCodec):
    """RandomSparsification: each coordinate on its own."""

    def plan(self, draw, dim):
        return (draw(dim) * (1 + self.compressor.sparsity) < 1).nonzero().squeeze(1)


class RandKCodec(MaskCodec):
    """RandK, by element or in blocks.

    A block is one vote for all its coordinates: ω is the same, since it bounds the mean square error for every gradient, but a large block
    may line up with the sharp directions of a landscape. On a small net, at a step of 0.2, blocks of 64 ended at a loss of 2.08 and
    blocks of 1024 were lost, where single coordinates trained to 0.093. Take blocks where the codec's time counts.
    """

    def __init__(self, compressor):
        super().__init__(compressor)
        self.units, self.block = cache(self.compressor.units), self.compressor.block or 1

    def plan(self, draw, dim):
        units, kept = self.units(dim)
        return _within(subset(draw, units, kept), self.block, dim)


def _within(blocks: Tensor, size: int, dim: int) -> Tensor:
    if size == 1:
        return blocks
    indices = (blocks[:, None] * size + torch.arange(size, device=blocks.device)).view(-1)
    return indices[indices < dim] if dim % size else indices
