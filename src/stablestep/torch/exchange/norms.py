"""What ends the last payload of a backward, exact in any type: each worker's gradient norm, its loss, and which gradients are not 0."""

import torch

from stablestep.torch.wire.bits import as_bytes, from_bytes, pack_bits, unpack_bits

Tensor = torch.Tensor
SIZE = 16  # bytes of a norm and a loss


def tail(riders: Tensor, used: Tensor | None = None) -> Tensor:
    """The bytes of one worker: its norm and its loss in float64 [2], then a bit for each parameter if somebody needs it."""
    own = as_bytes(riders)
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

    >>> tails = from_slots(slots(tail(torch.tensor([0.1, 3.0]).double()), 0, 2, torch.float16), workers=2)
    >>> norms(tails).tolist()[0] == float(torch.tensor(0.1))
    True
    """
    return total.to(torch.uint8).view(workers, -1)


def norms(tails: Tensor) -> Tensor:
    """The norms [N] in float64."""
    return _riders(tails)[:, 0]


def losses(tails: Tensor) -> Tensor:
    """The losses [N] in float64, NaN where none was noted."""
    return _riders(tails)[:, 1]


def used(tails: Tensor, count: int) -> Tensor:
    """Which of `count` parameters have a gradient that is not 0 on some worker."""
    return torch.stack([unpack_bits(row[SIZE:], count) for row in tails.unbind()]).any(0)


def _riders(tails: Tensor) -> Tensor:
    return from_bytes(tails[:, :SIZE].reshape(-1), torch.float64).view(-1, 2)
