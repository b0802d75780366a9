"""The weak order of a model (P Def. 3.4), on coupled paths: its error against η, and the order that it supports."""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import lax

from stablestep.compare.scaling import order_table, require_etas
from stablestep.compressor import Identity
from stablestep.errors import InvalidInput, require, seed_of, whole
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
        return moved(discrete, jnp.asarray(model.eta, dtype), message), coarse, fine

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
    """The weak error E f(X_t) − E f(x_k) at t = kη = time against η, and the order that it supports (P Def. 3.4, at this one time).

    The error is measured on coupled paths, with the integration error removed by Richardson extrapolation; each η has its own random
    numbers. When an order is given, when it is "undecided", and how often wrongly: `stablestep.compare.scaling.scaling`.

    Args:
        setup: Gaussian noise and no compression (such messages can share the model's Brownian path).
        kind, form: as in `sde.model`.
        etas: at least four step sizes that divide `time`.
        runs: at least two; an order needs errors known to about 2 % where there are four etas, to 5 % where there are six.
        schedule: makes the schedule of an η.
        substeps: η/dt.

    Returns:
        A Dataset over `eta`: the signed `error` and its `stderr`; attributes `order` (a number or "undecided"), `reason`, `slope` (of
        log|error| as η → 0), `slope_low`, `slope_high` (95 %: sampling and the departure from a power law), and these two parts,
        `slope_stderr` and `slope_departure`.

    Raises:
        InvalidInput: for fewer than four etas, other messages, or paths that diverge.

    >>> from stablestep import problem
    >>> from stablestep.setup import Agents
    >>> setup = Setup(problem.Quadratic([1.0]), Agents(1, Gaussian(sigma0=0.1)))
    >>> weak_order(setup, "first", etas=[0.2, 0.1, 0.05, 0.025], x0=1.0, time=1.0, runs=500).order
    1
    """
    require_etas(etas)
    runs = whole("runs", runs, least=2)
    gaussian = all(isinstance(g.compressor, Identity) and isinstance(g.noise, Gaussian) for g in setup.groups)
    require(
        gaussian,
        "weak_order couples the optimizer to the model's Brownian path, which needs Identity messages under Gaussian noise.",
    )
    seeds = np.random.SeedSequence(seed_of(seed)).generate_state(len(etas), np.uint64)
    models = [model(setup, kind, schedule(eta), form=form) for eta in etas]
    found = [_error(built, x0, time, runs, int(own), substeps) for built, own in zip(models, seeds, strict=True)]
    error, stderr = np.array(found).T
    return order_table(etas, error, stderr, model=kind, form=form, time=time, runs=runs, seed=seed)


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
    return float(np.mean(difference)), float(np.std(difference, ddof=1) / np.sqrt(runs))
