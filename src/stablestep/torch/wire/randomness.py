"""Private randomness: every (seed, step, parameter, worker) has a generator of its own, and the global one is never touched."""

import hashlib
import math
from collections.abc import Callable

import torch

Tensor = torch.Tensor
Draw = Callable[[int], Tensor]
_SHARED = -1
SAMPLE = 17  # every so manyth value is one of a sample; no divisor of what widths of layers usually are
_SMALL = 1024  # so many uniforms cost less than the way around them


class Stream:
    """The numbers of one generator, one after the other.

    Args:
        generator: of the device on which they are wanted.
        dtype: of the uniforms.
    """

    def __init__(self, generator: torch.Generator, dtype: torch.dtype):
        self.generator, self.dtype = generator, dtype

    def __call__(self, count: int) -> Tensor:
        """The next uniforms on [0, 1)."""
        return self._uniforms(count, self.dtype)

    def subset(self, count: int, kept: int) -> Tensor:
        """The indices of `kept` of `count` things in ascending order, every choice as likely as any other, without a uniform for each.

        A few too many are drawn, which favours none of them, and a choice among these is made in the same way.
        """
        if kept == count:
            return torch.arange(count, device=self.generator.device)
        if count <= _SMALL:
            return smallest(self._uniforms(count, torch.float64), kept)
        if 2 * kept > count:
            return _others(self.subset(count, count - kept), count)
        more = min(kept + 4 * math.sqrt(kept), (count + kept) / 2)
        drawn = math.ceil(-count * math.log1p(-more / count))  # with repetitions
        while True:
            chosen = torch.zeros(count, dtype=torch.bool, device=self.generator.device)
            chosen[(self._uniforms(drawn, torch.float64) * count).long()] = True
            found = chosen.nonzero().squeeze(1)
            if len(found) >= kept:
                return found[self.subset(len(found), kept)]

    def _uniforms(self, count: int, dtype: torch.dtype) -> Tensor:
        return torch.rand(count, generator=self.generator, device=self.generator.device, dtype=dtype)


def drawer(like: Tensor, seed: int, step: int, parameter: int, worker: int | None = None) -> Stream:
    """The stream of these numbers, on the device of `like`; without a worker it is the same on all of them.

    >>> first, again = (drawer(torch.zeros(2), seed=0, step=3, parameter=1) for _ in range(2))
    >>> bool(torch.equal(first(4), again(4)))
    True
    """
    generator = torch.Generator(like.device)
    generator.manual_seed(mixed(seed, step, parameter, _SHARED if worker is None else worker))
    return Stream(generator, torch.float64 if like.dtype == torch.float64 else torch.float32)


def subset(draw: Draw, count: int, kept: int) -> Tensor:
    """`kept` of `count` indices in ascending order, at random: a stream's own choice, or those of the smallest of given uniforms.

    >>> subset(lambda count: torch.tensor([0.3, 0.9, 0.1])[:count], 3, 2).tolist()
    [0, 2]
    """
    return draw.subset(count, kept) if isinstance(draw, Stream) else smallest(draw(count), kept)


def smallest(values: Tensor, count: int) -> Tensor:
    """The indices of the `count` smallest values in ascending order; ties go to the lower index, as in a stable sort."""
    if count == len(values):
        return torch.arange(count, device=values.device)
    if likely_few(len(values), count):
        few = (values <= probably_above(values[::SAMPLE], count)).nonzero().squeeze(1)
        if count <= len(few) < len(values):
            return few[smallest(values[few], count)]
    limit = values.kthvalue(count).values
    below = (values < limit).nonzero().squeeze(1)
    ties = (values == limit).nonzero().squeeze(1)[: count - len(below)]
    return torch.cat([below, ties]).sort().values


def likely_few(of: int, count: int) -> bool:
    """Whether a sample is worth its time that leaves a few candidates for the `count` smallest of so many."""
    return of > 64 * _SMALL and 8 * count < of


def probably_above(sample: Tensor, count: int) -> Tensor:
    """A number that is likely to have at least `count` values, and not many more, at or below it: a quantile of a sample of them."""
    rank = math.ceil(count / SAMPLE + 4 * math.sqrt(count / SAMPLE)) + 1
    return sample.kthvalue(min(rank, len(sample))).values


def mixed(*numbers: int) -> int:
    """A whole number from whole numbers, as good as random."""
    # torch's generator on the CPU looks at 32 bits only, so neighbouring numbers have to be spread first.
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _others(chosen: Tensor, count: int) -> Tensor:
    """The indices below `count` that were not chosen."""
    left = torch.ones(count, dtype=torch.bool, device=chosen.device)
    left[chosen] = False
    return left.nonzero().squeeze(1)
