"""What the hook remembers of each parameter, by its number: made beside the old memory, and kept only if the exchange counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from stablestep.errors import InvalidInput, require
from stablestep.torch.wire.memory import Kept, Sending

Tensor = torch.Tensor


class Memories:
    """The memories of this worker's parameters.

    An exchange counts for a parameter if all workers' gradients are finite and one of them is not 0 here: otherwise its memory stays as
    it is, bit for bit (DDP drops the message of a parameter that no worker used).
    """

    def __init__(self):
        self._kept: dict[int, list[Kept]] = {}
        self._begun: set[int] = set()  # numbers whose memory is more than a start
        self._counted: Tensor | None = None  # of the last exchange: [parameters] booleans, unread
        self._owner: tuple[int, int] | None = None  # rank of the worker that was saved, and of how many

    def of(self, number: int, like: Tensor) -> list[Kept] | None:
        """The memory of a parameter on the device of its gradient `like`; None before its first message.

        Raises:
            InvalidInput: if a restored one has another size.
        """
        if number not in self._begun:
            return None
        kept = self._kept[number]
        for name, tensor in _named(kept).items():
            _fits(number, name, tensor, like.numel())
        if any(tensor.device != like.device for tensor in _named(kept).values()):
            kept = self._kept[number] = [{name: t.to(like.device) for name, t in one.items()} for one in kept]
        return kept

    def commit(self, sent: Mapping[int, Sending], counts: Tensor) -> None:
        """Keep what the exchange left of each parameter that it counts for; `counts` are booleans [parameters]."""
        self._counted = counts
        here = counts.tolist() if counts.device.type == "cpu" else None
        for number, sending in sent.items():
            if here is None or here[number]:
                chosen = [_chosen(counts[number], *both) for both in zip(sending.after, sending.kept)]
                self._kept[number] = chosen + list(sending.kept)[len(chosen) :]

    def settle(self) -> None:
        """Read which parameters the last exchange counted for."""
        if self._counted is not None:
            counted, self._counted = self._counted.tolist(), None
            self._begun |= {number for number, counts in enumerate(counted) if counts and number in self._kept}

    def state(self) -> dict[int, dict[str, Tensor]]:
        """Plain tensors by parameter and name."""
        self.settle()
        return {number: _named(self._kept[number]) for number in sorted(self._begun)}

    def resume(self, saved: Mapping[int, Mapping[str, Tensor]], sizes: Sequence[int], owner: tuple[int, int]) -> None:
        """Go on from a saved state, that of the worker `owner` = (rank, workers).

        Raises:
            InvalidInput: if the memory has other sizes than the parameters.
        """
        for number, named in saved.items():
            require(number < len(sizes), f"the saved memory has a parameter {number}, but there are only {len(sizes)}.")
            for name, tensor in named.items():
                _fits(number, name, tensor, sizes[number])
        self._counted = None
        self._kept = {number: _stages(named) for number, named in saved.items()}
        self._begun = set(self._kept)
        self._owner = owner if saved else None

    def owner(self, rank: int, workers: int) -> dict[str, int]:
        """This worker, in words for a checkpoint; the saved one until the workers are known."""
        if self._owner is not None and not workers:
            rank, workers = self._owner
        return {"rank": rank, "workers": workers}

    def check(self, rank: int, workers: int) -> None:
        """Raise unless a restored memory is this worker's own."""
        if self._owner not in (None, (rank, workers)):
            there, of = self._owner
            raise InvalidInput(
                f"the restored memory is that of worker {there} of {of}, but this is worker {rank} of {workers}; "
                "save the hook's state on every worker, and give each its own."
            )


def _chosen(counts: Tensor, new: Kept, old: Kept) -> Kept:
    if counts.device.type == "cpu":
        return new
    return {name: torch.where(counts.to(old[name].device), new[name], old[name]) for name in new}


def _named(kept: Sequence[Kept]) -> dict[str, Tensor]:
    return {f"{place}.{name}": tensor for place, one in enumerate(kept) for name, tensor in one.items()}


def _stages(named: Mapping[str, Tensor]) -> list[Kept]:
    found: dict[int, Kept] = {}
    for key, tensor in named.items():
        place, _, name = key.partition(".")
        found.setdefault(int(place), {})[name] = tensor
    return [found[place] for place in sorted(found)]


def _fits(number: int, name: str, tensor: Any, size: int) -> None:
    require(
        tensor.numel() == size,
        f"the memory ({name}) of parameter {number} has {tensor.numel()} entries, but the parameter has {size}; "
        "resume with the model that was saved.",
    )
