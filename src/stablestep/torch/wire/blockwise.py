"""Few bits for each coordinate on each block's own scale, with the bits that the library counts."""

from collections.abc import Iterator

import torch

from stablestep.torch.wire import bits
from stablestep.torch.wire.codec import Codec, working

Tensor = torch.Tensor
_BYTE = 8


class BlockwiseCodec(Codec):
    """The mean magnitudes of all classes of all blocks in full, then for each coordinate the number of its class, behind the sign."""

    random = False

    def __init__(self, compressor):
        super().__init__(compressor)
        self.block, self.width = self.compressor.block, self.compressor.width
        self.limits = self.compressor.limits
        self.classes = len(self.limits) + 1
        # Pieces stay in the cache; of a multiple of eight blocks they end at whole bytes.
        self.piece = self.block * _BYTE * max(1, bits.PIECE // (self.block * _BYTE))

    def encode(self, flat, plan):
        means, codes = [], []
        for piece in flat.split(self.piece):
            found = [self._classified(rows) for rows in _rows(working(piece), self.block)]
            means += [mean.view(-1) for mean, _ in found]
            codes.append(bits.pack_fields(torch.cat([code.view(-1) for _, code in found]), self.width))
        return torch.cat([bits.as_bytes(torch.cat(means)), *codes])

    def _classified(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of each row the mean magnitude of each class [blocks, classes], and of each coordinate its code (uint8)."""
        size, magnitude = rows.shape[1], rows.abs()
        # Divided first, so that a sum of large numbers does not overflow. Indicators are floats: booleans take five times as long.
        parts = magnitude / size
        scale = parts.sum(1, keepdim=True)
        code = torch.lt(rows, 0, out=torch.empty_like(rows)).mul_(self.classes)
        above, means = torch.ones_like(rows), []
        for limit in self.limits:
            higher = torch.gt(magnitude, limit * scale, out=torch.empty_like(rows))
            means.append(_mean(parts, above.sub_(higher)))
            code += higher
            above = higher
        return torch.cat([*means, _mean(parts, above)], dim=1), code.to(torch.uint8)

    def add(self, total, payload, plan):
        size = -(-len(total) // self.block) * self.classes * total.dtype.itemsize
        means = bits.from_bytes(payload[:size], total.dtype).view(-1, self.classes)
        values = torch.cat([means, -means], dim=1)
        codes = payload[size:].split(bits.packed_size(self.piece, self.width))
        for piece, table, part in zip(total.split(self.piece), values.split(self.piece // self.block), codes):
            code, first = bits.unpack_fields(part, self.width, len(piece)), 0
            for rows, places in zip(_rows(piece, self.block), _rows(code, self.block)):
                rows += table[first : first + len(rows)].gather(1, places.long())
                first += len(rows)


def _rows(values: Tensor, block: int) -> Iterator[Tensor]:
    """The whole blocks, and the shorter last one [blocks, size]."""
    whole = len(values) // block * block
    if whole:
        yield values[:whole].view(-1, block)
    if whole < len(values):
        yield values[whole:].view(1, -1)


def _mean(parts: Tensor, members: Tensor) -> Tensor:
    """Of the members of each row [blocks, 1], whose numbers were divided by the row's length; 0 where there are none."""
    count = members.sum(1, keepdim=True).clamp_(min=1)
    return (parts * members).sum(1, keepdim=True) * (parts.shape[1] / count)
