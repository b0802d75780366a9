"""Pflug's sign test: messages that point against the last update say that the step is too large for the noise."""

import math
from dataclasses import dataclass

_WINDOW, _LIMIT, _LOWER = 12, -1.5, 0.6


@dataclass
class SignTest:
    """Over 12 steps, Σ a/√(Σ a²) < −1.5 with a = cos(message, last update along the descent); about 7 in 100 if a's sign were a coin's."""

    total: float = 0.0
    square: float = 0.0
    steps: int = 0

    def lowers(self, cosine: float) -> float:
        """One more cosine: what the factor is multiplied by."""
        self.total += cosine
        self.square += cosine**2
        self.steps += 1
        if self.steps < _WINDOW:
            return 1.0
        low = self.total < _LIMIT * math.sqrt(self.square)
        self.clear()
        return _LOWER if low else 1.0

    def clear(self) -> None:
        """Forget the window."""
        self.total = self.square = 0.0
        self.steps = 0
