"""Where runs end up, over two parameters: the step, and anything else."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from stablestep.errors import InvalidInput, nearest, require
from stablestep.setup import Setup
from stablestep.stability.critical import METHODS
from stablestep.stability.members import EDGE, Runner
from stablestep.stability.start_point import start_point
from stablestep.vary import vary

LINES = ("theorem", "coordinate-wise", "loss-model")


def edge_map(
    setup: Setup,
    *,
    x0,
    eta: Sequence[float] | Float[np.ndarray, " etas"],
    steps: int = 100,
    runs: int = 32,
    seed: int = 0,
    lines: Sequence[str] = LINES,
    **parameter: Sequence,
) -> xr.Dataset:
    """The fraction of runs that blow up, or end above f(x0), over the step and one parameter of the setup, or x0 itself.

    Args:
        x0: a start as elsewhere; or, where no parameter is given, a list of starts (numbers), which is then what varies.
        eta: constant steps.
        parameter: one name and its values, such as omega=[1, 2, 4], count=[1, 4, 16], sigma1=… or df=….
        lines: predictors whose step is computed at each value; NaN where one does not apply.

    Returns:
        A Dataset with `up` and `blown` (parameter, eta) and `predicted` (predictor, parameter).

    Raises:
        InvalidInput: if more than one parameter is varied, or the setup has none of that name.

    >>> from stablestep import problem
    >>> from stablestep.setup import Agents
    >>> setup = Setup(problem.EvenPower(1, power=4), Agents(1))
    >>> edge_map(setup, x0=1.0, eta=[0.2, 1.9, 2.1], power=[2, 4], runs=1).up.values.tolist()
    [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """
    require(isinstance(setup, Setup), f"setup is {setup!r}, but must be a Setup(problem, Agents(…), …).")
    require(len(parameter) <= 1, f"one parameter can be varied beside eta, but {len(parameter)} are given.")
    (name, values), etas = next(iter(parameter.items()), ("x0", x0)), np.asarray(eta, float)
    require(np.ndim(values) == 1, f"{name} is {values}, but must list the values that are varied.")
    positive = etas.ndim == 1 and len(etas) > 0 and bool(np.all((etas > 0) & np.isfinite(etas)))
    require(positive, f"eta is {eta}, but must list positive steps.")
    require(len(values) > 0, f"{name} has no values; give at least one.")
    require(steps >= 1, f"steps is {steps}, but must be at least 1.")
    require(runs >= 1, f"runs is {runs}, but must be at least 1.")
    for line in lines:
        require(line in METHODS, f'there is no method "{line}" to draw. {nearest(str(line), METHODS)}')
    rows = [_row(setup, x0, name, value, etas, steps, runs, seed, lines) for value in values]
    up, blown, predicted = (np.array(part) for part in zip(*rows))
    variables: dict[str, Any] = {
        "up": ((name, "eta"), up),
        "blown": ((name, "eta"), blown),
        "predicted": (("predictor", name), predicted.T),
    }
    coordinates = {name: list(values), "eta": etas, "predictor": list(lines)}
    return xr.Dataset(variables, coordinates, {"edge": EDGE, "steps": steps, "runs": runs, "seed": seed})


def _row(setup: Setup, x0, name: str, value, etas, steps: int, runs: int, seed: int, lines: Sequence[str]):
    at = start_point(setup if name == "x0" else vary(setup, name, value), value if name == "x0" else x0, seed)
    runner = Runner(at, runs * len(etas))
    ended = runner(np.repeat(etas, runs), steps)
    shape = (len(etas), runs)
    predicted = [_predicted(at, line) for line in lines]
    return ended.up.reshape(shape).mean(axis=1), ended.blown.reshape(shape).mean(axis=1), predicted


def _predicted(at, line: str) -> float:
    try:
        return METHODS[line](at).step
    except InvalidInput:
        return math.nan
