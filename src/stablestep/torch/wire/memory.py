"""What a worker remembers of one tensor between its messages: error feedback, EF21 and momentum, each around what comes after it."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from stablestep import compressor as library
from stablestep.compressor import Compressor
from stablestep.compressor.feedback import Wrapper
from stablestep.torch.wire.codec import Codec, squared_norm

Tensor = torch.Tensor
Kept = dict[str, Tensor]  # what one stage remembers; never changed in place


class Own(abc.ABC):
    """This worker's own message, which may be known as a payload only."""

    @abc.abstractmethod
    def add_to(self, total: Tensor) -> None:
        """total + message."""

    @abc.abstractmethod
    def subtract_from(self, total: Tensor) -> None:
        """total − message."""


@dataclass(frozen=True)
class Coded(Own):
    """A message as it is on the wire."""

    codec: Codec
    payload: Tensor
    plan: Any

    def add_to(self, total):
        self.codec.add(total, self.payload, self.plan)

    def subtract_from(self, total):
        self.codec.subtract(total, self.payload, self.plan)


@dataclass(frozen=True)
class Values(Own):
    """A message in full."""

    values: Tensor

    def add_to(self, total):
        total.add_(self.values)

    def subtract_from(self, total):
        total.sub_(self.values)


class Stage(abc.ABC):
    """A wrapper of `stablestep.compressor` for flat torch tensors, in single precision or better.

    A new memory is made beside the old one, since only after the exchange it is known whether it counts.
    """

    names: ClassVar[tuple[str, ...]]  # of the tensors that it remembers, each as large as the gradient
    of_loss: ClassVar[bool] = True  # needless where nothing is lost

    def __init__(self, compressor: Any):
        self.warm = bool(getattr(compressor, "warm", False))

    def start(self, given: Tensor) -> Kept:
        """What it remembers before the first message."""
        return {name: torch.zeros_like(given) for name in self.names}

    @abc.abstractmethod
    def wanted(self, given: Tensor, kept: Kept) -> Tensor:
        """What the inner compressor gets, in a tensor of its own."""

    @abc.abstractmethod
    def sent(self, wanted: Tensor, kept: Kept, message: Own) -> tuple[Kept, Own]:
        """What is remembered after the inner compressor's own message, and the message of both."""

    def arrived(self, mean: Tensor, kept: Kept, after: Kept) -> Tensor:
        """The mean message of both, from the inner one's, [d]; it may complete what is remembered `after` it."""
        return mean


class FeedbackStage(Stage):
    """p = e + g, c = C(p), e⁺ = p − c."""

    names = ("error",)

    def wanted(self, given, kept):
        return kept["error"] + given

    def sent(self, wanted, kept, message):
        message.subtract_from(wanted)
        return {"error": wanted}, message


class EF21Stage(Stage):
    """h⁺ = h + C(g − h) of this worker, and the mean of all workers' h, which each of them keeps."""

    names = ("estimate", "mean")

    def wanted(self, given, kept):
        return given - kept["estimate"]

    def sent(self, wanted, kept, message):
        estimate = kept["estimate"].clone()
        message.add_to(estimate)
        return {"estimate": estimate}, Values(estimate)

    def arrived(self, mean, kept, after):
        after["mean"] = kept["mean"] + mean
        return after["mean"]


class MomentumStage(Stage):
    """v⁺ = βv + (1 − β)g."""

    names = ("average",)
    of_loss = False

    def __init__(self, compressor):
        super().__init__(compressor)
        self.beta = float(compressor.beta)

    def start(self, given):
        return {"average": given} if self.warm else super().start(given)

    def wanted(self, given, kept):
        return torch.add(kept["average"] * self.beta, given, alpha=1 - self.beta)

    def sent(self, wanted, kept, message):
        return {"average": wanted}, message


STAGES: dict[type[Compressor], type[Stage]] = {
    library.ErrorFeedback: FeedbackStage,
    library.EF21: EF21Stage,
    library.Momentum: MomentumStage,
}


def stages(compressor: Compressor) -> tuple[Stage, ...]:
    """The memories around a leaf, the outer one first."""
    if not isinstance(compressor, Wrapper):
        return ()
    return (STAGES[type(compressor)](compressor), *stages(compressor.inner))


def outside(compressor: Compressor) -> Compressor:
    """The same compressor with every error memory in units of the gradient: a hook does not know the step."""
    if not isinstance(compressor, Wrapper) or type(compressor) not in STAGES:
        return compressor
    inner = outside(compressor.inner)
    match compressor:
        case library.ErrorFeedback():
            return library.ErrorFeedback(inner, step="outside")
        case library.Momentum():
            return library.Momentum(inner, beta=compressor.beta, warm=compressor.warm)
        case _:
            return library.EF21(inner, warm=compressor.warm)  # type: ignore[attr-defined]


def in_full(chain: Sequence[Stage]) -> Sequence[Stage] | None:
    """The stages that act on a first message that goes in full, as that of a warm EF21 does; None if none goes so."""
    warm = [place for place, stage in enumerate(chain) if isinstance(stage, EF21Stage) and stage.warm]
    return chain[: warm[0] + 1] if warm else None


@dataclass
class Sending:
    """One tensor's message on its way through the stages, to the wire and back.

    Attributes:
        stages: which act, the outer one first.
        kept: what all stages of the chain remember, also those that do not act.
        after: what those that act will remember, if the exchange counts.
        wanted: what was compressed; changed by an error memory around it, when `lost` is known.
        payload: of it.
        square: ‖wanted‖².
        lost: ‖C(wanted) − wanted‖²; None if nobody computed it.
    """

    stages: Sequence[Stage]
    kept: Sequence[Kept]
    after: list[Kept]
    wanted: Tensor
    payload: Tensor
    square: Tensor
    lost: Tensor | None

    def arrived(self, mean: Tensor) -> Tensor:
        """The mean message of the outermost stage, from the mean of what was on the wire."""
        for stage, kept, after in reversed(list(zip(self.stages, self.kept, self.after))):
            mean = stage.arrived(mean, kept, after)
        return mean


def send(
    chain: Sequence[Stage], kept: Sequence[Kept], given: Tensor, codec: Codec, plan: Any, wire: torch.dtype
) -> Sending:
    """Compress a tensor [d]; `codec` stands inside the innermost stage, and values travel in the type `wire`."""
    wanted = [given]
    for stage, memory in zip(chain, kept):
        wanted.append(stage.wanted(wanted[-1], memory))
    compressed = wanted[-1]
    payload, square = codec.encode(compressed, plan), squared_norm(compressed)
    lost = codec.squared_error(compressed, payload, square)
    if codec.linear:
        payload = payload.to(wire)
    if chain and payload.data_ptr() == compressed.data_ptr():
        payload = payload.clone()  # an error memory writes over what was wanted
    message, after = Coded(codec, payload, plan), []
    for stage, memory, inner in reversed(list(zip(chain, kept, wanted[1:]))):
        remembered, message = stage.sent(inner, memory, message)
        after.insert(0, remembered)
    if lost is None and chain and isinstance(chain[-1], FeedbackStage):
        lost = squared_norm(after[-1]["error"])
    return Sending(chain, kept, after, compressed, payload, square, lost)
