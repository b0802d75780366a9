"""What a predictor is asked, and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.edges.truth import Truth
from stablestep.torch.probe.calibration import Row

SEEDS = 4  # cases for each sweep


@dataclass(frozen=True)
class Case:
    """A cell that nobody has seen: a predictor may look at its ramps, and at runs with the steps that it asks for.

    Attributes:
        truth: only scores may ask it for edges.
        row: of a table without this task.
        base: the best step without compression, as a user might know it; None where it was not measured.
        seed: of what is drawn.
    """

    truth: Truth
    row: Row
    base: float | None
    seed: int

    @cached_property
    def draws(self) -> np.random.Generator:
        """Random numbers of this case."""
        return np.random.default_rng([self.seed, 17])


@dataclass(frozen=True)
class Answer:
    """log h of the edge, the half-width of a 90 % interval if one is given, log h to train with if it is said, and gradients per worker.

    `target` is the edge that is meant: "useful", "blow_up" or "best".
    """

    place: float
    cost: float
    half: float | None = None
    step: float | None = None
    target: str = "useful"


Predictor = Callable[[Case], Answer | None]
