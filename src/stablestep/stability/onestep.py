"""One step on real messages: the largest step at which f does not grow, in the mean or in the mean of its logarithm."""

import math
from collections.abc import Callable
from dataclasses import replace

import equinox as eqx
import jax
import numpy as np

from stablestep.errors import require, whole
from stablestep.record import cast, working_dtype
from stablestep.stability.lyapunov import linearised, lyapunov
from stablestep.stability.moments import moments
from stablestep.stability.root import ASIDE, FARTHEST, last_bracket, mean_of, root
from stablestep.stability.start_point import CriticalStep, StartPoint, never, symmetric

SCAN = np.geomspace(1e-6, 1e6, 97)
BEYOND = np.geomspace(1e6, 1e60, 55)  # where messages are far from the size of the gradient, as signs and noise may be


def one_step(case: StartPoint, samples: int | None = None) -> CriticalStep:
    """The largest h with E f(x0 − hM) ≤ f(x0).

    With memory f after a step is no function of x0 and h alone. Then x and the memory have the second moments of the long run at that h, of
    the method linearised at x0, so that this is the mean-square edge of the linearised method (`moments`).

    Raises:
        InvalidInput: with memory, where second moments do not close.
    """
    if case.setup.memory is not None:
        return _averaged(case, "one-step", samples, moments, "E f(x⁺) = E f(x)")
    return _largest(case, "one-step", samples, "the largest h with E f(x0 − hM) ≤ f(x0)", lambda grown: grown - 1)


def one_step_log(case: StartPoint, samples: int | None = None) -> CriticalStep:
    """The largest h with E log (f(x0 − hM) − f*)/(f(x0) − f*) ≤ 0.

    With memory the mean is over directions of x and the memory as the long run has them at that h, of the method linearised at x0, so
    that this is its almost-sure edge (`lyapunov`).

    Raises:
        InvalidInput: with memory, for messages that do not grow in proportion to the gradient.
    """
    if case.setup.memory is not None:
        return _averaged(case, "one-step-log", samples, lyapunov, "E log f(x⁺)/f(x) = 0")

    def criterion(grown):
        return np.log(np.maximum(grown, np.finfo(float).tiny))

    return _largest(
        case, "one-step-log", samples, "the largest h with E log (f(x0 − hM) − f*)/(f(x0) − f*) ≤ 0", criterion
    )


def _averaged(
    case: StartPoint, method: str, samples: int | None, edge: Callable[[StartPoint], CriticalStep], criterion: str
) -> CriticalStep:
    require(
        samples is None,
        f'with {case.setup.memory} method="{method}" averages over the long run of the memory and takes no samples; leave samples out.',
    )
    found = edge(replace(case, setup=linearised(case)))
    definition = f"the h with {criterion} over the long run of x and the memory, of the method linearised at x0"
    return replace(found, method=method, definition=definition)


def _largest(
    case: StartPoint, method: str, samples: int | None, definition: str, criterion: Callable[[np.ndarray], np.ndarray]
) -> CriticalStep:
    samples = None if samples is None else whole("samples", samples)
    case.require_slope()
    count = 1 if case.fixed else samples or int(np.clip(2**21 // case.setup.dim, 64, 8192))
    grown, calls = _growth(case, count), 0

    def values(log_step: float) -> np.ndarray:
        nonlocal calls
        calls += 1
        return criterion(grown(math.exp(log_step)))

    low, high = _bracket(case, lambda log_step: mean_of(values(log_step)) > 0)
    if not high - low < math.inf:
        return never(math.inf if math.isinf(high) else 0.0, method, definition, count * (calls + 1))
    found = root(values, low, high, 1e-6)
    interval = symmetric(found.step, found.error)
    status = "exact" if case.fixed else "estimated"
    return CriticalStep(found.step, *interval, status, method, definition, count * (calls + 1), {"samples": count})


def _bracket(case: StartPoint, over: Callable[[float], bool]) -> tuple[float, float]:
    """Neighbours in log h as of `last_bracket`, in the problem's own units, or far beyond them."""

    def sought(sizes: np.ndarray) -> tuple[float, float]:
        logs = np.log(case.dimensionless(sizes)) + ASIDE
        return last_bracket(over, logs[np.abs(logs) < FARTHEST])

    # The mean of f may cross its start several times: a step beyond all of them is too large.
    low, high = sought(SCAN)
    if math.isinf(high):
        return sought(BEYOND)
    return sought(1 / BEYOND[::-1]) if math.isinf(low) else (low, high)


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
