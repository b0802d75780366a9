"""A ladder of rounds of members, each with its own step, placed where the answer is still open; the members may be anything that runs."""

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from stablestep.errors import positive, require, whole
from stablestep.progress import say
from stablestep.stability.root import FARTHEST
from stablestep.stability.start_point import CriticalStep, never, sharpness, symmetric

TOLERANCE = 0.03
LONGEST = 450
ROUNDS = 40
MARGIN = math.log(8)  # of the first window, and how far an answer outside it moves the window
FAR = 12  # moves after which there is no edge
MOVED = 0.05
WIDTHS = np.geomspace(1e-3, 2.0, 48)


@runtime_checkable
class Ended(Protocol):
    """What a round of members came to: whether each ended up, and how many steps they took together."""

    @property
    def up(self) -> Bool[np.ndarray, " members"]: ...

    @property
    def steps(self) -> int: ...


@runtime_checkable
class Members(Protocol):
    """Runs `members` members with these constant steps for `length` steps; `batch` chooses their randomness."""

    members: int
    seed: int

    def __call__(self, etas: Float[np.ndarray, " members"], length: int, batch: int, /) -> Ended: ...


@dataclass(frozen=True)
class Posterior:
    """What the members say of the centre of a logistic in log h, and of its width: mean, 68 % half-width, mean width."""

    centre: float
    half: float
    width: float


def edge(
    runner: Members, centre: float, definition: str, length: int, longest: int = LONGEST, tolerance: float = TOLERANCE
) -> CriticalStep:
    """η50(T), from a first guess `centre` of log η: T starts at `length` and triples until the answer stays (at most `longest`).

    ∞ if no member ended up at any step, 0 if all did at every step.
    """
    whole("members", runner.members, least=4)
    length, longest = whole("steps", length, least=5), whole("longest", longest, least=5)
    tolerance = positive("tolerance", tolerance)
    ladder, length = _Ladder(runner, tolerance), min(length, longest)
    found = ladder.climb(centre, MARGIN / 2, length)
    moved = math.inf
    while length < longest and found is not None and math.isfinite(found.centre):
        length, before = min(3 * length, longest), found
        found = ladder.climb(before.centre, max(4 * before.half, 4 * before.width, MOVED), length)
        moved = abs(found.centre - before.centre) if found is not None else math.inf
        if moved < MOVED:
            break
    horizon = length >= longest and MOVED <= moved < math.inf
    return _answer(found, ladder.cost, length, definition, horizon)


def _answer(found: Posterior | None, cost: int, length: int, definition: str, horizon: bool) -> CriticalStep:
    if found is None or math.isinf(found.centre):
        return never(math.inf if found is None else 0.0, "rollouts", definition, cost, steps=length)
    # The raw posterior is too narrow: members share one logistic, which no real edge is exactly.
    error = math.hypot(1.3 * found.half, 0.03)
    step, spread = math.exp(found.centre), math.log(9) * found.width
    step10, step90 = math.exp(found.centre - spread), math.exp(found.centre + spread)
    tails: dict[str, Any] = {"step10": step10, "step90": step90, "steps": length}
    status = "horizon-dependent" if horizon else sharpness(step10, step90)
    return CriticalStep(step, *symmetric(step, error), status, "rollouts", definition, cost, tails)


class _Ladder:
    """Rounds of members; every round has randomness of its own."""

    def __init__(self, runner: Members, tolerance: float):
        self.runner, self.tolerance = runner, tolerance
        self.cost = self.batch = 0

    def climb(self, centre: float, reach: float, length: int) -> Posterior | None:
        """The posterior for rollouts of this length, or None where no step is too large."""
        logs, ups, moves = np.zeros(0), np.zeros(0, bool), 0
        for _ in range(ROUNDS):
            placed = self._placed(centre, reach)
            require(
                float(np.max(np.abs(placed))) < FARTHEST,
                f"the search for an edge reached the step exp({placed[0]:.4g}), which no float64 can hold; scale f or x.",
            )
            ended = self.runner(np.exp(placed), length, self.batch)
            self.batch, self.cost = self.batch + 1, self.cost + ended.steps
            say(f"round {self.batch}, {length} steps each")
            logs, ups = np.append(logs, placed), np.append(ups, ended.up)
            if (outside := self._outside(logs, ups)) is not None:
                moves += 1
                if moves > FAR:
                    return Posterior(-math.inf, 0.0, 0.0) if ups.all() else None
                centre = outside
                continue
            found = posterior(logs, ups)
            if found.half <= self.tolerance and len(logs) > self.runner.members:
                return found
            centre, reach = found.centre, max(2.5 * found.half, 2 * found.width, self.tolerance)
        return posterior(logs, ups)

    def _placed(self, centre: float, reach: float) -> Float[np.ndarray, " members"]:
        """Stratified in the window: one member in each of as many equal parts."""
        count = self.runner.members
        jitter = np.random.default_rng([self.runner.seed, self.batch]).uniform(size=count)
        return centre + reach * (2 * (np.arange(count) + jitter) / count - 1)

    @staticmethod
    def _outside(logs: Float[np.ndarray, " n"], ups: Bool[np.ndarray, " n"]) -> float | None:
        """The centre of the next window, where no member so far has ended on the other side."""
        if ups.all():
            return float(logs.min()) - MARGIN / 2
        return float(logs.max()) + MARGIN / 2 if not ups.any() else None


def posterior(logs: Float[np.ndarray, " n"], ups: Bool[np.ndarray, " n"]) -> Posterior:
    """Centre and width of P(up) = 1/(1 + exp(−(log h − centre)/width)), with a flat prior on a grid (width: in its logarithm).

    >>> logs = np.linspace(-1, 1, 200)
    >>> found = posterior(logs, logs > 0.3)
    >>> round(found.centre, 1), found.half < 0.02
    (0.3, True)
    """
    pad = 0.25 * (logs.max() - logs.min())
    low, _, high, spacing, _ = _quantiles(np.linspace(logs.min() - pad, logs.max() + pad, 301), logs, ups)
    reach = 6 * (high - low) + spacing
    low, middle, high, spacing, width = _quantiles(np.linspace(low - reach, high + reach, 301), logs, ups)
    return Posterior(middle, max(high - low, spacing) / 2, width)


def _quantiles(centres, logs, ups) -> tuple[float, float, float, float, float]:
    """16 %, 50 % and 84 % of the centre on this grid, the grid's spacing, and the mean width."""
    weights = _weights(centres, logs, ups)
    mass = weights.sum(axis=1)
    # The mass of a grid point lies around it, half of it below.
    low, middle, high = np.interp([0.16, 0.5, 0.84], np.cumsum(mass) - mass / 2, centres).tolist()
    return low, middle, high, float(centres[1] - centres[0]), float(np.exp(weights.sum(axis=0) @ np.log(WIDTHS)))


def _weights(centres, logs, ups) -> Float[np.ndarray, "centres widths"]:
    below, above = np.sort(logs[~ups]), np.sort(logs[ups])
    scaled = WIDTHS[None, :, None]
    log = sum(
        (
            -np.logaddexp(0, sign * (centres[:, None, None] - values[None, None, :]) / scaled).sum(axis=-1)
            for sign, values in ((-1, below), (1, above))
        ),
        np.zeros((len(centres), len(WIDTHS))),
    )
    weights = np.exp(log - log.max())
    return weights / weights.sum()
