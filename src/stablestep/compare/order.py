"""The weak order of a model (P Def. 3.4): its error against η, with a slope and an interval."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import lax
from jaxtyping import Float

from stablestep.compressor import Identity
from stablestep.errors import InvalidInput, require
from stablestep.method import Process, moved
from stablestep.noise import Gaussian
from stablestep.problem import Problem
from stablestep.record import cast, monte_carlo, start, working_dtype
from stablestep.schedule import Constant, Schedule
from stablestep.sde import Model, model
from stablestep.sde.euler import Euler
from stablestep.setup import Setup
from stablestep.stream import Family

_SUB = 8


class Trio(Process):
    """The state (optimizer, model at dt, model at dt/2), one iteration a step, all driven by one Brownian path.

    Gaussian messages are mean + G z/√η exactly, so that the optimizer can share the models' path: their difference is then small from
    path to path, and its mean is found with few runs.
    """

    problem: Problem
    euler: Euler
    coarse: int = eqx.field(static=True)

    def begin(self, stream, x):
        return x, x, x

    def point(self, state):
        return state[0]

    def guarded(self, state):
        return jnp.concatenate(state)

    def step(self, stream, k, state):
        discrete, coarse, fine = state
        model, dt, dtype = self.euler.model, self.euler.dt, discrete.dtype
        t, own = k.astype(dtype) * model.eta, stream.child(k.astype(jnp.uint32), Family.STEP)

        def substep(index, carried):
            coarse, fine, total = carried
            path = own.child(index, Family.SUBSTEP).noise
            normals = [path.normal(discrete.shape[0], dtype, slot) for slot in (0, 1)]
            now = t + index.astype(dtype) * dt
            both = (normals[0] + normals[1]) * jnp.asarray(0.5**0.5, dtype)
            coarse = self.euler.move(now, dt, coarse, both)
            for half, normal in enumerate(normals):
                fine = self.euler.move(now + half * dt / 2, dt / 2, fine, normal)
            return coarse, fine, total + both

        coarse, fine, total = lax.fori_loop(0, self.coarse, substep, (coarse, fine, jnp.zeros_like(discrete)))
        normal = total / jnp.sqrt(jnp.asarray(self.coarse, dtype))
        # The message over η_t is the field, and its noise G z/√η.
        message = model.field(t, discrete) - model.diffusion(t, discrete).mv(normal) / jnp.sqrt(model.eta)
        return moved(discrete, model.eta, message), coarse, fine

    def extra(self, state):
        # Richardson: the error of Euler-Maruyama is of first order in dt, so this leaves the model's own error.
        discrete, coarse, fine = (self.problem.value(x) for x in state)
        return {"difference": 2 * fine - coarse - discrete}


def weak_order(
    setup: Setup,
    kind: str,
    *,
    etas: Sequence[float],
    x0,
    time: float,
    runs: int = 20_000,
    seed: int = 0,
    schedule: Callable[[float], Schedule] = Constant,
    form: str = "corrected",
    substeps: int = _SUB,
) -> xr.Dataset:
    """The weak error max over recorded times of |E f(X_kη) − E f(x_k)| against η, and its slope in log-log (P Def. 3.4).

    The error is taken at t = time. It is measured on coupled paths, with the integration error removed by Richardson extrapolation.

    Args:
        setup: Gaussian noise and no compression (such messages can share the model's Brownian path).
        kind, form: as in `sde.model`.
        etas: at least four step sizes that divide `time`.
        schedule: makes the schedule of an η.
        substeps: η/dt.

    Returns:
        A Dataset over `eta`: `error` and `stderr`; attributes `slope`, `slope_low`, `slope_high` (95 %).

    Raises:
        InvalidInput: for fewer than four etas, other messages, or paths that diverge.

    >>> from stablestep import problem
    >>> from stablestep.setup import Agents
    >>> setup = Setup(problem.Quadratic([1.0]), Agents(1, Gaussian(sigma0=0.1)))
    >>> found = weak_order(setup, "first", etas=[0.2, 0.1, 0.05, 0.025], x0=1.0, time=1.0, runs=500)
    >>> bool(abs(found.slope - 1) < 0.2)
    True
    """
    require(len(set(etas)) >= 4, f"etas has {len(set(etas))} different values, but a slope needs at least four.")
    gaussian = all(isinstance(g.compressor, Identity) and isinstance(g.noise, Gaussian) for g in setup.groups)
    require(
        gaussian,
        "weak_order couples the optimizer to the model's Brownian path, which needs Identity messages under Gaussian noise.",
    )
    found = [_error(model(setup, kind, schedule(eta), form=form), x0, time, runs, seed, substeps) for eta in etas]
    error, stderr = np.array(found).T
    slope, low, high = fit_slope(np.array(etas), error, stderr, seed)
    variables = {"error": ("eta", np.abs(error)), "stderr": ("eta", stderr)}
    attrs = {
        "slope": slope,
        "slope_low": low,
        "slope_high": high,
        "model": kind,
        "form": form,
        "time": time,
        "runs": runs,
        "seed": seed,
    }
    return xr.Dataset(variables, {"eta": list(etas)}, attrs)


def _error(built: Model, x0, time: float, runs: int, seed: int, substeps: int) -> tuple[float, float]:
    steps = round(time / built.eta)
    require(
        abs(steps * built.eta - time) < 1e-6 * time,
        f"η = {built.eta} does not divide time = {time}; choose etas that do.",
    )
    with working_dtype("float64") as kind:
        points = start(x0, cast(built.problem, kind), runs, seed, kind)
        euler = Euler(built.problem, built, built.eta / substeps, False)
        trio = cast(Trio(built.problem, euler, substeps), kind)
        paths = monte_carlo(trio, points, np.array([0, steps], np.int32), seed, 1e9)
    if np.any(paths.diverged_at >= 0):
        raise InvalidInput(
            f"paths diverge at η = {built.eta}; the order is that of a stable range: use smaller etas or a start nearer the minimum."
        )
    difference = paths.observed["difference"][:, -1].astype(float)
    return float(np.mean(difference)), float(np.std(difference, ddof=1) / np.sqrt(runs)) if runs > 1 else 0.0


def fit_slope(etas: Float[np.ndarray, " n"], error, stderr, seed: int = 0) -> tuple[float, float, float]:
    """Slope of log|error| against log η, and its 95 % interval from redrawing the errors within their standard errors.

    >>> fit_slope(np.array([0.1, 0.2, 0.4]), np.array([0.01, 0.04, 0.16]), np.zeros(3))
    (2.0, 2.0, 2.0)
    """
    draws = error + stderr * np.random.default_rng(seed).standard_normal((2000, len(etas)))
    # Errors known to a tenth or better count alike; worse ones count less.
    weight = 1 / np.maximum(np.abs(stderr / error), 0.1) ** 2
    x = np.log(etas) - np.average(np.log(etas), weights=weight)

    def slope(values):
        return np.log(np.abs(values)) @ (weight * x) / (x @ (weight * x))

    low, high = np.quantile(slope(draws), [0.025, 0.975])
    return round(float(slope(np.asarray(error))), 12), round(float(low), 12), round(float(high), 12)
