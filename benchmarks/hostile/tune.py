"""The best learning rate of each training, optimizer and compression, where nothing is wrong."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.hostile.cells import Cell, Runs
from benchmarks.hostile.faults import HEALTHY

Case = tuple[str, str, float]
SEEDS = (100, 101)
_FIRST = {"SGD-m": 0.1, "AdamW": 0.01, "Muon": 0.01}


def tuned(runs: Runs, cases: list[Case]) -> dict[Case, tuple[float, float]]:
    """The best rate on a grid of √2, never at the edge of what was tried, and the mean gradient norm there.

    Five rates a factor of 2 apart come first, around a usual one, and others only where the best of them is the last.
    """
    open_, coarse = {case: round(2 * np.log2(_FIRST[case[1]])) for case in cases}, {}
    while open_:
        trials = {case: range(k - 4, k + 5, 2) for case, k in open_.items()}
        best = _best(runs, trials, "tuning")
        coarse |= best
        open_ = {case: k for case, k in best.items() if k in (trials[case][0], trials[case][-1])}
    fine = _best(runs, {case: (k - 1, k, k + 1) for case, k in coarse.items()}, "tuning, finer")
    return {case: (_rate(k), _mean(runs, case, k, "norm")) for case, k in fine.items()}


def _best(runs: Runs, trials: Mapping[Case, Sequence[int]], what: str) -> dict[Case, int]:
    runs.fill([_trial(case, k, seed) for case, tried in trials.items() for k in tried for seed in SEEDS], what)
    return {case: min(tried, key=lambda k: _mean(runs, case, k, "last")) for case, tried in trials.items()}


def _trial(case: Case, k: int, seed: int) -> Cell:
    return Cell(*case, "nothing", HEALTHY.name, seed, _rate(k))


def _rate(k: int) -> float:
    return float(f"{2 ** (k / 2):.6g}")


def _mean(runs: Runs, case: Case, k: int, what: str) -> float:
    return float(np.mean([runs.get(_trial(case, k, seed))[what] for seed in SEEDS]))
