"""Where runs end up, over two parameters: the step, and anything else."""

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from os import PathLike

import numpy as np
from jaxtyping import Float

from stablestep.errors import InvalidInput, Numbers, instance, listed, nearest, numbers, require, shown, whole
from stablestep.later import xarray as xr
from stablestep.progress import Watched, watched
from stablestep.setup import Setup
from stablestep.stability.critical import METHODS
from stablestep.stability.members import Runner
from stablestep.stability.precision import precision
from stablestep.stability.start_point import BLOWN, StartPoint, checked_blown, edge_of, start_point
from stablestep.sweep import sweep

LINES = ("theorem", "coordinate-wise", "loss-model")


def edge_map(
    setup: Setup,
    *,
    x0,
    eta: Numbers,
    steps: int = 100,
    runs: int = 32,
    seed: int = 0,
    lines: Sequence[str] = LINES,
    blown: float = BLOWN,
    store: str | PathLike | None = None,
    executor: Executor | None = None,
    progress: Watched = True,
    **parameter: Sequence,
) -> "xr.Dataset":
    """The fraction of runs that blow up, or end above f(x0), over the step and one parameter of the setup, or x0 itself.

    Args:
        x0: a start as elsewhere; or, where no parameter is given, a list of starts (numbers), which is then what varies.
        eta: constant steps.
        steps, runs: of each point of the map.
        blown: a run whose f − f* passes this many times its start (1000) has blown up; ∞ for no such threshold.
        store, executor, progress: as of `sweep`: a folder that keeps what is finished, what computes, and who is told how far it is.
        parameter: one name and its values, such as omega=[1, 2, 4], count=[1, 4, 16], sigma1=… or df=….
        lines: predictors whose step is computed at each value; NaN where one does not apply.

    Returns:
        A Dataset with `up` and `blown` (parameter, eta) and `predicted` (predictor, parameter).

    Raises:
        InvalidInput: if more than one parameter is varied, the setup has none of that name, or float64 does not hold its numbers.

    >>> from stablestep import problem
    >>> from stablestep.setup import Agents
    >>> setup = Setup(problem.EvenPower(1, power=4), Agents(1))
    >>> edge_map(setup, x0=1.0, eta=[0.2, 1.9, 2.1], power=[2, 4], runs=1).up.values.tolist()
    [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """
    instance("setup", setup, Setup, "Setup(problem, Agents(4))")
    require(len(parameter) <= 1, f"one parameter can be varied beside eta, but {len(parameter)} are given.")
    (name, values), etas = next(iter(parameter.items()), ("x0", x0)), _steps(eta)
    require(np.ndim(values) == 1, f"{name} is {shown(values)}, but must list the values that are varied.")
    require(len(values) > 0, f"{name} has no values; give at least one.")
    steps, runs, blown = whole("steps", steps), whole("runs", runs), checked_blown(blown)
    lines = listed("lines", lines, "theorem")
    for line in lines:
        require(line in METHODS, f'there is no method "{line}" to draw. {nearest(str(line), METHODS)}')
    options = {"etas": etas, "steps": steps, "runs": runs, "seed": seed, "lines": tuple(lines), "blown": blown}
    start = {} if name == "x0" else {"x0": x0}
    with watched("edge map", progress):
        found = sweep(_row, setup, {name: values}, store=store, executor=executor, **start, **options)
    if "failure" in found:
        raise InvalidInput(next(words for words in found["failure"].values.tolist() if words))
    attributes = {"edge": edge_of(blown=blown), "steps": steps, "runs": runs, "seed": seed}
    coordinates = {name: list(values), "eta": etas, "predictor": lines}
    variables = found.transpose("predictor", name, "eta")[["up", "blown", "predicted"]].variables
    return xr.Dataset({key: variables[key].load() for key in ("up", "blown", "predicted")}, coordinates, attributes)


def _row(
    setup: Setup, x0, etas: np.ndarray, steps: int, runs: int, seed: int, lines: Sequence[str], blown: float
) -> "xr.Dataset":
    """One value of the parameter: where runs end at each step, and what the predictors say."""
    at = start_point(setup, x0, seed)
    up, over = _ends(at, etas, steps, runs, blown)
    predicted = np.array([_predicted(at, line) for line in lines])
    return xr.Dataset({"up": ("eta", up), "blown": ("eta", over), "predicted": ("predictor", predicted)})


def _steps(eta) -> Float[np.ndarray, " etas"]:
    words = f"eta is {shown(eta)}, but must list positive steps."
    try:
        etas = numbers("eta", eta)
    except InvalidInput as error:
        raise InvalidInput(words) from error
    require(etas.ndim == 1 and len(etas) > 0 and bool(np.all((etas > 0) & np.isfinite(etas))), words)
    return etas


def _ends(at: StartPoint, etas: np.ndarray, steps: int, runs: int, blown: float) -> tuple[np.ndarray, np.ndarray]:
    """The fractions of runs that end up, and that blow up, at each step."""
    runner = Runner(at, runs * len(etas), precision(at, blown, *etas.tolist()), blown)
    ended = runner(np.repeat(etas, runs), steps)
    shape = (len(etas), runs)
    return ended.up.reshape(shape).mean(axis=1), ended.blown.reshape(shape).mean(axis=1)


def _predicted(at, line: str) -> float:
    try:
        return METHODS[line](at).step
    except InvalidInput:
        return math.nan
