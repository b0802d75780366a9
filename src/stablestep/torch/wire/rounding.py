"""Random rounding to a grid: QSGD, TernGrad and natural compression, with the bits that the library counts."""

import abc
import math

import torch

from stablestep.errors import require
from stablestep.torch.wire import bits
from stablestep.torch.wire.codec import Codec, norm, working

Tensor = torch.Tensor


class Pieces(Codec):
    """A head of at most one number in full precision, then the coordinates, in pieces that stay in the cache."""

    @abc.abstractmethod
    def head(self, values: Tensor) -> Tensor:
        """What is sent in full: a vector of length 0 or 1."""

    @abc.abstractmethod
    def pack(self, values: Tensor, head: Tensor, uniform: Tensor) -> Tensor:
        """The bytes of some coordinates."""

    @abc.abstractmethod
    def unpack(self, payload: Tensor, head: Tensor, count: int) -> Tensor:
        """Their messages."""

    @abc.abstractmethod
    def size(self, count: int, dtype: torch.dtype) -> int:
        """How many bytes they need."""

    def encode(self, flat, plan):
        head = self.head(working(flat))
        pieces = zip(flat.split(bits.PIECE), plan(len(flat)).split(bits.PIECE))
        return torch.cat(
            [bits.as_bytes(head), *(self.pack(working(piece), head, uniform) for piece, uniform in pieces)]
        )

    def add(self, total, payload, plan):
        body = self.size(len(total), total.dtype)
        head = bits.from_bytes(payload[: len(payload) - body], total.dtype)
        packed = payload[len(payload) - body :].split(self.size(bits.PIECE, total.dtype))
        for piece, part in zip(total.split(bits.PIECE), packed):
            piece.add_(self.unpack(part, head, len(piece)))


class Dithered(Pieces):
    """Whole levels of a common gap, rounded at random."""

    highest = 1  # level

    @abc.abstractmethod
    def pack_levels(self, levels: Tensor) -> Tensor:
        """Bytes of signed levels (int16)."""

    @abc.abstractmethod
    def unpack_levels(self, payload: Tensor, count: int) -> Tensor:
        """The signed levels again."""

    def pack(self, values, head, uniform):
        gap = head / self.highest
        divisor = torch.where(gap > 0, gap, 1)
        size = values.abs()
        level = (size / divisor).floor_().clamp_(max=self.highest)
        position = size.sub_(level * gap).div_(divisor)
        level = level.add_(uniform < position).clamp_(max=self.highest)
        return self.pack_levels((level * values.sign()).nan_to_num_().short())

    def unpack(self, payload, head, count):
        return self.unpack_levels(payload, count).to(head.dtype) * (head / self.highest)


class QSGDCodec(Dithered):
    """‖g‖₂, then a sign and ⌈log₂(s+1)⌉ bits for each coordinate.

    Raises:
        InvalidInput: if a level and its sign need more than 15 bits.
    """

    def __init__(self, compressor):
        super().__init__(compressor)
        self.highest = int(self.compressor.levels)
        self.width = math.ceil(math.log2(self.highest + 1))
        require(self.width < 15, f"levels is {self.highest}, but at most 16383 are sent; with so many use Identity().")

    def head(self, values):
        return norm(values).view(1)

    def size(self, count, dtype):
        return bits.packed_size(count, self.width + 1)

    def pack_levels(self, levels):
        return bits.pack(levels.abs() | ((levels < 0).short() << self.width), self.width + 1)

    def unpack_levels(self, payload, count):
        codes = bits.unpack(payload, self.width + 1, count)
        size = codes & ((1 << self.width) - 1)
        return torch.where(codes >> self.width != 0, -size, size)


class TernGradCodec(Dithered):
    """‖g‖_∞, then five ternary digits in a byte."""

    def head(self, values):
        return values.abs().max().view(1)

    def size(self, count, dtype):
        return -(-count // bits.TRITS)

    def pack_levels(self, levels):
        return bits.pack_trits((levels + 1).to(torch.uint8))

    def unpack_levels(self, payload, count):
        return bits.unpack_trits(payload, count).short() - 1


class NaturalCodec(Pieces):
    """A sign and an exponent: 9 bits of a float32, 12 of a float64. Subnormal numbers are sent as 0."""

    def head(self, values):
        return values[:0]

    def size(self, count, dtype):
        return bits.packed_size(count, _layout(dtype)[2] + 1)

    def pack(self, values, head, uniform):
        integers, fraction, exponents = _layout(values.dtype)
        size = values.abs()
        exponent = size.view(integers) >> fraction
        low = (exponent << fraction).view(values.dtype)
        up = (uniform < size / torch.where(exponent > 0, low, 1) - 1) & (exponent > 0)
        code = exponent.add_(up).clamp_(max=(1 << exponents) - 2).short()
        return bits.pack(code | ((values < 0).short() << exponents), exponents + 1)

    def unpack(self, payload, head, count):
        integers, fraction, exponents = _layout(head.dtype)
        codes = bits.unpack(payload, exponents + 1, count)
        size = ((codes & ((1 << exponents) - 1)).to(integers) << fraction).view(head.dtype)
        return torch.where(codes >> exponents != 0, -size, size)


def _layout(dtype: torch.dtype) -> tuple[torch.dtype, int, int]:
    """The integers of the same size, and how many bits the fraction and the exponent have."""
    return (torch.int64, 52, 11) if dtype == torch.float64 else (torch.int32, 23, 8)
