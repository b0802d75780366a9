"""From gradients to the mean message, written once: a plan is made, gradients are encoded, messages added up, the mean finished."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from stablestep.compressor import Compressor
from stablestep.errors import require
from stablestep.torch.wire.codec import Codec, squared_norm, working
from stablestep.torch.wire.randomness import Draw
from stablestep.torch.wire.registry import codec

Tensor = torch.Tensor
Plan = Any  # what a codec's randomness decided before it saw the gradient


@dataclass(frozen=True)
class Channel:
    """The way of one tensor's messages between the workers.

    Attributes:
        codec: how a message becomes a payload.
        workers: N.
        shared: whether all workers use the same randomness.
        draw: the uniforms of one worker, or (None) those that all share.
    """

    codec: Codec
    workers: int
    shared: bool
    draw: Callable[[int | None], Draw]

    @property
    def common(self) -> bool:
        """Whether one plan serves all workers."""
        return self.shared or not self.codec.random

    @property
    def summed(self) -> bool:
        """Whether payloads can be added on the way, so that an all-reduce carries them; others need an all-gather."""
        return self.codec.linear and self.common

    @property
    def read_by_plan(self) -> bool:
        """Whether a receiver needs every sender's own plan."""
        return self.codec.planned and not self.common

    def plan(self, dim: int, worker: int) -> Plan:
        """One worker's plan, made anew."""
        return self.codec.plan(self.draw(None if self.common else worker), dim)

    def plans(self, dim: int, worker: int) -> list[Plan]:
        """What this worker needs to encode its own message and to read those of all."""
        if self.read_by_plan:
            return [self.plan(dim, each) for each in range(self.workers)]
        return [self.plan(dim, worker)] * self.workers

    def mean_message(self, gradients: Sequence[Tensor]) -> Tensor:
        """What arrives everywhere when the workers have these gradients [d] each, in one process."""
        messages = MessageSum(self.codec, torch.zeros_like(working(gradients[0])))
        for worker, gradient in enumerate(gradients):
            plan = self.plan(len(gradient), worker)
            messages.add(self.codec.encode(gradient, plan), plan)
        return messages.mean().to(gradients[0].dtype)


class MessageSum:
    """Messages added up payload by payload, into zeros."""

    def __init__(self, codec: Codec, zeros: Tensor):
        self.codec, self.count, self.total = codec, 0, zeros

    def add(self, payload: Tensor, plan: Plan) -> None:
        """One more."""
        self.codec.add(self.total, payload, plan)
        self.count += 1

    def add_measured(self, payload: Tensor, plan: Plan, gradient: Tensor) -> Tensor:
        """One more, and its ‖C(g) − g‖²."""
        message = torch.zeros_like(self.total)
        self.codec.add(message, payload, plan)
        self.total.add_(message)
        self.count += 1
        return squared_norm(message - gradient)

    def mean(self) -> Tensor:
        """What the workers make of the mean; the sum is used up."""
        return self.codec.finish(self.total.div_(self.count))


def copies(summed: bool, workers: int) -> float:
    """How often a worker's payload crosses its link: 2 (N−1)/N times in an all-reduce, N − 1 times in an all-gather."""
    return 2 * (workers - 1) / workers if summed else workers - 1


def compress(compressor: Compressor, uniform: Tensor, gradient: Tensor) -> Tensor:
    """The compressed gradient [d] for given uniforms, after a journey through the bytes of the wire.

    Agrees to rounding with `compressor.compress` of the JAX version on the same uniforms; a zero among signs (see `SignCodec`) differs.

    Args:
        compressor: of `stablestep.compressor`, without memory.
        uniform: at least `compressor.draws(d)` numbers in [0, 1); for signs one for each zero.
        gradient: [d].

    Raises:
        InvalidInput: for a compressor without a torch version, one that remembers, or one that cannot act in this dimension.

    >>> from stablestep.compressor import RandK
    >>> compress(RandK(k=1), torch.tensor([0.7, 0.2]), torch.tensor([3.0, 4.0])).tolist()
    [0.0, 8.0]
    """
    require(
        not compressor.remembers,
        f"{compressor.name} remembers, but one gradient has no past; use compress(…) of what is inside, or HookState(…).",
    )
    chosen = codec(compressor)
    compressor.check(len(gradient))
    return Channel(chosen, 1, True, lambda worker: lambda count: uniform[:count]).mean_message([gradient])
