"""What a cell's runs say: its edges and best step, with their errors, and what a step costs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.edges.store import Record
from benchmarks.edges.sweep import edge
from stablestep.torch.probe.calibration import EDGES
from stablestep.torch.probe.ramp import Ramp

WIDEST = 0.4  # half-width of an edge that is still called measured
BIN = 0.15


@dataclass(frozen=True)
class Truth:
    """A record and what follows from it."""

    record: Record

    @property
    def cell(self):
        return self.record.cell

    @cached_property
    def places(self) -> dict[str, tuple[float, float]]:
        """log h and its standard error of every edge that was found."""
        runs, found = self.record.runs, {}
        for name, ups in (("useful", runs.useful()), ("blow_up", runs.blown())):
            if ups.any() and not ups.all():
                at = edge(runs, ups)
                if at.half < WIDEST:
                    found[name] = (at.centre, at.half)
        centre, error, _ = runs.best()
        # At the rim of what was tried the lowest is not a minimum.
        if min(runs.logs) + 0.3 < centre < max(runs.logs) - 0.3:
            found["best"] = (centre, error)
        return found

    @property
    def complete(self) -> bool:
        """Whether all of them were found."""
        return len(self.places) == len(EDGES) and len(self.seen[1]) > 0

    @cached_property
    def ramps(self) -> list[Ramp]:
        """As far as each would have gone."""
        return [
            Ramp.of(losses, self.cell.horizon, start) for start, losses in zip(self.record.starts, self.record.ramps)
        ]

    def features(self, ramp: Ramp) -> list[float]:
        """Of one of its ramps."""
        return ramp.features(self.record.noise, self.cell.agents)

    @cached_property
    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Features of every ramp that found a step too large, and log h where it stopped."""
        fired = [ramp for ramp in self.ramps if ramp.fired]
        return np.array([self.features(ramp) for ramp in fired]), np.array([ramp.stop for ramp in fired])

    @cached_property
    def _curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean tails, cut off at 2, in bins of log h."""
        runs = self.record.runs
        bins = np.round(np.array(runs.logs) / BIN).astype(int)
        tails = np.minimum(runs.tails, 2.0)
        places = np.unique(bins)
        return places * BIN, np.array([tails[bins == place].mean() for place in places])

    def regret(self, log_step: float) -> float:
        """Which share of the attainable fall training with this step loses."""
        logs, tails = self._curve
        best = self.record.runs.best()[2]
        return max(0.0, (float(np.interp(log_step, logs, tails)) - best) / max(1 - best, 1e-6))
