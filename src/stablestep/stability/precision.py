"""In which precision runs are followed: float32 where it holds the numbers of a case with room to spare, else float64."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from stablestep.errors import require
from stablestep.norms import SQUARED
from stablestep.stability.start_point import BLOWN, StartPoint

_ADVICE = "scale the problem: c f has steps 1/c times as large, and f(x/c) has steps c² times as large."


class _Room(NamedTuple):
    """What a type holds: numbers that are squared, values of f and steps between 1/most and most; and f − f* beside f."""

    squared: float
    value: float
    step: float
    rest: float


# Steps are sought over 11 powers of ten beyond a first guess.
_ROOMS = {"float32": _Room(1e12, 1e30, 1e26, 1e-3), "float64": _Room(SQUARED, 1e285, 1e285, 1e-9)}


def precision(case: StartPoint, blown: float, *steps: float) -> str:
    """The dtype in which runs from x0 with about these steps keep to what its numbers and their squares hold.

    Raises:
        InvalidInput: where not even float64 does, naming what it does not hold.
    """
    failing = next(_failures(case, steps, "float64"), "")
    require(not failing, failing)
    fits = blown <= BLOWN and next(_failures(case, steps, "float32"), None) is None
    return "float32" if fits else "float64"


def _failures(case: StartPoint, steps: tuple[float, ...], dtype: str) -> Iterator[str]:
    """What the type does not hold, in a sentence each."""
    room, low = _ROOMS[dtype], case.setup.problem.minimum
    gap = abs(case.value - (low or 0.0))
    numbers = [
        ("‖x0‖", math.hypot(*case.point.tolist()), room.squared),
        ("‖∇f(x0)‖", case.gradient_norm, room.squared),
        ("f(x0) − f*" if low is not None else "f(x0)", gap, room.value),
        *(("a step of the search", step, room.step) for step in steps),
    ]
    for name, value, most in numbers:
        if value != 0 and not 1 / most <= value <= most:
            yield f"{name} is {value:.4g}, but runs in {dtype} hold it only between {1 / most:g} and {most:g}; {_ADVICE}"
    if (largest := _largest(case)) > room.squared:
        yield f"the setup holds {largest:.4g}, but runs in {dtype} square it only up to {room.squared:g}; {_ADVICE}"
    if low is not None and case.gradient_norm > 0 and gap <= room.rest * abs(case.value):
        yield (
            f"f(x0) − f* is {gap:.4g} and rounding hides it beside f(x0) = {case.value:.4g} in {dtype}; "
            "subtract a constant from f, or start where it is larger."
        )


def _largest(case: StartPoint) -> float:
    """The largest finite number of the setup."""
    leaves = (np.abs(np.asarray(leaf)) for leaf in jax.tree.leaves(case.setup) if _is_real(leaf))
    return max((float(np.max(leaf, initial=0, where=np.isfinite(leaf))) for leaf in leaves), default=0.0)


def _is_real(leaf) -> bool:
    return isinstance(leaf, (float, np.ndarray, np.generic, jax.Array)) and np.asarray(leaf).dtype.kind == "f"
