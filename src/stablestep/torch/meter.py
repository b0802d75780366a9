"""What is measured on the way: norms, compression error and bytes of the last exchange, and counters of the whole run."""

import math

import torch

Tensor = torch.Tensor


class Meter:
    """Measures are kept as tensors until someone reads them, so that a GPU need not wait."""

    def __init__(self):
        self.exchanges = self.skipped = self.bytes_total = 0
        self.serial = 0  # of the last exchange in this process; unlike the counters never set back by loading a state
        self.norms: list[float] = []
        self.error = self.step = math.nan
        self._pending: Tensor | None = None
        self.poison = torch.zeros(())  # NaN if a worker's gradient is not finite
        self.watch, self.message_square = True, torch.zeros(())  # ‖M‖² of the mean message, while someone watches
        self.begin(1.0)

    def begin(self, scale: float) -> None:
        """A backward starts; its gradients are multiplied by `scale`."""
        self.settle()
        self.scale = scale
        self.collectives = self.payload = 0
        self.bytes = 0.0
        self._square = self._lost = torch.zeros((), dtype=torch.float64)

    def gradient(self, squares: list[Tensor]) -> None:
        """‖g‖² of one group of parameters of this worker's gradient."""
        self._square = torch.stack([self._square.to(squares[0].device), *squares]).sum()

    def lost(self, squared_errors: list[Tensor]) -> None:
        """‖C(g) − g‖² of all parameters."""
        self._lost = torch.stack(squared_errors).sum()

    def sent(self, payload: int, copies: float) -> None:
        """A payload of so many bytes goes over this worker's link so many times."""
        self.collectives += 1
        self.payload += payload
        self.bytes += payload * copies

    @property
    def local_norm(self) -> Tensor:
        """This worker's gradient norm, once all buckets were seen."""
        return self._square.sqrt() / self.scale

    def end(self, norms: Tensor) -> None:
        """All workers' norms have arrived."""
        self._pending = norms
        self.poison = norms.sum() * 0

    def settle(self) -> None:
        """Read what the last exchange left."""
        if self._pending is None:
            return
        self.norms, self._pending = self._pending.tolist(), None
        square, lost = float(self._square), float(self._lost)
        self.error = lost / square if square > 0 else 0.0
        self.exchanges += 1
        self.serial += 1
        self.bytes_total += round(self.bytes)
        self.skipped += not self.finite

    @property
    def finite(self) -> bool:
        """Whether all workers' gradients of the last exchange are."""
        return all(map(math.isfinite, self.norms))

    @property
    def mean_norm(self) -> float:
        """Ĝ, the mean of the workers' own gradient norms; NaN before the first exchange."""
        return math.fsum(self.norms) / len(self.norms) if self.finite and self.norms else math.nan

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
            "mean_norm": self.mean_norm,
            "skipped": float(self.skipped),
            "step": self.step,
        }
