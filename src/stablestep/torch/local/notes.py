"""What each worker tells all others at a round, as a few bytes beside its message."""

from collections.abc import Sequence

import torch

from stablestep.torch.wire.bits import as_bytes, from_bytes

Tensor = torch.Tensor
_COUNT = 8  # bytes of a number of steps


def note(fit: bool, changed: Sequence[bool], steps: int, like: Tensor) -> Tensor:
    """Whether its vector is fit to be sent, which buffers changed, and how many steps it has made, as bytes [n] on the device of `like`.

    >>> told = note(True, [False, True], 300, torch.zeros(1)).view(1, -1)
    >>> all_fit(told), any_changed(told), steps_of(told)
    (True, [False, True], [300])
    """
    flags = torch.tensor([fit, *changed], dtype=torch.uint8, device=like.device)
    return torch.cat([flags, as_bytes(torch.tensor([steps], device=like.device))])


def all_fit(notes: Tensor) -> bool:
    """Whether every worker's vector is fit, from all notes [N, n]."""
    return bool(notes[:, 0].all())


def any_changed(notes: Tensor) -> list[bool]:
    """Which buffers changed on any worker."""
    return notes[:, 1:-_COUNT].any(0).bool().tolist()


def steps_of(notes: Tensor) -> list[int]:
    """Every worker's number of steps."""
    return from_bytes(notes[:, -_COUNT:].reshape(-1), torch.int64).tolist()
