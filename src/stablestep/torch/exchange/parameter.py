"""One parameter on its way: encoded by this worker, decoded from the sum or from all workers' rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from stablestep.torch.wire.bits import as_bytes, from_bytes
from stablestep.torch.wire.codec import squared_norm, working
from stablestep.torch.wire.transmit import Channel, MessageSum, Plan

Tensor = torch.Tensor


@dataclass
class SentParameter:
    """A parameter's gradient, in place, and this worker's payload of it.

    Attributes:
        flat: a view of the bucket's buffer [d]: the gradient, and later the mean message.
        channel: its way between the workers.
        plans: those of all workers, where decoding needs them.
        rank: of this worker.
        payload: of this worker.
        scale: what the mean message is multiplied by.
        square: ‖g‖² of this worker.
        lost: its ‖C(g) − g‖², which may be known only when its own message is decoded with the others.
    """

    flat: Tensor
    channel: Channel
    plans: list[Plan]
    rank: int
    payload: Tensor
    scale: float
    square: Tensor
    lost: Tensor | None

    @property
    def sizes(self) -> list[int]:
        """Bytes of each worker's payload."""
        if not self.channel.codec.planned:
            return [self.payload.nbytes] * len(self.plans)
        return [len(plan) * self.flat.element_size() for plan in self.plans]

    def row(self) -> Tensor:
        """The payload as bytes, of the same length on all workers."""
        row = as_bytes(self.payload)
        return torch.nn.functional.pad(row, (0, max(self.sizes) - len(row)))

    def from_sum(self, payload: Tensor) -> None:
        """Write the message of a payload that was averaged on the way."""
        total = working(self.flat).zero_()  # the gradient itself, unless it is of half precision
        self.channel.codec.add(total, payload, self.plans[self.rank])
        if total is not self.flat:
            self.flat.copy_(total)

    def from_rows(self, rows: Sequence[Tensor]) -> None:
        """Write the mean of the messages in all workers' rows."""
        messages = MessageSum(self.channel.codec, self.flat)
        for worker, (payload, plan) in enumerate(self._payloads(rows)):
            if worker == self.rank and self.lost is None:
                self.lost = messages.add_measured(payload, plan, self.flat)
            else:
                messages.add(payload, plan)
        self.flat.copy_(messages.mean().mul_(self.scale))

    def _payloads(self, rows: Sequence[Tensor]) -> Iterator[tuple[Tensor, Plan]]:
        for row, size, plan in zip(rows, self.sizes, self.plans):
            yield (from_bytes(row[:size], self.flat.dtype) if self.channel.codec.linear else row[:size]), plan


def sent(channel: Channel, flat: Tensor, rank: int, scale: float) -> SentParameter:
    """Compress one parameter's gradient; `scale` is that of a GradScaler."""
    codec, plans = channel.codec, channel.plans(len(flat), rank)
    payload, square = codec.encode(flat, plans[rank]), squared_norm(flat)
    return SentParameter(
        flat=flat,
        channel=channel,
        plans=plans,
        rank=rank,
        payload=payload,
        # A GradScaler will divide by its scale what never grew with it.
        scale=scale if codec.scale_free else 1.0,
        square=square,
        lost=codec.squared_error(flat, payload, square),
    )
