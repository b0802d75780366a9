"""One parameter on its way: encoded by this worker, decoded from the sum or from all workers' rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from stablestep.torch.wire.bits import as_bytes, from_bytes
from stablestep.torch.wire.codec import squared_norm, working
from stablestep.torch.wire.memory import Kept, Sending, Stage, send
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
        sending: its message on its way through the memories.
        lost: its ‖C(p) − p‖², p what was compressed, which may be known only when its own message is decoded with the others.
    """

    flat: Tensor
    channel: Channel
    plans: list[Plan]
    rank: int
    payload: Tensor
    scale: float
    square: Tensor
    sending: Sending
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
        self._arrive(total)

    def from_rows(self, rows: Sequence[Tensor]) -> None:
        """Write the mean of the messages in all workers' rows."""
        measured = self.lost is None
        # The gradient's own place serves, unless the error is yet to be measured by it.
        zeros = torch.zeros_like(working(self.flat)) if measured else working(self.flat).zero_()
        messages = MessageSum(self.channel.codec, zeros)
        for worker, (payload, plan) in enumerate(self._payloads(rows)):
            if measured and worker == self.rank:
                self.lost = messages.add_measured(payload, plan, self.sending.wanted)
            else:
                messages.add(payload, plan)
        self._arrive(messages.mean())

    def _arrive(self, mean: Tensor) -> None:
        message = self.sending.arrived(mean)
        if self.scale != 1:
            message = message * self.scale
        if message is not self.flat:
            self.flat.copy_(message)

    def _payloads(self, rows: Sequence[Tensor]) -> Iterator[tuple[Tensor, Plan]]:
        for row, size, plan in zip(rows, self.sizes, self.plans):
            yield (from_bytes(row[:size], self.flat.dtype) if self.channel.codec.linear else row[:size]), plan


def sent(
    channel: Channel,
    flat: Tensor,
    rank: int,
    scale: float,
    chain: Sequence[Stage] = (),
    kept: Sequence[Kept] | None = None,
) -> SentParameter:
    """Compress one parameter's gradient.

    Args:
        channel: its way between the workers.
        flat: the gradient [d].
        rank: of this worker.
        scale: that of a GradScaler, by which the gradient is too large.
        chain: the memories around the codec.
        kept: what they remember; None before the first message.
    """
    plans = channel.plans(len(flat), rank)
    given = unscaled(flat, scale) if chain else flat
    begun = list(kept or ())
    remembered = begun + [stage.start(given) for stage in chain[len(begun) :]]
    sending = send(chain, remembered, given, channel.codec, plans[rank], flat.dtype)
    square = squared_norm(flat) if chain else sending.square
    return SentParameter(
        flat=flat,
        channel=channel,
        plans=plans,
        rank=rank,
        payload=sending.payload,
        # A GradScaler will divide by its scale what never grew with it.
        scale=scale if chain or channel.codec.scale_free else 1.0,
        square=square,
        sending=sending,
        lost=sending.lost,
    )


def unscaled(flat: Tensor, scale: float) -> Tensor:
    """The gradient as memories see it: in their precision, and without the scale, which may change."""
    return working(flat) if scale == 1 else working(flat) / scale


def zero_or_nan(values: Tensor) -> Tensor:
    """0 (float64), or NaN if not all values are finite."""
    low, high = values.aminmax()
    return (low * 0 + high * 0).double()
