"""The protocol: each entrant tunes one rate by the same number of trials, then trains from the same seeds as everybody else.

Rates are tuned on a seed and on held-out examples that the scores do not use.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.frontier.entrant import Entrant
from benchmarks.frontier.tasks import Task
from benchmarks.frontier.train import Cell

TRIALS = 5
WIDEST = 6  # times that a grid is widened
TUNING_SEED = 100
FIRST, HOPELESS = 3, 1.05  # whoever is that far off after so many seeds has missed, and saves the other runs
FULL, QUICK = tuple(range(1, 9)), tuple(range(1, 4))

Curve = list[tuple[int, float, int]]
Evaluate = Callable[[float], float]
RunCell = Callable[[Cell, Entrant], dict[str, Any]]


@dataclass(frozen=True)
class Found:
    """What an entrant reached in a task.

    Args:
        rates: the final loss of each rate tried, on the examples for tuning.
        curves: of each seed, on the examples for scoring, at the best rate.
    """

    rates: dict[float, float]
    curves: list[Curve]

    @property
    def rate(self) -> float:
        """The best one."""
        return best(self.rates)


def best(rates: dict[float, float]) -> float:
    """The rate with the least loss; of several that diverge, the smallest."""
    return min(rates, key=lambda rate: (rates[rate], rate))


def tune(start: float, evaluate: Evaluate, trials: int = TRIALS) -> dict[float, float]:
    """Losses on a grid of factor two around the start, widened until the best rate is inside.

    >>> found = tune(1.0, lambda rate: abs(rate - 12))
    >>> list(found), best(found)
    ([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0], 16.0)
    """
    half = trials // 2
    powers = list(range(-half, trials - half))
    losses = {power: evaluate(start * 2.0**power) for power in powers}
    for _ in range(WIDEST):
        edge = _beyond(losses)
        if edge is None:
            break
        losses[edge] = evaluate(start * 2.0**edge)
    return {start * 2.0**power: losses[power] for power in sorted(losses)}


def _beyond(losses: dict[int, float]) -> int | None:
    """The power to try next: beyond the best one, if that is the first or the last."""
    chosen = int(best(losses))  # type: ignore[arg-type]
    if chosen == min(losses):
        return chosen - 1
    return chosen + 1 if chosen == max(losses) else None


def final(curve: Curve) -> float:
    """The last loss; ∞ if it is not finite."""
    return curve[-1][1] if math.isfinite(curve[-1][1]) else math.inf


def measure(
    task: Task, entrant: Entrant, seeds: tuple[int, ...], run: RunCell, reference: Found | None = None
) -> Found:
    """Tune, then train from every seed, or from the first three if those are far above the reference."""
    steps = round(task.steps * entrant.stretch)

    def curve(lr: float, seed: int, split: str) -> Curve:
        return [tuple(row) for row in run(Cell(task.name, entrant.name, lr, seed, steps, split), entrant)["curve"]]

    rates = tune(entrant.lr, lambda lr: final(curve(lr, TUNING_SEED, "tuning")))
    curves = [curve(best(rates), seed, "scoring") for seed in seeds[:FIRST]]
    if reference is not None and hopeless(curves, reference.curves):
        return Found(rates, curves)
    return Found(rates, curves + [curve(best(rates), seed, "scoring") for seed in seeds[FIRST:]])


def hopeless(curves: Sequence[Curve], references: Sequence[Curve]) -> bool:
    """Whether the mean final loss is more than 5 % above that of the reference from the same seeds."""
    pairs = list(zip(curves, references))
    return not sum(final(own) for own, _ in pairs) <= HOPELESS * sum(final(other) for _, other in pairs)
