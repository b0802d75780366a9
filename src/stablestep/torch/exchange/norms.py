"""What ends the last payload of a backward, exact in any type: each worker's gradient norm, and which of its gradients are not 0."""

import torch

from stablestep.torch.wire.bits import as_bytes, from_bytes, pack_bits, unpack_bits

Tensor = torch.Tensor
SIZE = 8  # bytes of a norm


def tail(norm: Tensor, used: Tensor | None = None) -> Tensor:
    """The bytes of one worker: its norm in float64, then a bit for each parameter if somebody needs it."""
    own = as_bytes(norm.view(1))
    return own if used is None else torch.cat([own, pack_bits(used)])


def slots(own: Tensor, rank: int, workers: int, dtype: torch.dtype) -> Tensor:
    """A number for each byte of each worker, for a sum: this worker's bytes in its own place and zeros elsewhere.

    Bytes are exact in every floating-point type, and adding zeros is exact, so the sum is all workers' bytes.
    """
    places = torch.zeros(workers, len(own), dtype=dtype, device=own.device)
    places[rank] = own.to(dtype)
    return places.view(-1)


def from_slots(total: Tensor, workers: int) -> Tensor:
    """The bytes of all workers [N, bytes].

    >>> tails = from_slots(slots(tail(torch.tensor(0.1).double()), 0, 2, torch.float16), workers=2)
    >>> norms(tails).tolist()[0] == float(torch.tensor(0.1))
    True
    """
    return total.to(torch.uint8).view(workers, -1)


def norms(tails: Tensor) -> Tensor:
    """The norms [N] in float64."""
    return from_bytes(tails[:, :SIZE].reshape(-1), torch.float64)


def used(tails: Tensor, count: int) -> Tensor:
    """Which of `count` parameters have a gradient that is not 0 on some worker."""
    return torch.stack([unpack_bits(row[SIZE:], count) for row in tails.unbind()]).any(0)
