"""The adaptive ladder of short rollouts of a setup: a few runs, each with its own step."""

import math
from contextlib import suppress

import numpy as np

from stablestep.errors import InvalidInput, whole
from stablestep.stability.ladder import LONGEST, TOLERANCE, edge
from stablestep.stability.members import Runner
from stablestep.stability.onestep import one_step_log
from stablestep.stability.start_point import BLOWN, CriticalStep, StartPoint, checked_blown, edge_of

FEWEST = 30


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
    runner = Runner(case, members, precision(blown), blown)
    return edge(runner, guess(case), edge_of(blown=blown), length, longest, tolerance)


def precision(blown: float) -> str:
    """The dtype in which values up to the threshold are numbers."""
    return "float32" if blown <= BLOWN else "float64"


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
    return float(np.log(case.dimensionless(np.ones(1)))[0])
