"""What the hook remembers of each parameter, by its number: made beside the old memory, and kept only if the exchange counts."""

from collections.abc import Mapping, Sequence

import torch

from stablestep.errors import require
from stablestep.torch.wire.memory import Kept, Sending

Tensor = torch.Tensor
Saved = Mapping[int, Mapping[str, Tensor]]
Worker = tuple[int, int]  # rank, and of how many; of 0 before they are known


class Memories:
    """The memories of this worker's parameters.

    An exchange counts for a parameter if all workers' gradients are finite and one of them is not 0 here: otherwise its memory stays as
    it is, bit for bit (DDP drops the message of a parameter that no worker used).

    Attributes:
        reversible: whether somebody will say, after each exchange, if its step is made: what was remembered before is kept until then.
    """

    def __init__(self):
        self.reversible = False
        self._before: tuple[dict[int, list[Kept]], set[int]] | None = None  # the last step
        self._kept: dict[int, list[Kept]] = {}
        self._begun: set[int] = set()  # numbers whose memory is more than a start
        self._counted: Tensor | None = None  # of the last exchange: [parameters] booleans, unread
        self._owner: Worker | None = None  # of a restored memory

    def of(self, number: int, like: Tensor) -> list[Kept] | None:
        """The memory of a parameter on the device of its gradient `like`; None before its first message."""
        if number not in self._begun:
            return None
        kept = self._kept[number]
        if any(tensor.device != like.device for tensor in _named(kept).values()):
            kept = self._kept[number] = [{name: t.to(like.device) for name, t in one.items()} for one in kept]
        return kept

    def commit(self, sent: Mapping[int, Sending], counts: Tensor) -> None:
        """Keep what the exchange left of each parameter that it counts for; `counts` are booleans [parameters]."""
        if self.reversible and self._before is None:
            self._before = dict(self._kept), set(self._begun)
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

    def accept(self) -> None:
        """The step is made: what was before it is forgotten."""
        self._before = None

    def undo(self) -> None:
        """The step is left out: what was sent since the last one moved nothing, so nothing of it is remembered."""
        if self._before is not None:
            (self._kept, self._begun), self._before, self._counted = self._before, None, None

    def state(self) -> dict[int, dict[str, Tensor]]:
        """Plain tensors by parameter and name."""
        self.settle()
        return {number: _named(self._kept[number]) for number in sorted(self._begun) if self._kept[number]}

    def resume(self, saved: Saved, owner: Worker) -> None:
        """Go on from a saved state, that of the worker `owner`."""
        self._counted = self._before = None
        self._kept = {number: _stages(named) for number, named in saved.items()}
        self._begun = set(self._kept)
        self._owner = owner if saved else None

    def owner(self, here: Worker) -> dict[str, int]:
        """This worker for a checkpoint; the saved one until the workers are known."""
        rank, workers = here if here[1] or self._owner is None else self._owner
        return {"rank": rank, "workers": workers}

    def check(self, here: Worker) -> None:
        """Raise unless a restored memory is this worker's own."""
        if self._owner is not None:
            require_own(self._owner, here)


def require_sizes(saved: Saved, sizes: Sequence[int]) -> None:
    """Raise unless a saved memory belongs to parameters of these sizes."""
    for number, named in saved.items():
        require(number < len(sizes), f"the saved memory has a parameter {number}, but there are only {len(sizes)}.")
        for name, tensor in named.items():
            # The size of a right factor is known to whoever knows the matrix.
            require(
                name.endswith(".right") or tensor.numel() == sizes[number],
                f"the memory ({name}) of parameter {number} has {tensor.numel()} entries, but the parameter has {sizes[number]}; "
                "resume with the model that was saved.",
            )


def require_own(owner: Worker, here: Worker) -> None:
    """Raise unless a saved memory, that of `owner`, is this worker's own."""
    require(
        owner == here or not here[1],
        f"the restored memory is that of worker {owner[0]} of {owner[1]}, but this is worker {here[0]} of {here[1]}; "
        "save the hook's state on every worker, and give each its own.",
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
