"""One parameter's message begun: its codec, its randomness and its memory brought together."""

from dataclasses import dataclass

import torch

from stablestep.torch.exchange.matrix import sent_matrix
from stablestep.torch.exchange.parameter import SentParameter, sent
from stablestep.torch.exchange.run import Run
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.wire.low_rank import LowRankCodec
from stablestep.torch.wire.randomness import Draw, drawer
from stablestep.torch.wire.transmit import Channel

Tensor = torch.Tensor


@dataclass(frozen=True)
class Encoder:
    """What makes the messages of one exchange.

    Attributes:
        settings: of the hook.
        run: what it has seen so far.
        scale: of the gradients, by a GradScaler.
        step: number of the exchange, of which its randomness is made.
    """

    settings: Settings
    run: Run
    scale: float
    step: int

    def __call__(self, parameter: Tensor, flat: Tensor) -> SentParameter:
        """The message of a parameter whose gradient is `flat` [d]."""
        number, run = self.run.roster.number(parameter), self.run
        kept = run.memories.of(number, flat)
        codec, chain = self.settings.coding_for(parameter, begun=kept is not None)

        def draw(worker: int | None) -> Draw:
            return drawer(flat, run.seed(self.settings.seed), self.step, number, worker)

        channel = Channel(codec, run.workers, self.settings.shared, draw)
        if isinstance(codec, LowRankCodec):
            return sent_matrix(channel, codec, flat, run.rank, self.scale, chain, kept)
        return sent(channel, flat, run.rank, self.scale, chain, kept)
