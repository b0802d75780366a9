"""The mean-square edge by plain simulation: the constant step at which the mean of f neither grows nor falls."""

import numpy as np

from stablestep import schedule
from stablestep.setup import Setup
from stablestep.simulate import simulate


def mean_square_edge(
    setup: Setup, near: float, window: tuple[int, int], runs: int, seed: int, width: float = 1.3
) -> float:
    """The step within a factor `width` of `near` at which E f is the same at both iterations of `window`; NaN if there is none.

    Many coordinates stand for many runs. In a short window, since later the mean is made by runs that are too rare to be met: what is
    found is never much too small, and the larger the noise the more too large.
    """
    etas = near * np.geomspace(1 / width, width, 9)
    steps = window[1]
    found = simulate(
        setup,
        schedule=schedule.Constant(float(near)),
        x0=1.0,
        steps=steps,
        runs=runs,
        seed=seed,
        record=list(window),
        radius=1e12,
        grid={"eta": etas.tolist()},
    )
    mean = found.loss_mean.swap_dims(time="iteration")
    growth = np.log(mean.sel(iteration=steps) / mean.sel(iteration=window[0])).values
    return crossing(np.log(etas), growth)


def crossing(x: np.ndarray, y: np.ndarray) -> float:
    """exp of where y crosses 0 for the last time, from below, by straight lines; NaN if it does not.

    >>> round(crossing(np.log([1.0, 4.0]), np.array([-1.0, 1.0])), 12)
    2.0
    """
    rises = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    if not len(rises):
        return np.nan
    i = rises[-1]
    return float(np.exp(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i])))
