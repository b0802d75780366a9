"""From the workers' vectors to the mean of their messages, the same bytes on all of them: in two shots, or in one."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

from stablestep.torch.exchange.group import network
from stablestep.torch.local.line import Line
from stablestep.torch.local.notes import all_fit

Tensor = torch.Tensor
# The newer name is absent from torch 2.9, the older one deprecated since 2.13.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
WHAT = "differences"


@dataclass(frozen=True)
class Shot:
    """What an exchange brought.

    Attributes:
        message: of this worker [P], as the others read it.
        notes: of all workers [N, n].
        mean: [P] the same on all workers; None if a worker said that it has nothing fit to be sent, or it is not finite.
        kept: what the owner of a part did not send of its mean; () where nobody owns any.
        payload: bytes that were handed to the collectives.
        sent: bytes over this worker's link.
    """

    message: Tensor
    notes: Tensor
    mean: Tensor | None
    kept: Tensor
    payload: int
    sent: int


class Exchange(abc.ABC):
    """Messages C(p_i) go out, their mean comes back.

    Args:
        line: how parts become bytes.
        sizes: of the parts.
        rank: of this worker.
        group: of the workers.
    """

    def __init__(self, line: Line, sizes: Sequence[int], rank: int, group: dist.ProcessGroup | None):
        self.line, self.sizes, self.rank, self.group = line, list(sizes), rank, group
        self.workers = line.workers

    @abc.abstractmethod
    def owned(self) -> int:
        """How many coordinates this worker looks after."""

    @abc.abstractmethod
    def send(self, wanted: Tensor, notes: Tensor, turn: int, kept: Tensor) -> Shot:
        """Exchange `wanted` [P] and a worker's `note` [n].

        Args:
            wanted: p_i.
            notes: that all workers get.
            turn: the number of the round.
            kept: what the owner remembers of its part [owned], or nothing.
        """

    def _encoded(self, wanted: Tensor, turn: int) -> list[Tensor]:
        return [self.line.encode(values, turn, part, self.rank) for part, values in enumerate(wanted.split(self.sizes))]

    def _decoded(self, payloads: Sequence[Tensor], like: Tensor, turn: int, sender: int) -> Tensor:
        """The whole vector of messages from their bytes, part by part."""
        message = torch.zeros_like(like)
        for part, (total, payload) in enumerate(zip(message.split(self.sizes), payloads)):
            self.line.add(total, payload, turn, part, sender)
        return message


class AllGather(Exchange):
    """Every worker gets every message: (N − 1) p bytes a worker, p those of a message."""

    def owned(self):
        return 0

    def send(self, wanted, notes, turn, kept):
        payloads = self._encoded(wanted, turn)
        row = torch.cat([*payloads, notes])
        rows = gathered(row, self.workers, self.group)
        lengths = [len(payload) for payload in payloads]
        message, mean = self._decoded(payloads, wanted, turn, self.rank), None
        if all_fit(rows[:, -len(notes) :]):
            total = torch.zeros_like(wanted)
            for sender, body in enumerate(rows[:, : -len(notes)]):
                total += self._decoded(body.split(lengths), wanted, turn, sender)
            mean = finite(total.div_(self.workers))
        return Shot(message, rows[:, -len(notes) :], mean, kept, len(row), (self.workers - 1) * len(row))


class TwoShot(Exchange):
    """Each worker owns a part: it gets all workers' messages of it, averages them, adds what it kept, and sends a message of that to all.

    2 (N − 1)/N p bytes a worker, p those of a message of the whole vector, however many workers there are. What the second message loses is
    kept by the owner and sent later, as a worker keeps what its own message lost.
    """

    def owned(self):
        return self.sizes[self.rank]

    def send(self, wanted, notes, turn, kept):
        payloads = self._encoded(wanted, turn)
        widest = max(map(len, payloads))
        rows = torch.stack([torch.cat([_padded(payload, widest), notes]) for payload in payloads])
        received = torch.empty_like(rows)
        with network(WHAT):
            dist.all_to_all_single(received, rows, group=self.group)
        message, told = self._decoded(payloads, wanted, turn, self.rank), received[:, widest:]
        payload, sent = rows.numel(), (self.workers - 1) * rows.shape[1]
        if not all_fit(told):
            return Shot(message, told, None, kept, payload, sent)
        mean, kept = self._answers(received, wanted, turn, kept, [len(each) for each in payloads])
        return Shot(message, told, mean, kept, payload + widest, sent + (self.workers - 1) * widest)

    def _answers(
        self, received: Tensor, wanted: Tensor, turn: int, kept: Tensor, lengths: list[int]
    ) -> tuple[Tensor | None, Tensor]:
        """The second shot: the owners' messages, and what this owner keeps."""
        target = wanted.new_zeros(self.owned())
        for sender, row in enumerate(received):
            self.line.add(target, row[: lengths[self.rank]], turn, self.rank, sender)
        target.div_(self.workers)
        if len(kept):
            target += kept
        answer = self.line.encode(target, turn, self.rank, self.workers)
        rows = gathered(_padded(answer, max(lengths)), self.workers, self.group)
        bodies = [row[:length] for row, length in zip(rows, lengths)]
        mean = self._decoded(bodies, wanted, turn, self.workers)
        return finite(mean), target - mean.split(self.sizes)[self.rank] if len(kept) else kept


def gathered(row: Tensor, workers: int, group: dist.ProcessGroup | None) -> Tensor:
    """The rows of all workers [N, n]."""
    rows = row.new_empty(workers * len(row))
    with network(WHAT):
        _all_gather(rows, row, group=group)
    return rows.view(workers, -1)


def finite(mean: Tensor) -> Tensor | None:
    return mean if bool(mean.isfinite().all()) else None


def _padded(payload: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(payload, (0, length - len(payload)))
