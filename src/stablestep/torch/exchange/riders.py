"""What rides along, exact, in any payload: every worker's gradient norm and its loss, each a float64 that is sent as its eight bytes."""

import torch

from stablestep.torch.wire.bits import as_bytes, from_bytes

Tensor = torch.Tensor
SIZE = 16


def slots(riders: Tensor, rank: int, workers: int, dtype: torch.dtype) -> Tensor:
    """Sixteen numbers for each worker, for a sum: the bytes of this worker's two float64 in its own place and zeros elsewhere.

    Bytes are exact in every floating-point type, and adding zeros is exact, so the sum is all workers' riders bit by bit.
    """
    places = torch.zeros(workers, SIZE, dtype=dtype, device=riders.device)
    places[rank] = as_bytes(riders).to(dtype)
    return places.view(-1)


def from_slots(total: Tensor) -> Tensor:
    """The riders [N, 2] in float64.

    >>> from_slots(slots(torch.tensor([0.1, 3.0]).double(), 0, 2, torch.float16)).tolist()[0] == [0.1, 3.0]
    True
    """
    return from_bytes(total.to(torch.uint8), torch.float64).view(-1, 2)


def from_rows(rows: Tensor) -> Tensor:
    """The riders [N, 2] that end the rows of an all-gather."""
    return from_bytes(rows[:, -SIZE:].reshape(-1), torch.float64).view(-1, 2)
