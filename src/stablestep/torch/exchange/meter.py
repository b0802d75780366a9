"""What is measured on the way: norms, compression error and bytes of the last exchange, and counters of the whole run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

Tensor = torch.Tensor
COUNTERS = ("exchanges", "skipped", "bytes_total")


@dataclass(frozen=True)
class Arrival:
    """What the last exchange brought to every worker.

    Attributes:
        serial: its number in this process, which loading a state never sets back.
        norms: of all workers' own gradients; NaN if the mean message is not finite.
        skipped_in_a_row: how many exchanges, up to this one, were not finite.
        skipped: of the whole run.
        exchanges: of the whole run.
    """

    serial: int
    norms: list[float]
    skipped_in_a_row: int
    skipped: int
    exchanges: int

    @property
    def finite(self) -> bool:
        """Whether all workers' gradients are."""
        return all(map(math.isfinite, self.norms))

    @property
    def mean_norm(self) -> float:
        """Ĝ, the mean of the workers' own gradient norms; NaN before the first exchange."""
        return math.fsum(self.norms) / len(self.norms) if self.finite and self.norms else math.nan


class Meter:
    """Measures are kept as tensors until someone reads them, so that a GPU need not wait."""

    def __init__(self):
        self.exchanges = self.skipped = self.bytes_total = 0
        self.serial = 0
        self.norms: list[float] = []
        self.error = self.step = math.nan
        self._pending: Tensor | None = None
        self.poison = torch.zeros(())  # NaN if a worker's gradient is not finite
        self._in_a_row = 0
        self.begin(1.0)

    def begin(self, scale: float) -> None:
        """A backward starts; its gradients are multiplied by `scale`."""
        self.settle()
        self.scale = scale
        self.collectives = self.payload = 0
        self.bytes = 0.0
        self._square = self._lost = self._compressed = torch.zeros((), dtype=torch.float64)

    def gradient(self, squares: list[Tensor]) -> None:
        """‖g‖² of one group of parameters of this worker's gradient."""
        self._square = torch.stack([self._square.to(squares[0].device), *squares]).sum()

    def sent(self, payload: int, copies: float) -> None:
        """A payload of so many bytes goes over this worker's link so many times."""
        self.collectives += 1
        self.payload += payload
        self.bytes += payload * copies

    @property
    def square(self) -> Tensor:
        """‖g‖² of what was sent so far."""
        return self._square

    def whole(self, square: Tensor) -> None:
        """‖g‖² of the whole gradient, of which this worker has a shard."""
        self._square = square

    @property
    def local_norm(self) -> Tensor:
        """This worker's gradient norm, once all buckets were seen."""
        return self._square.sqrt() / self.scale

    def end(self, norms: Tensor, squared_errors: list[Tensor], squares: list[Tensor]) -> None:
        """All workers' norms [N] have arrived, and ‖C(p) − p‖² and ‖p‖² of what this worker compressed of each parameter are known."""
        self._pending = norms
        self._lost, self._compressed = torch.stack(squared_errors).sum(), torch.stack(squares).sum()
        self.poison = norms.sum() * 0

    def settle(self) -> None:
        """Read what the last exchange left."""
        if self._pending is None:
            return
        self.norms, self._pending = self._pending.tolist(), None
        square, lost = float(self._compressed), float(self._lost)
        self.error = lost / square if square > 0 else 0.0
        self.exchanges += 1
        self.serial += 1
        self.bytes_total += round(self.bytes)
        bad = not self._arrival().finite
        self.skipped += bad
        self._in_a_row = self._in_a_row + 1 if bad else 0

    def arrival(self) -> Arrival:
        """The last exchange."""
        self.settle()
        return self._arrival()

    def _arrival(self) -> Arrival:
        return Arrival(self.serial, self.norms, self._in_a_row, self.skipped, self.exchanges)

    def counters(self) -> dict[str, int]:
        """Of the whole run."""
        self.settle()
        return {name: getattr(self, name) for name in COUNTERS}

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Go on from saved counters."""
        self.settle()
        for name in COUNTERS:
            setattr(self, name, int(saved[name]))

    def telemetry(self, rank: int) -> dict[str, float]:
        """The last exchange and the run so far, as floats."""
        self.settle()
        return {
            "bytes_sent": self.bytes,
            "bytes_payload": float(self.payload),
            "bytes_total": float(self.bytes_total),
            "compression_error": self.error,
            "exchanges": float(self.exchanges),
            "local_norm": self.norms[rank] if self.norms else math.nan,
            "mean_norm": self._arrival().mean_norm,
            "skipped": float(self.skipped),
            "step": self.step,
        }
