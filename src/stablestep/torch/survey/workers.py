"""N workers in one process, for looking at a training run from outside: gradients, and messages as the hook makes them."""

from collections.abc import Sequence

import torch

from stablestep.errors import whole
from stablestep.torch.exchange.matrix import seconds, sent_matrix
from stablestep.torch.exchange.parameter import SentParameter
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.survey.landscape import Batch, Landscape
from stablestep.torch.wire.codec import Codec, squared_norm, working
from stablestep.torch.wire.low_rank import LowRankCodec
from stablestep.torch.wire.memory import Kept, Stage, send
from stablestep.torch.wire.randomness import Draw, drawer, mixed
from stablestep.torch.wire.transmit import Channel, MessageSum

Tensor = torch.Tensor
REUSED = 16  # times that a batch may serve, in the mean
Memory = dict[int, list[list[Kept]]]  # by parameter and worker, one for each stage


class Workers:
    """N workers around one copy of the model, which draw their batches from its pool.

    Args:
        landscape: of the model; each of its batches is as large as one worker's in one step.
        settings: of the hook: compressor, mask, seed, vote, min_numel.
        agents: N.

    Raises:
        InvalidInput: if a tensor is too small for the compressor, or `agents` is no whole number of at least 1.
    """

    def __init__(self, landscape: Landscape, settings: Settings, agents: int):
        self.landscape, self.settings, self.agents = landscape, settings, whole("agents", agents)
        # Which codec a parameter has, and what must be refused, is the hook's affair.
        self.codecs = [settings.codec_for(parameter) for parameter in landscape.parameters]

    def batches(self, steps: int) -> int:
        """How many a pool needs for so many steps, so that each serves at most 16 times in the mean."""
        return needed(self.agents, steps)

    @property
    def signs(self) -> bool:
        """Whether messages are signs."""
        return self.settings.compressor.sends_signs

    @property
    def unbiased(self) -> bool:
        """Whether E M = ∇f."""
        return self.settings.compressor.unbiased

    @property
    def omega(self) -> float:
        """ω of the compressor, the largest over the tensors (0 for one that is sent raw).

        Raises:
            InvalidInput: if it is biased.
        """
        compressor = self.settings.compressor
        sent = [size for codec, size in zip(self.codecs, self.landscape.sizes) if codec.compressor is compressor]
        return max((float(compressor.omega(size)) for size in sent), default=0.0)

    def batch(self, *names: int) -> Batch:
        """A batch of the pool, the same for the same names."""
        pool = self.landscape.pool
        return pool[mixed(self.settings.seed, *names) % len(pool)]

    def gradients(self, *names: int) -> tuple[float, list[Tensor]]:
        """The mean loss and each worker's gradient, on batches with these names."""
        both = [self.landscape.gradient(self.batch(*names, worker)) for worker in range(self.agents)]
        return sum(loss for loss, _ in both) / self.agents, [gradient for _, gradient in both]

    def message(self, gradients: Sequence[Tensor], *names: int) -> Tensor:
        """The mean over workers of their first messages, as the hook makes it, with the randomness of these names."""
        return self.exchange(gradients, {}, *names)

    def exchange(self, gradients: Sequence[Tensor], memory: Memory, *names: int) -> Tensor:
        """The mean message of these gradients [d], one for each worker; what they remember goes on in `memory`, which begins empty."""
        split = zip(*(gradient.split(self.landscape.sizes) for gradient in gradients))
        return torch.cat([self._mean(number, pieces, memory, *names) for number, pieces in enumerate(split)])

    def _mean(self, number: int, pieces: Sequence[Tensor], memory: Memory, *names: int) -> Tensor:
        """Of one parameter."""
        begun = memory.get(number)
        codec, chain = self.settings.coding_for(self.landscape.parameters[number], begun is not None)
        channel = self.channel(number, pieces[0], *names, codec=codec)
        if isinstance(codec, LowRankCodec):
            mean, memory[number] = _factored(channel, codec, chain, pieces, begun)
            return mean
        if not chain:
            return channel.mean_message(pieces)
        sent, messages = [], MessageSum(codec, torch.zeros_like(working(pieces[0])))
        for worker, piece in enumerate(pieces):
            plan, given = channel.plan(len(piece), worker), working(piece)
            kept = list(begun[worker]) if begun else []
            kept += [stage.start(given) for stage in chain[len(kept) :]]
            sent.append(send(chain, kept, given, codec, plan, piece.dtype))
            messages.add(sent[-1].payload, plan)
        mean = messages.mean()
        arrived = [sending.arrived(mean) for sending in sent]
        memory[number] = [[*sending.after, *sending.kept[len(sending.after) :]] for sending in sent]
        return arrived[0].to(pieces[0].dtype)

    def drawn_message(self, *names: int) -> Tensor:
        """The mean message of one exchange here, with batches and randomness of these names."""
        _, gradients = self.gradients(*names)
        return self.message(gradients, *names)

    def channel(self, number: int, like: Tensor, *names: int, codec: Codec | None = None) -> Channel:
        """The way of one parameter's messages, with the randomness of these names."""

        def draw(worker: int | None) -> Draw:
            return drawer(like, mixed(self.settings.seed, *names), 0, number, worker)

        return Channel(codec or self.codecs[number], self.agents, self.settings.shared, draw)

    def error(self, gradient: Tensor, *names: int) -> float:
        """‖C(g) − g‖²/‖g‖² of one worker's message; for signs that of their best multiple."""
        message = self.message([gradient], *names)
        if self.signs:
            message = message * (gradient @ message / squared_norm(message).clamp(min=1)).to(message)
        size = float(squared_norm(gradient))
        return float(squared_norm(message - gradient)) / size if size > 0 else 0.0


def _factored(
    channel: Channel,
    codec: LowRankCodec,
    chain: Sequence[Stage],
    pieces: Sequence[Tensor],
    begun: list[list[Kept]] | None,
) -> tuple[Tensor, list[list[Kept]]]:
    """The mean message of a matrix in its two rounds, and what the workers remember then."""
    sent = [
        sent_matrix(channel, codec, piece.clone(), worker, 1.0, chain, None if begun is None else begun[worker])
        for worker, piece in enumerate(pieces)
    ]
    _sum_up(sent)
    _sum_up(seconds(sent))
    return sent[0].flat, [list(one.sending.after) for one in sent]


def _sum_up(sent: Sequence[SentParameter]) -> None:
    """One round."""
    mean = torch.stack([one.payload for one in sent]).mean(0)
    for one in sent:
        one.from_sum(mean)


def needed(agents: int, steps: int) -> int:
    """How many batches so many workers and steps need, so that each serves at most 16 times in the mean.

    >>> needed(4, 200)
    50
    """
    return -(-agents * steps // REUSED)
