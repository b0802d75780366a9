"""The edge by plain simulation: bisection on the step, many runs at each."""

import math

import numpy as np
from scipy.stats import binomtest

from stablestep.errors import require
from stablestep.stability.ladder import MARGIN
from stablestep.stability.members import EDGE, Runner
from stablestep.stability.rollouts import guess
from stablestep.stability.start_point import BLOWN, CriticalStep, StartPoint

PRECISE = 1e-4  # of log h, without randomness
FAR = 12


def simulation(
    case: StartPoint,
    steps: int = 500,
    runs: int = 400,
    quantile: float = 0.5,
    tolerance: float = 0.01,
    blown: float = BLOWN,
) -> CriticalStep:
    """The step at which the fraction `quantile` of runs from x0 has blown up, or ended above f(x0), after `steps` steps.

    The same randomness serves every step. The interval reaches to the nearest tried steps whose fractions exclude `quantile` with 95 %
    confidence.

    Args:
        tolerance: of log h, at which the bisection stops.
        blown: a run whose f − f* passes this many times its start has blown up. On quadratics any such threshold is arbitrary: with
            ∞ and many steps the answer tends to the almost-sure edge of "lyapunov".
    """
    require(0 < quantile < 1, f"quantile is {quantile}, but must be between 0 and 1.")
    require(steps >= 5, f"steps is {steps}, but must be at least 5.")
    require(runs >= 1, f"runs is {runs}, but must be at least 1.")
    require(0 < tolerance < math.inf, f"tolerance is {tolerance}, but must be greater than 0.")
    require(blown > 1, f"blown is {blown}, but must be greater than 1; use 1000, or inf for no threshold.")
    case.require_slope()
    runs, tolerance = (1, PRECISE) if case.fixed else (runs, tolerance)
    wide = case.fixed or blown > BLOWN
    runner = Runner(case, runs, "float64" if wide else "float32", blown)
    tried: dict[float, int] = {}
    cost = 0

    def up(log_step: float) -> bool:
        nonlocal cost
        if log_step not in tried:
            ended = runner(np.exp(log_step), steps)
            cost += ended.steps
            tried[log_step] = int(ended.up.sum())
        return tried[log_step] >= quantile * runs

    definition = EDGE.replace("half", f"a fraction {quantile:g}") + f", after {steps} steps"
    bracket = _bracket(up, guess(case))
    if bracket is None:
        return CriticalStep(math.inf, math.inf, math.inf, "never", "simulation", definition, cost)
    low, high = bracket
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (low, middle) if up(middle) else (middle, high)
    return _answer(tried, low, high, runs, quantile, definition, cost)


def _bracket(up, first: float) -> tuple[float, float] | None:
    """Logarithms of a step that is not up and of one, a factor above it, that is."""
    low = high = first
    for _ in range(FAR):
        if up(high):
            break
        low, high = high, high + MARGIN / 3
    else:
        return None
    while up(low):
        low, high = low - MARGIN / 3, low
    return low, high


def _answer(tried, low: float, high: float, runs: int, quantile: float, definition: str, cost: int) -> CriticalStep:
    step = math.exp((low + high) / 2)
    if runs == 1:
        return CriticalStep(step, math.exp(low), math.exp(high), "exact", "simulation", definition, cost)
    intervals = {at: binomtest(count, runs).proportion_ci(method="wilson") for at, count in tried.items()}
    below = [at for at, interval in intervals.items() if interval.high < quantile and at <= low]
    above = [at for at, interval in intervals.items() if interval.low > quantile and at >= high]
    ends = (max(below, default=-math.inf), min(above, default=math.inf))
    status = "sharp" if ends[1] - ends[0] <= math.log(1.25) else "soft"
    found = {math.exp(at): count / runs for at, count in sorted(tried.items())}
    return CriticalStep(
        step, math.exp(ends[0]), math.exp(ends[1]), status, "simulation", definition, cost, {"fractions": found}
    )
