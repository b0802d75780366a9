"""One step on real messages: the largest step at which f does not grow, in the mean or in the mean of its logarithm."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np
from scipy.optimize import brentq

from stablestep.errors import require
from stablestep.record import cast, working_dtype
from stablestep.stability.start_point import CriticalStep, StartPoint, symmetric

SCAN = np.geomspace(1e-6, 1e6, 97)


def one_step(case: StartPoint, samples: int | None = None) -> CriticalStep:
    """The largest h with E f(x0 − hM) ≤ f(x0)."""
    return _largest(case, "one-step", samples, "the largest h with E f(x0 − hM) ≤ f(x0)", lambda grown: grown - 1)


def one_step_log(case: StartPoint, samples: int | None = None) -> CriticalStep:
    """The largest h with E log (f(x0 − hM) − f*)/(f(x0) − f*) ≤ 0."""

    def criterion(grown):
        return np.log(np.maximum(grown, np.finfo(float).tiny))

    return _largest(
        case, "one-step-log", samples, "the largest h with E log (f(x0 − hM) − f*)/(f(x0) − f*) ≤ 0", criterion
    )


def _largest(
    case: StartPoint, method: str, samples: int | None, definition: str, criterion: Callable[[np.ndarray], np.ndarray]
) -> CriticalStep:
    require(samples is None or samples >= 1, f"samples is {samples}, but must be at least 1.")
    case.require_memoryless(method)
    case.require_slope()
    count = 1 if case.fixed else samples or int(np.clip(2**21 // case.setup.dim, 64, 8192))
    grown = _growth(case, count)
    calls = 0

    def mean(log_step: float) -> float:
        nonlocal calls
        calls += 1
        value = float(np.mean(criterion(grown(math.exp(log_step)))))
        return value if not math.isnan(value) else math.inf

    logs = np.log(case.dimensionless(SCAN))
    signs = np.array([mean(log_step) for log_step in logs]) <= 0
    cost = count * (calls + 1)
    if signs[-1] or not signs.any():
        step = math.inf if signs[-1] else 0.0
        return CriticalStep(step, step, step, "never", method, definition, cost)
    last = int(np.flatnonzero(signs)[-1])
    root = float(brentq(mean, logs[last], logs[last + 1], xtol=1e-6))  # pyright: ignore[reportArgumentType]
    low, high = symmetric(math.exp(root), _error(root, grown, criterion))
    status = "exact" if case.fixed else "sharp"
    return CriticalStep(math.exp(root), low, high, status, method, definition, count * (calls + 1), {"samples": count})


def _error(root: float, grown: Callable, criterion: Callable) -> float:
    """Standard error of log h: that of the mean, over the mean's slope."""
    values = criterion(grown(math.exp(root)))
    if len(values) == 1:
        return 0.0
    ahead, behind = (float(np.mean(criterion(grown(math.exp(root + shift))))) for shift in (0.02, -0.02))
    slope = abs(ahead - behind) / 0.04
    return float(np.std(values) / math.sqrt(len(values))) / slope if slope > 0 else math.inf


def _growth(case: StartPoint, count: int) -> Callable[[float], np.ndarray]:
    """h ↦ (f(x0 − hM) − f*)/(f(x0) − f*) for each of `count` messages M, the same at every h."""
    low = case.setup.problem.minimum
    low = 0.0 if low is None else low
    gap = case.value - low
    require(
        gap > 0,
        f"f(x0) is {case.value:.6g}, not above its infimum (or above 0, where the infimum is unknown); "
        "add a constant to f or give its minimum.",
    )
    with working_dtype("float64") as kind:
        law, problem = cast(case.law, kind), cast(case.setup.problem, kind)
        messages = case.messages(law, count)

    def grown(step: float) -> np.ndarray:
        with working_dtype("float64"):
            return (np.asarray(_values(problem, case.point, messages, np.float64(step))) - low) / gap

    return grown


@eqx.filter_jit
def _values(problem, x, messages, step):
    return jax.lax.map(lambda message: problem.value(x - step * message), messages, batch_size=64)
