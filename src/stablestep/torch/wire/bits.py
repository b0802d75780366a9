"""Small whole numbers as bytes on the wire, in torch operations only."""

from functools import cache

import torch

Tensor = torch.Tensor
# Multiplied by eight bytes that are 0 or 1, it lines their bits up in the highest byte; no two of the products overlap.
_LINE_UP = 0x0102040810204080
_ONE_BIT_EACH = 0x8040201008040201 - (1 << 64)  # of the k-th byte the k-th bit, as a signed number
_ONES = 0x0101010101010101
_UNITS = {8: torch.int64, 4: torch.int32, 2: torch.int16}  # of so many bytes
TRITS = 5  # in a byte
PIECE = 40 << 10  # coordinates at a time, which stay in the cache: whole bytes of bits and of trits


def as_bytes(values: Tensor) -> Tensor:
    """The bytes of a vector."""
    return values.contiguous().view(torch.uint8)


def from_bytes(payload: Tensor, dtype: torch.dtype) -> Tensor:
    """The vector with these bytes, which may start anywhere."""
    return payload.clone().view(dtype)


def pack_bits(flags: Tensor) -> Tensor:
    """⌈n/8⌉ bytes of n booleans, the first one in the lowest bit.

    >>> pack_bits(torch.tensor([True, False, True] + 6 * [False])).tolist()
    [5, 0]
    """
    eights = _padded(flags.view(torch.uint8), 8).view(torch.int64)
    return ((eights * _LINE_UP) >> 56).to(torch.uint8)


def unpack_bits(payload: Tensor, count: int) -> Tensor:
    """The first `count` bits as booleans."""
    eights = (payload.to(torch.int64) * _ONES) & _ONE_BIT_EACH
    return (eights.view(torch.uint8) != 0)[:count]


def pack(codes: Tensor, width: int) -> Tensor:
    """Whole numbers below 2^width (int16): all lowest bits, then all second ones, and so on.

    >>> unpack(pack(torch.tensor([1, 5, 7]).short(), 3), 3, 3).tolist()
    [1, 5, 7]
    """
    return torch.cat([pack_bits((codes & (1 << bit)) != 0) for bit in range(width)])


def unpack(payload: Tensor, width: int, count: int) -> Tensor:
    """`count` whole numbers of `width` bits each (int16)."""
    codes = torch.zeros(count, dtype=torch.int16, device=payload.device)
    for bit, plane in enumerate(payload.view(width, -1)):
        codes |= unpack_bits(plane, count).short() << bit
    return codes


def pack_fields(codes: Tensor, width: int) -> Tensor:
    """Whole numbers below 2^width (uint8), of 1, 2 or 4 bits, side by side in bytes, the first one in the lowest bits.

    >>> pack_fields(torch.tensor([1, 3, 2, 0, 1], dtype=torch.uint8), 2).tolist()
    [45, 1]
    """
    together = 8 // width
    units = _padded(codes, together).view(_UNITS[together])
    packed = units.clone()
    for k in range(1, together):
        packed |= units >> k * (8 - width)
    return packed.to(torch.uint8)  # the lowest byte


def unpack_fields(payload: Tensor, width: int, count: int) -> Tensor:
    """`count` whole numbers of `width` bits each (uint8).

    >>> unpack_fields(torch.tensor([45, 1], dtype=torch.uint8), 2, 5).tolist()
    [1, 3, 2, 0, 1]
    """
    together = 8 // width
    packed = payload.to(_UNITS[together])
    units = packed.clone()
    for k in range(1, together):
        units |= packed << k * (8 - width)
    units &= ((1 << width) - 1) * (_ONES >> 8 * (8 - together))
    return units.view(torch.uint8)[:count]


def packed_size(count: int, width: int) -> int:
    """How many bytes `pack` needs."""
    return width * -(-count // 8)


def pack_trits(trits: Tensor) -> Tensor:
    """Numbers 0, 1, 2 (uint8), five in a byte.

    >>> unpack_trits(pack_trits(torch.tensor([2, 0, 1], dtype=torch.uint8)), 3).tolist()
    [2, 0, 1]
    """
    powers = torch.tensor([3**k for k in range(TRITS)], dtype=torch.uint8, device=trits.device)
    return (_padded(trits, TRITS).view(-1, TRITS) * powers).sum(1, dtype=torch.uint8)


def unpack_trits(payload: Tensor, count: int) -> Tensor:
    """The first `count` numbers 0, 1, 2 (uint8)."""
    return _digits(payload.device)[payload.int()].view(-1)[:count]


def _padded(values: Tensor, multiple: int) -> Tensor:
    missing = -len(values) % multiple
    return torch.nn.functional.pad(values, (0, missing)) if missing else values.contiguous()


@cache
def _digits(device: torch.device) -> Tensor:
    """Row b holds the ternary digits of b, the lowest first."""
    numbers = torch.arange(3**TRITS, device=device)
    return torch.stack([(numbers // 3**k) % 3 for k in range(TRITS)], dim=1).to(torch.uint8)
