"""Low rank in two rounds, both of which can be summed on the way: M Q for all workers' left factor, then Mᵀ P for their right one."""

import math
from functools import cache

import torch

from stablestep.compressor.low_rank import SPENT, saves
from stablestep.errors import require
from stablestep.torch.wire.codec import Codec, working
from stablestep.torch.wire.masks import DenseCodec
from stablestep.torch.wire.randomness import Draw

Tensor = torch.Tensor


class LowRankCodec(Codec):
    """A matrix M [rows, columns] of the workers' mean becomes P Pᵀ M, with P the orthonormal columns of M Q.

    `encode` makes the payload of the first round, M Q, with Q as the plan; `turn` that of the second one, Mᵀ P. `add` reads the latter
    with P as the plan. Vectors, and matrices where two factors are no smaller, are sent as they are.

    Raises:
        InvalidInput: if the compressor has a shape: parameters have shapes of their own.
    """

    linear = True
    random = False  # all workers start from the same Q

    def __init__(self, compressor, shape: tuple[int, int] = (1, 1)):
        super().__init__(compressor)
        require(
            compressor.shape is None,
            f"shape is {compressor.shape}, but in the hook every parameter has its own; use LowRank(rank={compressor.rank}).",
        )
        self.rank, self.shape = int(compressor.rank), shape
        self.shaped = cache(self._shaped)

    def __reduce__(self):
        return type(self), (self.compressor, self.shape)

    def _shaped(self, shape: tuple[int, ...]) -> Codec:
        matrix = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
        return LowRankCodec(self.compressor, matrix) if saves(*matrix, self.rank) else DenseCodec(self.compressor)

    def start(self, given: Tensor) -> Tensor:
        """Q before the first message."""
        return given.new_zeros(self.shape[1], self.rank)

    def right(self, kept: Tensor, draw: Draw) -> Tensor:
        """Q with columns of largest entry 1, those that are 0 drawn anew."""
        size, uniform = kept.abs().amax(0), draw(kept.numel()).view_as(kept)
        return torch.where(size > 0, kept / torch.where(size > 0, size, 1), 2 * uniform - 1)

    def encode(self, flat, plan):
        return (flat.view(self.shape) @ plan).view(-1)

    def left(self, payload: Tensor) -> Tensor:
        """P, from the mean of the first payloads."""
        return orthonormal(working(payload).view(-1, self.rank))

    def turn(self, flat: Tensor, left: Tensor) -> Tensor:
        """The second payload."""
        return (flat.view(self.shape).T @ left).view(-1)

    def add(self, total, payload, plan):
        total.view(self.shape).addmm_(plan, payload.to(total.dtype).view(-1, self.rank).T)

    def subtract(self, total, payload, plan):
        total.view(self.shape).addmm_(plan, payload.to(total.dtype).view(-1, self.rank).T, alpha=-1)


def orthonormal(matrix: Tensor) -> Tensor:
    """Gram and Schmidt, each column twice; a column that depends on those before it becomes 0.

    >>> orthonormal(torch.tensor([[3.0, 6.0], [4.0, 8.0]])).tolist()
    [[0.6000000238418579, 0.0], [0.800000011920929, 0.0]]
    """
    size = matrix.abs().amax(0)
    scaled, found = matrix / torch.where(size > 0, size, 1), torch.zeros_like(matrix)
    for place, column in enumerate(scaled.unbind(1)):
        rest = column
        for _ in range(2):
            rest = rest - found @ (found.T @ rest)
        length = torch.linalg.vector_norm(rest)
        counts = length > SPENT * torch.finfo(matrix.dtype).eps * torch.linalg.vector_norm(column)
        found[:, place] = torch.where(counts, rest / torch.where(counts, length, 1), 0)
    return found
