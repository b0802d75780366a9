"""One parameter of a bucket: encoded by this worker, decoded from the sum or from all workers' rows."""

from dataclasses import dataclass
from typing import Any

import torch

from stablestep.torch.bits import as_bytes, from_bytes
from stablestep.torch.codec import Codec, squared_norm, working
from stablestep.torch.state import HookState

Tensor = torch.Tensor


@dataclass
class Part:
    """A view of the bucket's buffer, its codec, the plans of all workers (where decoding needs them), and this worker's payload.

    `square` is ‖g‖² of this worker, `lost` its ‖C(g) − g‖², which may be known only when its own message is decoded with the others.
    """

    flat: Tensor
    codec: Codec
    plans: list[Any]
    rank: int
    payload: Tensor
    summed: bool
    scale: float
    square: Tensor
    lost: Tensor | None

    @property
    def sizes(self) -> list[int]:
        """Bytes of each worker's payload."""
        if not self.codec.planned:
            return [self.payload.nbytes] * len(self.plans)
        return [len(plan) * self.flat.element_size() for plan in self.plans]

    def row(self) -> Tensor:
        """The payload as bytes, of the same length on all workers."""
        row = as_bytes(self.payload)
        return torch.nn.functional.pad(row, (0, max(self.sizes) - len(row)))

    def from_sum(self, payload: Tensor) -> None:
        """Write the message of a payload that was averaged on the way."""
        total = working(self.flat).zero_()  # the gradient itself, unless it is of half precision
        self.codec.add(total, payload, self.plans[self.rank])
        if total is not self.flat:
            self.flat.copy_(total)

    def from_rows(self, rows: Tensor) -> None:
        """Write the mean of the messages in all workers' rows."""
        total = torch.zeros_like(working(self.flat))
        for worker, (row, size, plan) in enumerate(zip(rows, self.sizes, self.plans)):
            payload = from_bytes(row[:size], self.flat.dtype) if self.codec.linear else row[:size]
            if worker == self.rank and self.lost is None:
                total.add_(self._own(payload, plan))
            else:
                self.codec.add(total, payload, plan)
        self.flat.copy_(self.codec.finish(total.div_(len(rows))).mul_(self.scale))

    def _own(self, payload: Tensor, plan: Any) -> Tensor:
        message = torch.zeros_like(working(self.flat))
        self.codec.add(message, payload, plan)
        self.lost = squared_norm(message - self.flat)
        return message


def part(state: HookState, parameter: Tensor, flat: Tensor) -> Part:
    """Compress one parameter's gradient."""
    codec = state.codec_for(parameter)
    plans = _plans(state, codec, parameter, flat)
    payload, square = codec.encode(flat, plans[state.rank]), squared_norm(flat)
    return Part(
        flat=flat,
        codec=codec,
        plans=plans,
        rank=state.rank,
        payload=payload,
        summed=codec.linear and (state.shared or not codec.random),
        # A GradScaler will divide by its scale what never grew with it.
        scale=state.meter.scale if codec.scale_free else 1.0,
        square=square,
        lost=codec.squared_error(flat, payload, square),
    )


def _plans(state: HookState, codec: Codec, parameter: Tensor, flat: Tensor) -> list[Any]:
    def plan(worker: int | None) -> Any:
        return codec.plan(state.draw(parameter, flat, worker), len(flat))

    if state.shared or not codec.random:
        return [plan(None)] * state.workers
    if codec.planned:
        return [plan(worker) for worker in range(state.workers)]
    return [plan(state.rank)] * state.workers
