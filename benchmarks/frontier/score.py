"""Who reached the target, and for how many bytes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ttest_1samp

from benchmarks.frontier.protocol import Curve, Found, final

MARGIN = 1.01
LEVEL = 0.05


@dataclass(frozen=True)
class Score:
    """One entrant in one task. Losses are held-out; the crossing is where the mean curve first is at the target.

    Args:
        gap: mean final loss over the reference's, less 1.
        p: of the one-sided paired test that the final loss is below 1.01 times the reference's.
        verdict: "met" (the test says so), "mean met" (the mean alone does) or "missed".
        steps: at the crossing; None if missed.
        sent: bytes of one worker until then; if missed, of the whole run.
        stretch: steps over T.
        fewer: bytes of the reference in T steps, over `sent`.
        stretch_crossing: steps over those of the reference's own crossing.
        fewer_crossing: bytes of the reference at its own crossing, over `sent`.
    """

    task: str
    entrant: str
    rate: float
    trials: int
    inside: bool
    seeds: int
    loss: float
    gap: float
    p: float
    verdict: str
    steps: int | None
    sent: int
    stretch: float | None
    fewer: float
    stretch_crossing: float | None
    fewer_crossing: float


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Over seeds, as long as all have a loss.

    >>> mean_curve([[(8, 2.0, 10), (16, 1.0, 20)], [(8, 4.0, 10)]])
    [(8, 3.0, 10)]
    """
    return [(rows[0][0], float(np.mean([row[1] for row in rows])), rows[0][2]) for rows in zip(*curves)]


def crossing(curve: Curve, target: float) -> tuple[int, int] | None:
    """Steps and bytes where the loss first is at the target.

    >>> crossing([(8, 2.0, 10), (16, 1.0, 20), (24, 0.9, 30)], 1.0)
    (16, 20)
    """
    return next(((step, sent) for step, loss, sent in curve if loss <= target), None)


def test(finals: Sequence[float], references: Sequence[float]) -> float:
    """p of the one-sided paired t test that `finals` are below 1.01 `references`; 1 if a run diverged.

    >>> round(test([1.0, 1.1, 0.9], [1.1, 1.15, 1.05]), 4)
    0.0267
    """
    differences = np.asarray(finals) - MARGIN * np.asarray(references)
    if not np.all(np.isfinite(differences)):
        return 1.0
    if np.ptp(differences) == 0:
        return float(differences[0] > 0)
    return float(ttest_1samp(differences, 0.0, alternative="less").pvalue)


def score(task: str, entrant: str, steps: int, found: Found, reference: Found) -> Score:
    """Against the reference's seeds, which are the same."""
    finals, others = ([final(curve) for curve in each.curves] for each in (found, reference))
    goal, loss = MARGIN * float(np.mean(others)), float(np.mean(finals))
    p = test(finals, others[: len(finals)])
    verdict = "missed" if not loss <= goal else "met" if p < LEVEL else "mean met"
    mean, dense = mean_curve(found.curves), mean_curve(reference.curves)
    reached = crossing(mean, goal) if verdict != "missed" else None
    at, sent = reached or (None, mean[-1][2])
    own_steps, own_sent = crossing(dense, goal) or (steps, dense[-1][2])
    return Score(
        task=task,
        entrant=entrant,
        rate=found.rate,
        trials=len(found.rates),
        inside=min(found.rates) < found.rate < max(found.rates),
        seeds=len(found.curves),
        loss=loss,
        gap=loss / float(np.mean(others)) - 1,
        p=p,
        verdict=verdict,
        steps=at,
        sent=sent,
        stretch=at and at / steps,
        fewer=_ratio(dense[-1][2], sent),
        stretch_crossing=at and at / own_steps,
        fewer_crossing=_ratio(own_sent, sent),
    )


def _ratio(dense: int, sent: int) -> float:
    return dense / sent if sent else math.inf


def profile(scores: Sequence[Score], entrants: Sequence[str]) -> dict[str, list[float]]:
    """Each entrant's bytes to the target in each task, over the least of all who met it; ∞ where it did not."""
    names = list(dict.fromkeys(one.task for one in scores))
    least = {
        name: min((one.sent for one in scores if one.task == name and _met(one)), default=math.inf) for name in names
    }
    ratios = {(one.entrant, one.task): one.sent / least[one.task] if _met(one) else math.inf for one in scores}
    return {entrant: [ratios.get((entrant, name), math.inf) for name in names] for entrant in entrants}


def _met(one: Score) -> bool:
    return one.verdict == "met" and one.sent > 0
