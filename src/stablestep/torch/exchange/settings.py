"""What stays the same in a run of the hook: the compressor, whose randomness makes a message, and which tensors are sent raw."""

import torch

from stablestep.compressor import Compressor, Identity
from stablestep.errors import InvalidInput, one_of, require, seed_of, whole
from stablestep.torch.wire.codec import Codec
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
        self.compressor, self._raw, self._codec = compressor, codec(Identity()), codec(compressor, vote)
        self._checked: set[int] = set()  # numbers of entries that the compressor can take
        require(
            self.min_numel == 0 or not compressor.sends_signs,
            f"min_numel is {min_numel}, but one step cannot fit both signs and raw gradients; "
            f"use min_numel=0 with {compressor.name}.",
        )

    def codec_for(self, parameter: torch.Tensor) -> Codec:
        """How this parameter is sent.

        Raises:
            InvalidInput: if it is too small for the compressor.
        """
        size = parameter.numel()
        if size < max(1, self.min_numel):
            return self._raw
        if size in self._checked:
            return self._codec
        try:
            self.compressor.check(size)
        except InvalidInput as error:
            shape = tuple(parameter.shape)
            raise InvalidInput(f"A parameter of shape {shape}: {error} Or leave it raw with min_numel=….") from error
        self._checked.add(size)
        return self._codec
