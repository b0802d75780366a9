"""The way of one part of the vector: bytes of a message, made and read by the same randomness on all workers."""

import torch

from stablestep.compressor import Compressor
from stablestep.torch.wire.bits import as_bytes, from_bytes
from stablestep.torch.wire.randomness import Draw, drawer
from stablestep.torch.wire.registry import codec
from stablestep.torch.wire.transmit import Channel

Tensor = torch.Tensor


class Line:
    """Messages of parts, each by itself, of one of N workers or (`sender` N) of the owner of the part.

    Masks are the same for all senders of a part, so that no indices are sent and the owner loses nothing more; roundings are each
    sender's own.
    """

    def __init__(self, compressor: Compressor, seed: int, workers: int):
        self.codec, self.seed, self.workers = codec(compressor), seed, workers

    def encode(self, values: Tensor, turn: int, part: int, sender: int) -> Tensor:
        """The bytes of a message in round `turn`, of the same number for all senders."""
        if not len(values):
            return values.new_empty(0, dtype=torch.uint8)
        return as_bytes(self.codec.encode(values, self._channel(values, turn, part).plan(len(values), sender)))

    def add(self, total: Tensor, payload: Tensor, turn: int, part: int, sender: int) -> None:
        """Add the message in these bytes to `total`."""
        if not len(total):
            return
        plan = self._channel(total, turn, part).plan(len(total), sender)
        self.codec.add(total, from_bytes(payload, total.dtype) if self.codec.linear else payload, plan)

    def _channel(self, like: Tensor, turn: int, part: int) -> Channel:
        def draw(worker: int | None) -> Draw:
            return drawer(like, self.seed, turn, part, worker)

        return Channel(self.codec, self.workers, self.codec.planned, draw)
