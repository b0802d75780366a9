"""The adaptive ladder of short rollouts of a setup: a few runs, each with its own step."""

import math
from contextlib import suppress

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from stablestep.errors import InvalidInput, whole
from stablestep.method import Method, method
from stablestep.norms import SQUARED, norm
from stablestep.record import cast, working_dtype
from stablestep.schedule import Constant
from stablestep.stability.ladder import LONGEST, TOLERANCE, edge
from stablestep.stability.members import Runner
from stablestep.stability.onestep import one_step_log
from stablestep.stability.precision import precision
from stablestep.stability.start_point import BLOWN, CriticalStep, StartPoint, checked_blown, edge_of
from stablestep.stream import Stream

FEWEST = 30
CLEAR = math.log(1e3)  # what a search makes good by itself


def rollouts(
    case: StartPoint,
    members: int = 16,
    steps: int | None = None,
    longest: int = LONGEST,
    tolerance: float = TOLERANCE,
    blown: float = BLOWN,
) -> CriticalStep:
    """η50(T): the step at which half of the runs end above f(x0) after T steps, T tripled until the answer stays (at most `longest`).

    Args:
        members: runs in each round.
        steps: the first T; by default max(30, 10(1+ω)/N, 10τ) with the delay τ of a memory.
        tolerance: 68 % half-width in log h at which a ladder stops.
        blown: a run whose f − f* passes this many times its start (1000) has blown up, and is not taken back where it would have come
            down again; ∞ for no such threshold.
    """
    members, blown = whole("members", members, least=4), checked_blown(blown)
    case.require_slope()
    length = _first(case) if steps is None else steps
    centre = guess(case)
    runner = Runner(case, members, precision(case, blown, math.exp(centre)), blown)
    return edge(runner, centre, edge_of(blown=blown), length, longest, tolerance)


def _first(case: StartPoint) -> int:
    return max(FEWEST, math.ceil(10 * (1 + _omega(case)) / case.setup.count), _lag(case))


def _omega(case: StartPoint) -> float:
    known = [group.compressor.omega(case.setup.dim) for group in case.setup.groups if group.compressor.unbiased]
    return max(known, default=0.0)


def _lag(case: StartPoint) -> int:
    """Ten times as long as the memory reaches back, where that is known."""
    parts = [
        (lambda: case.setup.server.delay),
        *((lambda g=g: g.compressor.delay(case.setup.dim)) for g in case.setup.groups),
    ]
    known = []
    for part in parts:
        with suppress(InvalidInput):
            known.append(part())
    return math.ceil(10 * max(known, default=0.0))


def guess(case: StartPoint) -> float:
    """log of the one-step criterion, or of the problem's own unit where that has no answer."""
    low = case.setup.problem.minimum
    if case.setup.memory is None and case.value > (0.0 if low is None else low):
        step = one_step_log(case, samples=256).step
        if 0 < step < math.inf:
            return math.log(step)
    return math.log(_unit(case))


def _unit(case: StartPoint) -> float:
    """‖x0‖/‖∇f(x0)‖; where directions are far from the gradient's size, as those of signs may be, the step that moves x0 that far."""
    unit = float(case.dimensionless(np.ones(1))[0])
    if case.setup.memory is None or all(group.compressor.homogeneous for group in case.setup.groups):
        return unit
    with working_dtype("float64") as kind:
        follow, stream = cast(method(case.setup, Constant(1.0)), kind), Stream.seed(case.seed)
        step, wanted = unit, unit * case.gradient_norm
        while 1 / SQUARED < step < SQUARED:
            went = float(_moved(follow, kind.type(step), stream, case.point))
            if 0 < went < math.inf:
                return step * wanted / went if abs(math.log(went / wanted)) > CLEAR else unit
            step *= 1e10 if went == 0 else 1e-10
    return unit


@eqx.filter_jit
def _moved(method: Method, eta, stream: Stream, x):
    """How far one step of this size moves x."""
    own = eqx.tree_at(lambda one: (one.schedule.eta, one.eta), method, (eta, eta))
    return norm(own.point(own.step(stream, jnp.int32(0), own.begin(stream, x))) - x)
