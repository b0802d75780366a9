"""Models without noise as ODEs, by diffrax with error control; explosions are found by an event."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stablestep.errors import require
from stablestep.record.engine import Paths
from stablestep.sde.model import Model


def ode_paths(model: Model, points: Float[Array, "runs d"], times: np.ndarray, radius: float) -> Paths:
    """The solution from each of `points`; `diverged_at` is the time at which it leaves the ball. The principal flow is carried as (Re, Im)."""
    require(model.noiseless, 'method="ode" is for models without noise; use "euler", or a setup whose agents have neither noise nor compressor.')
    complex_ = model.kind == "principal"
    states = jnp.concatenate([points, jnp.zeros_like(points)], axis=1) if complex_ else points
    solved, end = (np.asarray(part) for part in jax.vmap(lambda y: _solve(model, y, jnp.asarray(times), radius, complex_))(states))
    real = jnp.asarray(solved[..., : points.shape[1]])
    value = jax.vmap(jax.vmap(lambda x: model.problem.value(x)))(real)
    gradient = jax.vmap(jax.vmap(lambda x: model.problem.gradient(x)))(real)
    lost = ~(np.linalg.norm(solved[:, -1], axis=1) <= radius)
    return Paths(
        loss=np.asarray(value),
        gradient_norm=np.asarray(jnp.linalg.norm(gradient, axis=2)),
        diverged_at=np.where(lost, end, -1.0),
        observed={},
        final=solved[:, -1, : points.shape[1]],
    )


def _solve(model: Model, state, times, radius: float, complex_: bool):
    def field(t, y, _):
        if not complex_:
            return model.drift(t, y)
        real, imaginary = jnp.split(y, 2)
        flow = model.drift(t, real + 1j * imaginary)
        return jnp.concatenate([flow.real, flow.imag])

    def left(t, y, args, **_):
        return ~(jnp.sum(y * y) <= radius**2)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Dopri8(),
        times[0],
        times[-1],
        None,
        state,
        saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=times), diffrax.SubSaveAt(t1=True)]),
        stepsize_controller=diffrax.PIDController(rtol=1e-9, atol=1e-12, dtmin=1e-14, force_dtmin=True),
        event=diffrax.Event(left),
        max_steps=100_000,
        throw=False,
    )
    return solution.ys[0], solution.ts[1][0]
