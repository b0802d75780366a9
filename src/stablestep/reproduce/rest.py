"""Where many runs are after long: moments of the point on a quadratic, with standard errors."""

import numpy as np

from stablestep import schedule
from stablestep.reproduce.measure import Measured, mean
from stablestep.setup import Setup
from stablestep.simulate import simulate


def at_rest(setup: Setup, eta: float, relaxations: float, runs: int, seed: int, x0=0.0, dtype="float32") -> np.ndarray:
    """The points [runs, d] after the time t = kη = `relaxations` with the constant step η."""
    steps = max(1, round(relaxations / eta))
    found = simulate(
        setup,
        schedule=schedule.Constant(eta),
        x0=x0,
        steps=steps,
        runs=runs,
        seed=seed,
        record=2,
        final=True,
        dtype=dtype,
    )
    return found.final_state.values.astype(float)


def mean_square(points: np.ndarray) -> Measured:
    """E‖x‖².

    >>> mean_square(np.array([[1.0, 0.0], [1.0, 1.0]]))
    (1.5, 0.5)
    """
    return mean(np.sum(points**2, axis=1))
