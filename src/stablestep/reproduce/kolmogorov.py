"""Mean losses of sign descent and of its SDE models in one dimension without sampling, to compare drifts far below Monte Carlo error."""

from collections.abc import Callable

import numpy as np
from scipy.linalg import solve_banded

from stablestep.noise import student

Function = Callable[[np.ndarray], np.ndarray]


def discrete_losses(
    f: Function, slope: Function, sigma: float, df: float, eta: float, steps: int, starts: np.ndarray
) -> np.ndarray:
    """E f(x_k), k = 0 … steps, of x ← x − η sign(f'(x) + σ t_ν), averaged over `starts`, by exact backward recursion on each lattice."""
    reach = np.arange(-steps, steps + 1)
    lattice = starts[:, None] + eta * reach
    down = 0.5 + student.Xi(slope(lattice) / sigma, df)  # the message is +1, the point moves down
    value = f(lattice)
    means = [float(np.mean(value[:, steps]))]
    for _ in range(steps):
        below, above = np.roll(value, 1, axis=1), np.roll(value, -1, axis=1)
        value = down * below + (1 - down) * above
        means.append(float(np.mean(value[:, steps])))
    return np.array(means)


def continuous_losses(
    f: Function, drift: np.ndarray, variance: np.ndarray, grid: np.ndarray, dt: float, steps: int, starts: np.ndarray
) -> np.ndarray:
    """E f(X_t), t = 0, dt, …, of dX = drift dt + √variance dW, averaged over `starts`: Crank-Nicolson on u_t = b u' + ½ v u''.

    At the ends of the grid the second derivative is dropped and the first is one-sided.
    """
    bands = _generator(drift, variance, grid)
    value = f(grid)
    means = [float(np.mean(np.interp(starts, grid, value)))]
    left = -dt / 2 * bands
    left[1] += 1
    for _ in range(steps):
        value = solve_banded((1, 1), left, value + dt / 2 * _apply(bands, value))
        means.append(float(np.mean(np.interp(starts, grid, value))))
    return np.array(means)


def _generator(drift, variance, grid) -> np.ndarray:
    """The three diagonals of b d/dx + ½ v d²/dx², in the layout of `solve_banded`."""
    h = grid[1] - grid[0]
    upper, lower = drift / (2 * h) + variance / (2 * h**2), -drift / (2 * h) + variance / (2 * h**2)
    middle = -variance / h**2
    upper[0], middle[0] = drift[0] / h, -drift[0] / h
    lower[-1], middle[-1] = -drift[-1] / h, drift[-1] / h
    return np.array([np.append(0, upper[:-1]), middle, np.append(lower[1:], 0)])


def _apply(bands, value) -> np.ndarray:
    total = bands[1] * value
    total[:-1] += bands[0][1:] * value[1:]
    total[1:] += bands[2][:-1] * value[:-1]
    return total
