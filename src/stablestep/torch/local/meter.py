"""What local steps count and measure."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

from stablestep.errors import require

COUNTERS = ("steps", "since", "rounds", "skipped", "in_a_row", "bytes_total")


class Meter:
    """Counters of the run (steps, those since the last round, rounds, skipped ones, skipped in a row, bytes), and the last round's."""

    def __init__(self, most_skips: int | None, rank: int):
        self.most_skips, self.rank, self.warn_at = most_skips, rank, 1
        self.steps = self.since = self.rounds = self.skipped = self.in_a_row = self.bytes_total = 0
        self.payload = self.sent = 0
        self.error = math.nan

    def exchanged(self, payload: int, sent: int) -> None:
        """A round's bytes, handed to the collectives and over the link."""
        self.payload, self.sent = payload, sent
        self.bytes_total += sent

    def end(self, moved: bool) -> None:
        """A round is over.

        Raises:
            InvalidInput: if that many were skipped in a row.
        """
        self.rounds, self.since = self.rounds + 1, 0
        self.in_a_row = 0 if moved else self.in_a_row + 1
        if not moved:
            self.skipped += 1
            self._complain()

    def _complain(self) -> None:
        many = f"{self.skipped} of {self.rounds} rounds"
        require(
            self.most_skips is None or self.in_a_row < self.most_skips,
            f"{self.in_a_row} rounds in a row were skipped ({many} of this run), since a worker's parameters were not finite; they are now "
            "those of before: lower the learning rate, look at the data, or give a larger max_consecutive_skips.",
        )
        if self.skipped >= self.warn_at and self.rank == 0:
            warnings.warn(
                f"{many} were skipped on all workers, since a worker's parameters were not finite; if it goes on, lower the learning rate.",
                stacklevel=6,
            )
        if self.skipped >= self.warn_at:
            self.warn_at = 10 ** len(str(self.skipped))

    def telemetry(self, every: int) -> dict[str, float]:
        """As floats."""
        return {
            "bytes_sent": float(self.sent),
            "bytes_payload": float(self.payload),
            "bytes_total": float(self.bytes_total),
            "compression_error": self.error,
            "every": float(every),
            "rounds": float(self.rounds),
            "skipped": float(self.skipped),
            "steps": float(self.steps),
        }

    def state_dict(self) -> dict[str, int]:
        """The counters."""
        return {name: getattr(self, name) for name in COUNTERS}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from saved counters."""
        for name in COUNTERS:
            setattr(self, name, int(saved[name]))
