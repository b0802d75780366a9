"""The ODEs of gradient descent, solved tightly, and gradient descent itself."""

import math
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from scipy import integrate

from stablestep import schedule, sde
from stablestep.problem import Problem
from stablestep.record import cast
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

KINDS = ("first", "classic", "new")


class Path(NamedTuple):
    """The loss along a solution; ∞ after an explosion, whose time is NaN if there is none."""

    time: np.ndarray
    loss: np.ndarray
    explosion: float


def flow(f: Problem, kind: str, eta: float, x0: float, time: float) -> Path:
    """The ODE's solution at 101 times; by SciPy, as compiling `sde.integrate` for each drift takes longer than all of these paths."""
    built = sde.model(Setup(f, Agents(1)), kind, schedule.Constant(eta))
    with jax.enable_x64(True):
        leaves, tree = jax.tree.flatten(cast(built, np.dtype("float64")))
        begin = np.array([x0], complex if kind == "principal" else float)
        solved = integrate.solve_ivp(
            lambda _, x: np.asarray(_drift(tree, leaves, x)),
            (0.0, time),
            begin,
            "DOP853",
            dense_output=True,
            rtol=1e-11,
            atol=1e-14,
            events=_outside,
        )
        times = np.linspace(0.0, time, 101)
        reached = times <= solved.t[-1]
        points = np.where(reached, solved.sol(np.minimum(times, solved.t[-1]))[0].real, np.inf)
        # Near an explosion the step gets shorter than rounding allows, or the solution leaves the ball first.
        return Path(times, np.asarray(_values(f, points)), math.nan if solved.status == 0 else solved.t[-1])


def _outside(_, x) -> float:
    return float(np.abs(x[0])) - 1e4


_outside.terminal = True


@partial(jax.jit, static_argnums=0)
def _drift(tree, leaves, x):
    return jax.tree.unflatten(tree, leaves).drift(0.0, x)


@eqx.filter_jit
def _values(f: Problem, points):
    return jax.vmap(f.value)(points[:, None])


def descend(f: Problem, eta: float, x0: float, steps: int, record=None):
    setup = Setup(f, Agents(1))
    return simulate(setup, schedule=schedule.Constant(eta), x0=x0, steps=steps, runs=1, dtype="float64", record=record)
