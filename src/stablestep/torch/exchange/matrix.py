"""One parameter on its way as two factors: the left one in the group's collective, the right one in a collective after it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from stablestep.errors import require
from stablestep.torch.exchange.parameter import SentParameter, unscaled
from stablestep.torch.wire.codec import squared_norm, working
from stablestep.torch.wire.low_rank import LowRankCodec
from stablestep.torch.wire.memory import Kept, Sending, Stage, Values
from stablestep.torch.wire.transmit import Channel

Tensor = torch.Tensor


@dataclass
class SentFactor(SentParameter):
    """The right factor of a matrix; its plan is the left one, which all workers have."""

    def from_sum(self, payload: Tensor) -> None:
        """Write the mean message, and remember the right factor."""
        rank = len(payload) // self.sending.kept[-1]["right"].shape[0]
        self.sending.after[-1]["right"] = working(payload).view(-1, rank).clone()
        super().from_sum(payload)


@dataclass
class SentMatrix(SentParameter):
    """A parameter's gradient, in place, and this worker's payload of its left factor.

    Attributes:
        codec: of the matrix.
        second: its right factor, once the mean of the left ones has arrived.
    """

    codec: LowRankCodec
    second: SentFactor | None = None

    def from_sum(self, payload: Tensor) -> None:
        """Make the right factor of the mean left one, and this worker's own error."""
        left, error = self.codec.left(payload), self.sending.wanted
        own = self.codec.turn(error, left).to(self.flat.dtype)
        self.codec.subtract(error, own, left)
        self.lost = squared_norm(error)
        self.sending.after.append({"error": error})
        self.second = SentFactor(
            flat=self.flat,
            channel=self.channel,
            plans=[left] * len(self.plans),
            rank=self.rank,
            payload=own,
            scale=self.scale,
            square=self.square,
            sending=self.sending,
            lost=self.lost,
        )


def sent_matrix(
    channel: Channel,
    codec: LowRankCodec,
    flat: Tensor,
    rank: int,
    scale: float,
    chain: Sequence[Stage],
    kept: Sequence[Kept] | None,
) -> SentMatrix:
    """The first round of one parameter's gradient; arguments as of `parameter.sent`, and the channel's codec."""
    wanted, after, plans = unscaled(flat, scale), [], channel.plans(len(flat), rank)
    start = {"error": torch.zeros_like(wanted), "right": codec.start(wanted)}
    remembered = list(kept or [*(stage.start(wanted) for stage in chain), start])
    for stage, memory in zip(chain, remembered):
        wanted = stage.wanted(wanted, memory)
        after.append(stage.sent(wanted, memory, Values(wanted))[0])  # an average does not depend on its message
    wanted, right = remembered[-1]["error"] + wanted, remembered[-1]["right"]
    require(
        right.shape == (codec.shape[1], codec.rank),
        f"the memory is of a matrix with {len(right)} columns, but the parameter has {codec.shape[1]}; resume with the saved model.",
    )
    payload = codec.encode(wanted, codec.right(right, plans[rank])).to(flat.dtype)
    return SentMatrix(
        flat=flat,
        channel=channel,
        plans=plans,
        rank=rank,
        payload=payload,
        scale=scale,
        square=squared_norm(flat),
        sending=Sending(chain, remembered, after, wanted, payload, squared_norm(wanted), None),
        lost=None,
        codec=codec,
    )


def seconds(sent: Sequence[SentParameter]) -> list[SentFactor]:
    """The second rounds of those that have one, once the first ones have ended."""
    return [one.second for one in sent if isinstance(one, SentMatrix) and one.second is not None]
