"""Learning-rate finders of others, written anew from what they do, with the compressor in the loop: from 1e-7 to 10 in 100 steps."""

import numpy as np

from benchmarks.edges.predictors.base import Answer, Case
from benchmarks.edges.ramps import finder_steps

SMOOTH, DIVERGED = 0.98, 4.0


def _curve(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """log h and smoothed losses, until these are four times their lowest; nothing where no finder was run."""
    all_ramps = case.truth.record.finders
    if not len(all_ramps):
        return np.empty(0), np.empty(0)
    losses = all_ramps[case.seed % len(all_ramps)]
    weights = SMOOTH ** np.arange(len(losses))
    mean = np.array(
        [np.dot(losses[: n + 1][::-1], weights[: n + 1]) / weights[: n + 1].sum() for n in range(len(losses))]
    )
    mean = np.where(np.isfinite(mean), mean, np.inf)
    up = mean > DIVERGED * np.minimum.accumulate(mean)
    stop = int(np.argmax(up)) + 1 if up.any() else len(mean)
    return np.log(finder_steps()[:stop]), mean[:stop]


def _answer(case: Case, place: float, target: str = "best") -> Answer:
    return Answer(float(place), len(_curve(case)[0]), step=float(place), target=target)


def _trimmed(case: Case) -> tuple[np.ndarray, np.ndarray] | None:
    """Without the first tenth and the last five, as fastai has it."""
    logs, losses = _curve(case)
    first = len(finder_steps()) // 10
    kept = slice(first, -5)
    return (logs[kept], losses[kept]) if len(logs[kept]) > 5 else None


def valley(case: Case) -> Answer | None:
    """In the middle of the longest falling subsequence of losses."""
    found = _trimmed(case)
    if found is None:
        return None
    logs, losses = found
    lengths = np.ones(len(losses), int)
    for index in range(1, len(losses)):
        before = lengths[:index][losses[:index] > losses[index]]
        lengths[index] = 1 + (before.max() if len(before) else 0)
    end = int(np.argmax(lengths))
    third = lengths[end] / 3
    return _answer(case, logs[max(0, end - lengths[end]) + int(third) + int(third / 2)])


def steep(case: Case) -> Answer | None:
    """Where the loss falls fastest in log h."""
    found = _trimmed(case)
    return None if found is None else _answer(case, found[0][int(np.argmin(np.diff(found[1])))])


def minimum(case: Case) -> Answer | None:
    """A tenth of the step with the lowest loss."""
    found = _trimmed(case)
    return None if found is None else _answer(case, found[0][int(np.argmin(found[1]))] - np.log(10))


def lightning(case: Case) -> Answer | None:
    """Where the gradient of the losses is lowest, without the first ten and the last one."""
    logs, losses = (side[10:-1] for side in _curve(case))
    finite = np.isfinite(losses)
    if finite.sum() < 2:
        return None
    return _answer(case, logs[finite][int(np.argmin(np.gradient(losses[finite])))])


def blow_up(case: Case) -> Answer | None:
    """Where it stopped; None where it went through."""
    logs, _ = _curve(case)
    return _answer(case, logs[-1], "useful") if 0 < len(logs) < len(finder_steps()) else None
