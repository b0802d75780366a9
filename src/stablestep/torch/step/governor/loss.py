"""The loss that rides along: when it says to go back, whether the data were at fault, and when a copy is good."""

import enum
import math
from dataclasses import dataclass

_FAST, _SLOW = 0.3, 0.1  # rates of the running mean and of the running deviation
_FALL, _DEVIATIONS = 0.2, 3.3
_BACK_OFF, _COOL, _KEEP_EVERY, _LOOKS = 0.35, 4, 5, 10
_RECOVERY, _CAREFUL = 1.02, 1.01


class Verdict(enum.Enum):
    """What the loss says about a step."""

    GO = "go"
    KEEP = "keep"  # go, and these parameters are the best so far
    SKIP = "skip"  # the data of this step are bad
    BACK = "back"  # the parameters are


@dataclass
class LossWatch:
    """The loss l against its best running mean m: alarm where the running mean e > m + max(.2 (f0 − m), 3.3 s), s a running deviation.

    An alarm multiplies the factor by .35 and sends the parameters back. If the next loss, at the good copy, is bad as well, the data
    were at fault and the factor is what it was. It recovers by 2 % a step, by 1 % above .35 of where the last alarm was.

    Attributes:
        factor: what the step is multiplied by.
        ceiling: what it may not recover beyond.
    """

    factor: float = 1.0
    ceiling: float = 1.0
    slow: float = math.inf
    start: float = math.nan
    mean: float = math.nan
    best: float = math.nan
    deviation: float = math.nan
    cool: int = 0
    since_kept: int = 0
    kept_mean: float = math.nan
    bad_loss: float = math.nan
    looking: bool = False
    looks: int = 0
    factor_before: float = 1.0
    slow_before: float = math.inf
    alarms: int = 0

    def hear(self, loss: float) -> Verdict:
        """One step's mean loss over the workers, before the step."""
        if math.isnan(self.start):
            return self._first(loss) if math.isfinite(loss) else Verdict.GO
        loss = min(loss, self._most)
        if self.looking and self._data_are_bad(loss):
            return Verdict.SKIP
        self.looking, self.looks = False, 0
        level = self._count(loss)
        if self.mean > level and self.cool <= 0:
            self.back(loss)
            return Verdict.BACK
        if self.cool <= 0 and self.mean <= level:
            rate = _RECOVERY if self.factor < self.slow else _CAREFUL
            self.factor = min(self.ceiling, self.factor * rate)
        return self._kept()

    def lower(self, share: float) -> None:
        """Other signs say that the factor is too large; it does not recover from that."""
        self.factor *= share
        self.ceiling = self.factor

    def back(self, loss: float = math.inf) -> None:
        """The parameters are bad: back to the good copy, with a smaller factor; the next loss says whether it was the data."""
        self.factor_before, self.slow_before = self.factor, self.slow
        self.slow = min(self.slow, _BACK_OFF * self.factor)
        self.factor *= _BACK_OFF
        self.mean, self.bad_loss = self.kept_mean, min(loss, self._most)
        self.cool, self.looking, self.looks = _COOL, True, 0
        self.alarms += 1

    @property
    def _most(self) -> float:
        return self.start + 9 * abs(self.start)

    def _first(self, loss: float) -> Verdict:
        self.start = self.mean = self.best = self.kept_mean = loss
        self.deviation = 0.1 * abs(loss)
        return Verdict.KEEP

    def _data_are_bad(self, loss: float) -> bool:
        """Just sent back, the loss at a copy known to be good is still halfway to what raised the alarm."""
        if loss <= self.kept_mean + 0.5 * (self.bad_loss - self.kept_mean) or self.looks >= _LOOKS:
            return False
        self.factor, self.slow = self.factor_before, self.slow_before
        self.looks += 1
        return True

    def _count(self, loss: float) -> float:
        distance = abs(loss - self.mean)
        self.mean += _FAST * (loss - self.mean)
        self.best = min(self.best, self.mean)
        self.deviation += _SLOW * (min(distance, 3 * self.deviation) - self.deviation)
        self.cool -= 1
        self.since_kept += 1
        return self.best + max(_FALL * (self.start - self.best), _DEVIATIONS * self.deviation)

    def _kept(self) -> Verdict:
        if self.mean > self.best or self.since_kept < _KEEP_EVERY:
            return Verdict.GO
        self.since_kept, self.kept_mean = 0, self.mean
        return Verdict.KEEP
