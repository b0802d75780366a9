"""What the losses of a run say while it goes on: running means, and whether it has gone up."""

import math
from collections.abc import Iterable

FAST, SLOW = 0.5, 0.22  # weights of the newest loss in running means over about 3 and 8 losses
SPIKED = 2.0  # times the first loss, of the slow mean: the run is lost
BLOWN = 1000.0  # times the first loss, of one loss
CEILING = 1e6  # what a loss that is not finite counts as
LATE, FALLEN = 0.7, 0.8  # share of the horizon from which a run that has made so much of the attainable fall is over


def finite(loss: float) -> float:
    """A relative loss that can be averaged.

    >>> finite(float("nan")), finite(0.5)
    (1000000.0, 0.5)
    """
    return min(loss, CEILING) if math.isfinite(loss) else CEILING


class Run:
    """An ordinary run, loss by loss, in units of the first loss.

    >>> run = Run(horizon=5)
    >>> for loss in (1.0, 0.8, 0.6, 0.5, 0.4):
    ...     run.add(loss)
    >>> run.tail, run.spiked
    (0.4, False)
    """

    def __init__(self, horizon: int):
        self.horizon, self.losses, self.slow, self.highest = horizon, [], 1.0, 0.0
        self.spike: int | None = None  # how many losses there were when the slow mean passed twice the first one

    def add(self, loss: float) -> None:
        """The next loss."""
        loss = finite(loss)
        self.losses.append(loss)
        self.slow += SLOW * (loss - self.slow)
        self.highest = max(self.highest, loss)
        if self.spike is None and self.slow > SPIKED:
            self.spike = len(self.losses)

    @classmethod
    def of(cls, losses: Iterable[float], horizon: int) -> "Run":
        """A run that is over."""
        run = cls(horizon)
        for loss in losses:
            run.add(loss)
        return run

    @property
    def spiked(self) -> bool:
        """Whether the slow mean has passed twice the first loss."""
        return self.spike is not None

    @property
    def over(self) -> bool:
        """Whether all steps were made."""
        return len(self.losses) >= self.horizon

    @property
    def tail(self) -> float:
        """The mean over the last fifth of the horizon."""
        last = self.losses[-max(1, self.horizon // 5) :]
        return sum(last) / len(last)

    def too_hot(self, best: float) -> bool:
        """Whether it has lost more than half of the attainable fall, or has spiked; `best` is the lowest tail known."""
        return self.spiked or self.tail > (1 + min(best, 0.95)) / 2

    def settled(self, best: float) -> bool:
        """Whether the rest would hardly change what the run says: it has made most of the attainable fall late, or is above the first loss.

        >>> run = Run.of([1.0] * 10 + [0.5] * 55 + [0.2] * 20, horizon=100)
        >>> run.settled(best=0.1), run.settled(best=0.0)
        (True, False)
        """
        if len(self.losses) < LATE * self.horizon:
            return False
        return self.tail > 1 or 1 - self.tail > FALLEN * (1 - min(best, 0.95))

    @property
    def lost(self) -> bool:
        """Whether a loss was a thousand times the first one."""
        return self.highest > BLOWN

    @property
    def blown(self) -> bool:
        """Whether it ended above the first loss, or was ever a thousand times as high."""
        return self.lost or self.tail > 1
