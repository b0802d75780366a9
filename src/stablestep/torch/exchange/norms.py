"""The local gradient norms of all workers, exact, in any payload: a float64 is sent as its eight bytes."""

import torch

from stablestep.torch.wire.bits import as_bytes, from_bytes

Tensor = torch.Tensor
SIZE = 8


def slots(norm: Tensor, rank: int, workers: int, dtype: torch.dtype) -> Tensor:
    """Eight numbers for each worker, for a sum: this worker's bytes in its own place and zeros elsewhere.

    Bytes are exact in every floating-point type, and adding zeros is exact, so the sum is all workers' norms bit by bit.
    """
    places = torch.zeros(workers, SIZE, dtype=dtype, device=norm.device)
    places[rank] = as_bytes(norm.view(1)).to(dtype)
    return places.view(-1)


def from_slots(total: Tensor) -> Tensor:
    """The norms [N] in float64.

    >>> from_slots(slots(torch.tensor(0.1).double(), 0, 2, torch.float16)).tolist()[0] == float(torch.tensor(0.1))
    True
    """
    return from_bytes(total.to(torch.uint8), torch.float64)


def from_rows(rows: Tensor) -> Tensor:
    """The norms [N] that end the rows of an all-gather."""
    return from_bytes(rows[:, -SIZE:].reshape(-1), torch.float64)
