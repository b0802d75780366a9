"""Whether one of the workers' gradient norms is out of all proportion."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

PATIENCE, SPOILT = 20, 10
_START, _FACTOR, _GROWTH, _RATE = 3, 10.0, 4.0, 0.1


@dataclass
class NormWatch:
    """A worker stands out if its norm is above 10 min(median, 4 r), r the running mean of min(median, 4 r), from the fourth step on.

    With two workers the median moves with the outlier, so that only 40 r can tell. After 20 steps in a row the norms are believed; ten in
    a row that are not finite are the parameters' fault.
    """

    reference: float = 0.0
    steps: int = 0
    in_a_row: int = 0
    spoilt: int = 0

    def spoils(self) -> bool:
        """One more step with norms that are not finite: whether so many in a row were bad data's is past belief."""
        self.spoilt += 1
        return self.spoilt == SPOILT

    def stands_out(self, norms: Sequence[float]) -> bool:
        """Look at one step's norms, all finite."""
        self.spoilt = 0
        median = statistics.median(norms)
        if self.steps == 0:
            self.reference = median
        usual = min(median, _GROWTH * self.reference)
        bad = self.steps >= _START and max(norms) > _FACTOR * usual and self.in_a_row < PATIENCE
        self.in_a_row = self.in_a_row + 1 if bad else 0
        if not bad:
            believed = median if self.steps > _START and max(norms) > _FACTOR * usual else usual
            self.reference += _RATE * (believed - self.reference)
            self.steps += 1
        return bad
