"""Private randomness: every (seed, step, parameter, worker) has a generator of its own, and the global one is never touched."""

import hashlib
from collections.abc import Callable

import torch

Draw = Callable[[int], torch.Tensor]
_SHARED = -1


def drawer(like: torch.Tensor, seed: int, step: int, parameter: int, worker: int | None = None) -> Draw:
    """A function that gives the next n uniforms on [0, 1); without a worker they are the same on all of them.

    >>> first, again = (drawer(torch.zeros(2), seed=0, step=3, parameter=1) for _ in range(2))
    >>> bool(torch.equal(first(4), again(4)))
    True
    """
    generator = torch.Generator(like.device)
    generator.manual_seed(mixed(seed, step, parameter, _SHARED if worker is None else worker))
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32

    def draw(count: int) -> torch.Tensor:
        return torch.rand(count, generator=generator, device=like.device, dtype=dtype)

    return draw


def mixed(*numbers: int) -> int:
    """A whole number from whole numbers, as good as random."""
    # torch's generator on the CPU looks at 32 bits only, so neighbouring numbers have to be spread first.
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
