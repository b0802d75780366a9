"""What stays the same in a run of the hook: the compressor, whose randomness makes a message, and which tensors are sent raw."""

from collections.abc import Sequence

import torch

from stablestep.compressor import Compressor, Identity
from stablestep.described import describe
from stablestep.errors import InvalidInput, one_of, require, seed_of, whole
from stablestep.torch.wire.codec import Codec
from stablestep.torch.wire.memory import Stage, in_full, outside, stages
from stablestep.torch.wire.registry import codec

MASKS = ("own", "shared")
_BYTES = 2**63 - 1


class Settings:
    """The settings of `HookState`, checked, with the codec of each parameter.

    Raises:
        InvalidInput: for a compressor without a torch version, or an argument out of range.
    """

    def __init__(
        self,
        compressor: Compressor,
        mask: str = "shared",
        seed: int = 0,
        vote: str = "mean",
        min_numel: int = 0,
        group_bytes: int = 25 * 2**20,
    ):
        self.seed = seed_of(seed)
        self.min_numel = whole("min_numel", min_numel, least=0, most=_BYTES)
        self.group_bytes = whole("group_bytes", group_bytes, least=0, most=_BYTES)
        self.shared = one_of("mask", mask, MASKS) == "shared"
        self.compressor, self.mask, self.vote = outside(compressor), mask, vote
        self._raw, self._codec = codec(Identity()), codec(self.compressor, vote)
        self._chain = stages(self.compressor)
        self._checked: set[int] = set()  # numbers of entries that the compressor can take
        require(
            self.min_numel == 0 or not self.compressor.sends_signs,
            f"min_numel is {min_numel}, but one step cannot fit both signs and raw gradients; "
            f"use min_numel=0 with {compressor.name}.",
        )

    @property
    def remembers(self) -> bool:
        """Whether messages depend on earlier ones."""
        return self.compressor.remembers

    def names(self) -> dict[str, str | int]:
        """What a checkpoint must agree with, in words and whole numbers."""
        compressor = describe(self.compressor)
        return {
            "compressor": compressor,
            "mask": self.mask,
            "vote": self.vote,
            "min_numel": self.min_numel,
            "seed": self.seed,
        }

    def coding_for(self, parameter: torch.Tensor, begun: bool) -> tuple[Codec, Sequence[Stage]]:
        """How this parameter is sent, and the memories around it; `begun` says whether a message has gone before."""
        coded = self.codec_for(parameter)
        chain = [stage for stage in self._chain if not stage.of_loss] if coded is self._raw else self._chain
        first = None if begun else in_full(chain)
        return (coded, chain) if first is None else (self._raw, first)

    def codec_for(self, parameter: torch.Tensor) -> Codec:
        """How this parameter is sent.

        Raises:
            InvalidInput: if it is too small for the compressor.
        """
        size, shape = parameter.numel(), tuple(parameter.shape)
        if size < max(1, self.min_numel):
            return self._raw
        if size in self._checked:
            return self._codec.shaped(shape)
        try:
            self.compressor.check(size)
        except InvalidInput as error:
            raise InvalidInput(f"A parameter of shape {shape}: {error} Or leave it raw with min_numel=….") from error
        self._checked.add(size)
        return self._codec.shaped(shape)
