"""The edge by plain simulation: bisection on the step, many runs at each."""

import math

import numpy as np

from stablestep.errors import positive, whole, within
from stablestep.progress import say
from stablestep.stability.members import Runner
from stablestep.stability.precision import precision
from stablestep.stability.rollouts import guess
from stablestep.stability.root import bisect, bracket
from stablestep.stability.start_point import (
    BLOWN,
    CriticalStep,
    StartPoint,
    checked_blown,
    edge_of,
    never,
    sharpness,
)

PRECISE = 1e-4  # of log h, without randomness
FEWEST = 20  # runs, of which a tenth are counted
TAILS = (0.1, 0.9)
COARSE = 0.04  # of log h, for the tails
NEAR = 6  # doublings, for the tails


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
    confidence. `details` has step10 and step90, where a tenth and nine tenths of the runs end up (to 4 %; 0 or ∞ where that is further
    than a factor 64 away), and the fraction at each step that was tried.

    Args:
        steps: of each run, at least 5.
        runs: at each step, at least 20.
        tolerance: of log h, at which the bisection stops.
        blown: a run whose f − f* passes this many times its start (1000) has blown up. On quadratics any such threshold is arbitrary:
            with ∞ and many steps the answer tends to the almost-sure edge of "lyapunov".
    """
    steps, runs, blown = whole("steps", steps, least=5), whole("runs", runs, least=FEWEST), checked_blown(blown)
    quantile, tolerance = within("quantile", quantile, 0, 1), positive("tolerance", tolerance)
    case.require_slope()
    if case.fixed:
        runs, tolerance = 1, PRECISE
    centre = guess(case)
    dtype = precision(case, blown, math.exp(centre))
    tries = _Tries(Runner(case, runs, "float64" if case.fixed else dtype, blown), steps)
    definition = edge_of("half" if quantile == 0.5 else f"a fraction {quantile:g}", blown) + f", after {steps} steps"
    low, high = bracket(lambda log_step: tries.beyond(log_step, quantile), centre)
    if not high - low < math.inf:
        return never(math.inf if math.isinf(high) else 0.0, "simulation", definition, tries.cost)
    low, high = bisect(lambda log_step: tries.beyond(log_step, quantile), low, high, tolerance)
    if case.fixed:
        ends = math.exp(low), math.exp(high)
        return CriticalStep(math.exp((low + high) / 2), *ends, "exact", "simulation", definition, tries.cost)
    return _answer(tries, low, high, quantile, definition)


class _Tries:
    """How many runs ended up at each step, in log h, that was tried."""

    def __init__(self, runner: Runner, steps: int):
        self.runner, self.steps, self.cost = runner, steps, 0
        self.ups: dict[float, int] = {}

    def beyond(self, log_step: float, quantile: float) -> bool:
        """Whether at least this fraction of the runs ends up."""
        if log_step not in self.ups:
            ended = self.runner(np.exp(log_step), self.steps)
            self.cost += ended.steps
            self.ups[log_step] = int(ended.up.sum())
            say(f"{len(self.ups)} steps tried")
        return self.ups[log_step] >= quantile * self.runner.members

    def tail(self, quantile: float) -> float:
        """The step at which another fraction of the runs ends up; 0 or ∞ where there is none within a factor 64 of those tried."""
        low, high = self._known(quantile)
        if not high - low < math.inf:
            nearest = low if math.isinf(high) else high
            low, high = bracket(lambda log_step: self.beyond(log_step, quantile), nearest, far=NEAR)
        if not high - low < math.inf:
            return 0.0 if math.isinf(low) else math.inf
        low, high = bisect(lambda log_step: self.beyond(log_step, quantile), low, high, COARSE)
        return math.exp((low + high) / 2)

    def _known(self, quantile: float) -> tuple[float, float]:
        """The nearest steps tried so far that are not beyond, and that are; −∞ or ∞ where there is none."""
        low = max((at for at in self.ups if not self.beyond(at, quantile)), default=-math.inf)
        return low, min((at for at in self.ups if at > low), default=math.inf)

    def interval(self, low: float, high: float, quantile: float) -> tuple[float, float]:
        """The nearest steps to both sides whose fractions exclude `quantile` with 95 % confidence."""
        from scipy.stats import binomtest  # slow to load

        sides = {at: binomtest(n, self.runner.members).proportion_ci(method="wilson") for at, n in self.ups.items()}
        below = [at for at, side in sides.items() if side.high < quantile and at <= low]
        above = [at for at, side in sides.items() if side.low > quantile and at >= high]
        return math.exp(max(below, default=-math.inf)), math.exp(min(above, default=math.inf))


def _answer(tries: _Tries, low: float, high: float, quantile: float, definition: str) -> CriticalStep:
    middle = (low + high) / 2
    step10, step90 = (tries.tail(share) for share in TAILS)
    fractions = {math.exp(at): count / tries.runner.members for at, count in sorted(tries.ups.items())}
    details = {"step10": step10, "step90": step90, "steps": tries.steps, "fractions": fractions}
    ends, status = tries.interval(low, high, quantile), sharpness(step10, step90)
    return CriticalStep(math.exp(middle), *ends, status, "simulation", definition, tries.cost, details)
