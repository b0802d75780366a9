"""Identity and masks: linear codecs, whose values can be summed on the way."""

from functools import cache

import torch

from stablestep.torch.codec import Codec, squared_norm

Tensor = torch.Tensor


class Dense(Codec):
    """No compression."""

    linear = True
    random = False

    def encode(self, flat, plan):
        return flat

    def add(self, total, payload, plan):
        total.add_(payload)

    def squared_error(self, flat, payload, square):
        return torch.zeros_like(square)


class Mask(Codec):
    """Some coordinates, unscaled on the wire; the plan is their indices in ascending order, which are never sent."""

    linear = True
    planned = True

    def scale(self, dim: int) -> float:
        """1 + ω, the inverse of the chance to be kept."""
        return 1 + self.omega(dim)

    def encode(self, flat, plan):
        return flat[plan]

    def add(self, total, payload, plan):
        total[plan] += payload.to(total.dtype) * self.scale(len(total))

    def squared_error(self, flat, payload, square):
        scale, kept = self.scale(len(flat)), squared_norm(payload)
        return (square - kept).clamp(min=0) + (scale - 1) ** 2 * kept


class Bernoulli(Mask):
    """RandomSparsification: each coordinate on its own."""

    def plan(self, draw, dim):
        return (draw(dim) * self.scale(dim) < 1).nonzero().squeeze(1)


class Chosen(Mask):
    """RandK, by element or in blocks."""

    def __init__(self, compressor):
        super().__init__(compressor)
        self.draws, self.block = cache(self.compressor.draws), self.compressor.block or 1

    def plan(self, draw, dim):
        units = self.draws(dim)
        blocks = smallest(draw(units), round(units / self.scale(dim)))
        return _within(blocks, self.block, dim)


def smallest(values: Tensor, count: int) -> Tensor:
    """The indices of the `count` smallest values in ascending order; ties go to the lower index, as in a stable sort."""
    if count == len(values):
        return torch.arange(count, device=values.device)
    limit = values.kthvalue(count).values
    below = (values < limit).nonzero().squeeze(1)
    ties = (values == limit).nonzero().squeeze(1)[: count - len(below)]
    return torch.cat([below, ties]).sort().values


def _within(blocks: Tensor, size: int, dim: int) -> Tensor:
    if size == 1:
        return blocks
    indices = (blocks[:, None] * size + torch.arange(size, device=blocks.device)).view(-1)
    return indices[indices < dim] if dim % size else indices
