"""The exact moments of a method on a quadratic, step by step: no sampling, no leading order."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from stablestep.errors import InvalidInput, flag, instance, numbers, positive, require, shown, whole
from stablestep.later import xarray as xr
from stablestep.message.edges import edges, require_bowl, stationary
from stablestep.message.recursion import Linear, Moments, linear, recursion
from stablestep.setup import Setup

MOST = 2**27  # numbers that a result may hold
LARGEST = 256  # coordinates of a Hessian that is not diagonal, up to which the stationary state is looked for


def moments(setup: Setup, eta: float, x0, steps: int, *, full: bool = False, thresholds: bool = False) -> "xr.Dataset":
    """E x_k, E x_k x_kᵀ and E f(x_k) of x ← x − η · (what the server makes of the mean message), exactly.

    For gradients that are affine in x (Quadratic, of each group its own, or any problem with such a gradient), messages that are linear
    given their masks (Identity, RandomSparsification, RandK, scaled or not, own, shared or common; inside ErrorFeedback, EF21, Momentum,
    nested as you like), linear servers (Plain, HeavyBall in all variants), and noise of variance σ0² + σ1²‖∇f_i‖². O(d) a step where every
    Hessian is diagonal, else O(d²) numbers and a product of d × d matrices for each memory.

    Args:
        setup: the problem, its agents and their server.
        eta: η, constant.
        x0: a number, or a vector [d].
        steps: how many.
        full: keep `second_moment`, the matrices E x xᵀ [time, d, d].
        thresholds: find the largest steps at which second and first moments stay bounded (attributes `critical_step`,
            `first_moment_step`).

    Returns:
        A Dataset over `time` = kη (with `iteration` beside it): `x_mean` [time, coordinate], `x_square` = E‖x‖², `loss` = E f(x).
        Attributes: `stationary_loss`, what E f converges to (inf if second moments grow, "unknown" if it was not found), and `minimum`
        of f.

    Raises:
        InvalidInput: where second moments do not close (Top-k, signs, roundings, clipping), noise has no variance, f is not positive
            definite, or a number is out of range.

    >>> from stablestep.problem import Quadratic
    >>> from stablestep.setup import Agents
    >>> found = moments(Setup(Quadratic([1.0]), Agents(1)), eta=0.5, x0=1.0, steps=2)
    >>> found.loss.values.tolist(), found.attrs["stationary_loss"]
    ([0.5, 0.125, 0.03125], 0.0)
    """
    instance("setup", setup, Setup, "Setup(problem, Agents(4))")
    eta, steps = positive("eta", eta), whole("steps", steps)
    full, thresholds = flag("full", full), flag("thresholds", thresholds)
    held = (steps + 1) * setup.dim * (setup.dim if full else 1)
    require(
        held <= MOST,
        f"{steps} steps of {setup.dim} coordinates are {held:.2g} numbers, but at most {MOST:.2g} are kept; take fewer steps.",
    )
    point = _point(x0, setup.dim)
    method = linear(setup, dense=full)
    require_bowl(method)
    found = _dataset(eta, list(_paths(method, eta, point, steps, full)), full)
    found.attrs |= {"eta": eta, "x0": str(x0), "steps": steps, "minimum": _minimum(method)}
    found.attrs["stationary_loss"] = _level(linear(setup) if full else method, eta)
    if thresholds:
        both = edges(linear(setup))
        found.attrs |= {"critical_step": both.mean_square, "first_moment_step": both.first_moment}
    return found


def _point(x0, dim: int) -> Float[np.ndarray, " d"]:
    if callable(x0):
        raise InvalidInput(
            f"x0 is {shown(x0)}, but moments start at one point; give a number or a vector of length {dim}."
        )
    point = numbers("x0", x0)
    fits = point.shape in ((), (dim,)) and bool(np.all(np.isfinite(point)))
    require(fits, f"x0 is {shown(x0)}, but must be a finite number or a vector of length {dim}.")
    return np.broadcast_to(point, (dim,)).astype(float)


def _paths(method: Linear, eta: float, x0: np.ndarray, steps: int, full: bool) -> Iterator[tuple]:
    """(E x, the diagonal of E x xᵀ, E f, and the whole E x xᵀ if it is wanted) at 0, …, steps."""
    step = recursion(method, eta)
    found = step.begin(x0)
    for k in range(steps + 1):
        second = found.second[0, 0]
        yield found.mean[0], method.algebra.diagonal(second).copy(), loss(method, found), second if full else None
        with np.errstate(over="ignore", invalid="ignore"):
            found = step.step(found, first=k == 0)


def loss(method: Linear, found: Moments) -> float:
    """E f(x) = ½ tr(H E xxᵀ) + b·E x + f(0)."""
    average = method.average
    with np.errstate(over="ignore", invalid="ignore"):
        curved = float(np.sum(average.hessian * found.second[0, 0])) / 2
        value = curved + float(average.slope @ found.mean[0]) + average.value
    return value if np.isfinite(value) else np.inf


def _dataset(eta: float, rows: list[tuple], full: bool) -> "xr.Dataset":
    means, squares, losses, seconds = zip(*rows, strict=True)
    total = np.sum(np.array(squares), axis=1)
    variables = {
        "x_mean": (("time", "coordinate"), np.array(means)),
        "x_square": ("time", np.where(np.isfinite(total), total, np.inf)),
        "loss": ("time", np.array(losses)),
    }
    if full:
        variables["second_moment"] = (("time", "coordinate", "other"), np.array(seconds))
    iteration = np.arange(len(rows))
    found = xr.Dataset(variables, {"time": iteration * eta, "iteration": ("time", iteration)})
    found["time"].attrs["long_name"] = "t = kη"
    return found


def _minimum(method: Linear) -> float:
    average = method.average
    hessian = average.hessian
    rest = average.slope / hessian if hessian.ndim == 1 else np.linalg.solve(hessian, average.slope)
    return float(average.value - average.slope @ rest / 2)


def _level(method: Linear, eta: float) -> float | str:
    """E f of the stationary state."""
    if method.average.hessian.ndim == 2 and method.dim > LARGEST:
        return "unknown"
    try:
        found = stationary(method, eta)
    except InvalidInput:  # it was not found
        return "unknown"
    return np.inf if found is None else loss(method, found)
