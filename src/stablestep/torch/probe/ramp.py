"""A run whose step grows: when it stops, and what its losses say of the edge."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from stablestep.torch.probe.reading import FAST, SLOW, finite

OCTAVE = 8  # steps of a ramp for a factor 2, at a horizon of 100
QUIET = 10  # losses at the beginning, which show the noise between batches
LONGEST = 240  # steps of a ramp, at a horizon of 100
NAMES = (
    "noise",
    "workers",
    "horizon",
    "lowest",
    "at lowest",
    "at 10 %",
    "at 50 %",
    "at 90 %",
    "past 1.2",
    "past 1.6",
    "roughness",
    "length",
    "noise, lowest",
    "rule",
)


# The first step of a ramp over the step that a straight line asks for (see `first_step`), where ω is 0.
BELOW = {"sgd": 2.0**-4, "momentum": 2.0**-5, "adam": 2.0**-3, "muon": 2.0**-3, "sign": 2.0**-3, "other": 2.0**-4}


def first_step(family: str, scale: float, noise: float) -> float:
    """Where a ramp begins: far below `scale` = f/⟨∇f, u⟩, u what the optimizer's first step of length 1 moves by without compression.

    >>> first_step("sgd", 1.28, noise=3.0)
    0.04
    """
    return scale * BELOW[family] / math.sqrt(1 + noise)


def rate(horizon: int) -> float:
    """By how much the logarithm of the step grows at each step."""
    return math.log(2) / OCTAVE * 100 / horizon


class Ramp:
    """A ramp, loss by loss, in units of the first loss; `add` says whether it is over.

    It stops where the fast running mean has risen, or where the slow one is twice its lowest and has lost half of the fall. While the step
    is still negligible the first ten losses show the noise between batches, which both rules make room for.

    >>> ramp = Ramp(horizon=100, start=-5.0)
    >>> [ramp.add(loss) for loss in [1.0] * 12 + [1.5, 2.0]][-2:]
    [False, True]
    """

    def __init__(self, horizon: int, start: float):
        self.horizon, self.start, self.losses = horizon, start, []
        self.fast = self.slow = self.lowest = 1.0
        self.slows: list[float] = []
        self.rule: int | None = None
        self.spread = 0.0

    def add(self, loss: float) -> bool:
        """The next loss; whether the ramp is over."""
        loss = finite(loss)
        self.losses.append(loss)
        self.fast += FAST * (loss - self.fast)
        self.slow += SLOW * (loss - self.slow)
        self.slows.append(self.slow)
        self.lowest = min(self.lowest, self.slow)
        if len(self.losses) > 5 and self.rule is None:
            self.rule = self._rule(loss)
        return self.rule is not None or len(self.losses) >= LONGEST * self.horizon // 100

    def _rule(self, loss: float) -> int | None:
        if len(self.losses) <= QUIET:
            self.spread = float(np.std(self.losses))
        spread = self.spread
        if self.fast > 1 + max(0.3, 2.3 * spread) or loss > 1e5:
            return 1
        lost = self.slow > 2 * self.lowest and self.slow > (1 + self.lowest) / 2 and self.lowest < 1 - 1.4 * spread
        return 0 if lost else None

    @classmethod
    def of(cls, losses: Iterable[float], horizon: int, start: float) -> "Ramp":
        """A recorded ramp, as far as it would have gone."""
        ramp = cls(horizon, start)
        for loss in losses:
            if ramp.add(loss):
                break
        return ramp

    @property
    def fired(self) -> bool:
        """Whether it found a step that is too large."""
        return self.rule is not None

    def log_step(self, index: int) -> float:
        """log h at one of its steps."""
        return self.start + rate(self.horizon) * index

    @property
    def stop(self) -> float:
        """log h where it stopped."""
        return self.log_step(len(self.losses) - 1)

    def features(self, noise: float, workers: int) -> list[float]:
        """What `NAMES` lists, places in log h relative to the stop.

        Args:
            noise: s = ω/N of own masks, ω of a shared one, 0 of biased messages.
            workers: N.
        """
        strength, fall = math.log1p(noise), 1 - self.lowest
        lowest = int(np.argmin(self.slows))
        fallen = [self._first(lambda slow, share=share: slow < 1 - share * fall, 0) for share in (0.1, 0.5, 0.9)]
        risen = [self._first(lambda slow, times=times: slow > times * self.lowest, lowest) for times in (1.2, 1.6)]
        depth = math.log(max(self.lowest, 1e-3))
        return [
            strength,
            math.log(workers),
            math.log(self.horizon / 100),
            depth,
            self.log_step(lowest) - self.stop,
            *fallen,
            *risen,
            roughness(self.losses),
            math.log(len(self.losses) * 100 / self.horizon),
            strength * depth,
            float(self.rule or 0),
        ]

    def _first(self, meets, begin: int) -> float:
        """log h where the slow mean first meets a condition, relative to the stop."""
        for index in range(begin, len(self.slows)):
            if meets(self.slows[index]):
                return self.log_step(index) - self.stop
        return 0.0


def roughness(losses: Sequence[float]) -> float:
    """The spread of log l from one loss to the next, without the last few, which blow up.

    >>> roughness([1.0] * 20)
    0.0
    """
    logs = np.log(np.maximum(losses[: max(8, len(losses) - 5)], 1e-6))
    return float(np.std(np.diff(logs))) if len(logs) > 2 else 0.0
