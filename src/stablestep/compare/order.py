"""The weak order of a model (P Def. 3.4), on coupled paths: its error against η, and the order that it supports."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from stablestep.compare.scaling import order_table, require_etas
from stablestep.compressor import Identity
from stablestep.errors import InvalidInput, instance, positive, require, seed_of, whole
from stablestep.method import Process, moved
from stablestep.noise import Gaussian
from stablestep.problem import Problem
from stablestep.progress import Watched, watched
from stablestep.record import cast, monte_carlo, working_dtype
from stablestep.record import start as start_points
from stablestep.schedule import Constant, Normalized, Schedule
from stablestep.sde import Continuous, model
from stablestep.sde.euler import Euler, flat
from stablestep.sde.root import root_of
from stablestep.sde.solve import start_of
from stablestep.server import Server
from stablestep.setup import Setup
from stablestep.stream import Family

if TYPE_CHECKING:
    import xarray as xr

_SUB = 8


class Trio(Process):
    """The state (optimizer, model at dt, model at dt/2), one iteration a step, all driven by one Brownian path.

    Gaussian messages are mean − C^½ z exactly, so that the optimizer can share the models' path: their difference is then small from
    path to path, and its mean is found with few runs.
    """

    problem: Problem
    euler: Euler
    server: Server
    eta: Float[Array, ""] | float
    coarse: int = eqx.field(static=True)
    shifted: bool = eqx.field(static=True)

    def begin(self, stream, x):
        model = self.euler.model
        state = model.begin(model.start(x) if self.shifted else x)
        return (x, self.server.memory(self.problem.gradient(x))), state, state

    def point(self, state):
        return state[0][0]

    def guarded(self, state):
        return flat(state)

    def step(self, stream, k, state):
        discrete, coarse, fine = state
        (x, memory), dt, dtype = discrete, self.euler.dt, discrete[0].dtype
        model = self.euler.model
        t, own = k.astype(dtype) * model.tick, stream.child(k.astype(jnp.uint32), Family.STEP)

        def substep(index, carried):
            coarse, fine, total = carried
            path = own.child(index, Family.SUBSTEP).noise
            normals = [path.normal(x.shape[0], dtype, slot) for slot in (0, 1)]
            now = t + index.astype(dtype) * dt
            both = (normals[0] + normals[1]) * jnp.asarray(0.5**0.5, dtype)
            coarse = self.euler.move(now, dt, coarse, both)
            for half, normal in enumerate(normals):
                fine = self.euler.move(now + half * dt / 2, dt / 2, fine, normal)
            return coarse, fine, total + both

        coarse, fine, total = lax.fori_loop(0, self.coarse, substep, (coarse, fine, jnp.zeros_like(x)))
        normal = total / jnp.sqrt(jnp.asarray(self.coarse, dtype))
        message = model.law.mean(x) - root_of(model.law.covariance(x), x).mv(normal)
        direction, memory = self.server.turn(message, memory)
        step = model.rate(t, x) * self.eta
        return (moved(x, step, direction), memory), coarse, fine

    def extra(self, state):
        # Richardson: the error of Euler-Maruyama is of first order in dt, so this leaves the model's own error.
        model = self.euler.model
        discrete, coarse, fine = (
            self.problem.value(x) for x in (state[0][0], model.point(state[1]), model.point(state[2]))
        )
        return {"difference": 2 * fine - coarse - discrete}


def weak_order(
    setup: Setup | Callable[[float], Setup],
    kind: str,
    *,
    etas: Sequence[float],
    x0,
    time: float,
    runs: int = 20_000,
    seed: int = 0,
    schedule: Callable[[float], Schedule] = Constant,
    start: str | None = None,
    form: str = "corrected",
    substeps: int = _SUB,
    progress: Watched = True,
) -> "xr.Dataset":
    """The weak error E f(X_t) − E f(x_k) at t = time, k = t/η (t/η_e with memory), against η, and its order (P Def. 3.4, at this time).

    The error is measured on coupled paths, with the integration error removed by Richardson extrapolation; each η has its own random
    numbers. When an order is given, when it is "undecided", and how often wrongly: `stablestep.compare.scaling.scaling`.

    Args:
        setup: Gaussian noise and no compression (such messages can share the model's Brownian path), and any server with a model; or a
            function that gives the setup of an η, for the underdamped models. `quadratic_order` knows agents' memories too.
        kind, form: as in `sde.model`.
        start: as in `integrate`.
        etas: at least four step sizes, of which whole numbers of iterations make `time`.
        runs: at least two; an order needs errors known to about 2 % where there are four etas, to 5 % where there are six.
        schedule: makes the schedule of an η.
        substeps: how many dt make one iteration.
        progress: as of `simulate`.

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
    time, substeps = positive("time", time), whole("substeps", substeps)
    require_etas(etas)
    runs = whole("runs", runs, least=2)
    made = setup if callable(setup) and not isinstance(setup, Setup) else (lambda eta: setup)
    cases = [(made(eta), schedule(eta)) for eta in etas]
    for case, its_schedule in cases:
        instance("setup", case, Setup, "Setup(problem, Agents(4))")
        _require_gaussian(case, its_schedule)
    seeds = np.random.SeedSequence(seed_of(seed)).generate_state(len(etas), np.uint64)
    models = [model(case, kind, its_schedule, form=form) for case, its_schedule in cases]
    servers = [case.server for case, _ in cases]
    found = []
    with watched("weak order", progress) as told:
        for number, (built, server, own) in enumerate(zip(models, servers, seeds, strict=True)):
            told.part(number / len(etas), (number + 1) / len(etas))
            shifted = start_of(built, start) == "shifted"
            found.append(_error(built, server, x0, time, runs, int(own), substeps, shifted))
    error, stderr = np.array(found).T
    return order_table(etas, error, stderr, model=kind, form=form, time=time, runs=runs, seed=seed)


def _require_gaussian(setup: Setup, schedule: Schedule) -> None:
    gaussian = all(isinstance(g.compressor, Identity) and isinstance(g.noise, Gaussian) for g in setup.groups)
    require(
        gaussian and not isinstance(schedule, Normalized),
        "weak_order couples the optimizer to the model's Brownian path, which needs Identity messages under Gaussian noise.",
    )


def _error(
    built: Continuous, server: Server, x0, time: float, runs: int, seed: int, substeps: int, shifted: bool
) -> tuple[float, float]:
    tick = float(built.tick)
    steps = round(time / tick)
    require(
        abs(steps * tick - time) < 1e-6 * time,
        f"η = {built.eta} does not divide time = {time} into whole iterations of {tick:g}; choose etas that do.",
    )
    with working_dtype("float64") as kind:
        points = start_points(x0, cast(built.problem, kind), runs, seed, kind)
        euler = Euler(built.problem, built, tick / substeps, False)
        trio = cast(Trio(built.problem, euler, server, built.eta, substeps, shifted), kind)
        paths = monte_carlo(trio, points, np.array([0, steps], np.int32), seed, 1e9)
    if np.any(paths.diverged_at >= 0):
        raise InvalidInput(
            f"paths diverge at η = {built.eta}; the order is that of a stable range: use smaller etas or a start nearer the minimum."
        )
    difference = paths.observed["difference"][:, -1].astype(float)
    return float(np.mean(difference)), float(np.std(difference, ddof=1) / np.sqrt(runs))
