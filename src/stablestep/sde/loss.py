"""The loss as a process of its own (P A.4): its drift and volatility, driven by the model's own Brownian motion."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stablestep.errors import FORMS, instance, one_of, require
from stablestep.later import xarray as xr
from stablestep.method import Process
from stablestep.problem import Problem
from stablestep.record import ball_radius, cast, monte_carlo, recorded, start, working_dtype
from stablestep.sde.check import require_start, steps_of
from stablestep.sde.continuous import Continuous
from stablestep.sde.model import Model
from stablestep.stream import Family


class Joint(Process):
    """The state (X, Y): X by Euler-Maruyama, dY = (Itô drift of f) dt + (∇f·G) dW with the same dW."""

    problem: Problem
    model: Model
    dt: Float[Array, ""] | float
    volatility: Float[Array, ""] | float

    def begin(self, stream, x):
        return x, self.problem.value(x)

    def point(self, state):
        return state[0]

    def guarded(self, state):
        return jnp.append(*state)

    def step(self, stream, k, state):
        point, loss = state
        t = k.astype(point.dtype) * self.dt
        normal = stream.child(k.astype(jnp.uint32), Family.STEP).noise.normal(point.shape[0], point.dtype)
        pushed = self.model.diffusion(t, point).mv(jnp.sqrt(self.dt) * normal)
        gradient = self.problem.gradient(point)
        loss = loss + self.dt * self.model.loss_drift(t, point) + self.volatility * jnp.vdot(gradient, pushed)
        return point + self.dt * self.model.drift(t, point) + pushed, loss

    def extra(self, state):
        return {"process": state[1]}


def loss_process(
    model: Continuous,
    *,
    x0,
    time: float,
    dt: float | None = None,
    runs: int = 100,
    seed: int = 0,
    form: str = "corrected",
    record=None,
    radius: float | None = None,
    dtype: str = "float32",
) -> "xr.Dataset":
    """The loss process Y beside f(X) on the same paths: dY = (∇f·b + ½ tr(H GGᵀ)) dt + ∇fᵀG dW.

    Arguments as in `integrate`; form="printed" takes the volatility of P Eq. 52, which lacks a factor √η. Costs d Hessian products a step.

    Returns:
        A Dataset with `loss` (f(X_t)) and `process` (Y_t), both (run, time), NaN after divergence.

    >>> from stablestep import noise, problem, schedule, sde
    >>> from stablestep.setup import Agents, Setup
    >>> setup = Setup(problem.Quadratic([1.0]), Agents(1, noise.Gaussian(sigma0=0.5)))
    >>> found = loss_process(sde.model(setup, "new", schedule.Constant(0.1)), x0=1.0, time=1.0, dt=0.001)
    >>> bool(abs(found.loss - found.process).max() < 0.05)
    True
    """
    instance("model", model, Continuous, "sde.model(setup, kind, schedule)")
    require(isinstance(model, Model), f'the model "{model.kind}" has a momentum beside the point; use integrate.')
    assert isinstance(model, Model)
    require(not model.noiseless, "a model without noise has no volatility; f along an ODE is what integrate records.")
    one_of("form", form, FORMS)
    steps, step = steps_of(time, dt, model.eta_effective)
    marks = recorded(steps, record)
    with working_dtype(dtype) as kind:
        problem = cast(model.problem, kind)
        points = start(x0, problem, runs, seed, kind)
        require_start(model, points)
        ball = ball_radius(radius, points)
        scale = 1.0 if form == "corrected" else model.eta**-0.5
        process = cast(Joint(model.problem, model, step, scale), kind)
        paths = monte_carlo(process, points, marks, seed, ball)
    gone = (paths.diverged_at[:, None] >= 0) & (paths.diverged_at[:, None] <= marks)
    variables = {"loss": paths.loss, "process": paths.observed["process"]}
    masked = {name: (("run", "time"), np.where(gone, np.nan, values)) for name, values in variables.items()}
    return xr.Dataset(masked, {"time": marks * step}, {"form": form, "dt": step, "seed": seed, "model": model.kind})
