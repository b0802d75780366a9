"""The mean of four workers' messages in one process: RandK with own masks, each parameter by itself, as the hook draws them."""

from collections.abc import Sequence
from functools import cache, lru_cache

import torch

from stablestep import compressor as c
from stablestep.torch.wire.masks import RandKCodec
from stablestep.torch.wire.randomness import drawer
from stablestep.torch.wire.registry import codec

Tensor = torch.Tensor
Mask = tuple[Tensor, Tensor]  # indices, and what each value is multiplied by


def mean_message(gradients: Tensor, sizes: Sequence[int], omega: float, seed: int, step: int) -> Tensor:
    """Of gradients [N, d], whose parameters have these sizes."""
    if omega == 0:
        return gradients.mean(0)
    total = torch.zeros_like(gradients[0])
    for gradient, (kept, factor) in zip(gradients, _masks(len(gradients), tuple(sizes), omega, seed, step)):
        total[kept] += gradient[kept] * factor
    return total / len(gradients)


def randk(omega: float) -> c.RandK:
    """RandK with this ω, up to rounding."""
    return c.RandK(fraction=1 / (1 + omega))


# Every design and every fault of a training has the same masks.
@lru_cache(maxsize=2000)
def _masks(workers: int, sizes: tuple[int, ...], omega: float, seed: int, step: int) -> list[Mask]:
    return [_mask(worker, sizes, omega, seed, step) for worker in range(workers)]


def _mask(worker: int, sizes: tuple[int, ...], omega: float, seed: int, step: int) -> Mask:
    chosen, like, start = _codec(omega), torch.zeros(()), 0
    kept, factors = [], []
    for number, size in enumerate(sizes):
        plan = chosen.plan(drawer(like, seed, step, number, worker), size)
        kept.append(plan + start)
        factors.append(torch.full((len(plan),), float(chosen.factor(size))))
        start += size
    return torch.cat(kept), torch.cat(factors)


@cache
def _codec(omega: float) -> RandKCodec:
    found = codec(randk(omega))
    assert isinstance(found, RandKCodec)
    return found
