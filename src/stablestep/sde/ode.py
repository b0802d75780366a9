"""Models without noise as ODEs, by diffrax with error control; explosions are found by an event."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from stablestep.errors import require
from stablestep.record import Paths, cast
from stablestep.sde.continuous import Continuous


def ode_paths(model: Continuous, points: Float[Array, "runs d"], times: np.ndarray, radius: float) -> Paths:
    """The solution from each of `points`; `diverged_at` is the time at which it leaves the ball.

    The principal flow is carried as (Re, Im).
    """
    require(
        model.noiseless,
        'method="ode" is for models without noise; use "euler", or a setup whose agents have neither noise nor compressor.',
    )
    states = jnp.concatenate([points, jnp.zeros_like(points)], axis=1) if model.kind == "principal" else points
    built, grid, ball = cast((model, times, radius), points.dtype)  # arrays, so that new values do not recompile
    solved, end, value, norm = (np.asarray(part) for part in _solve(built, grid, ball, states))
    lost = ~(np.linalg.norm(solved[:, -1], axis=1) <= radius)
    return Paths(
        loss=value,
        gradient_norm=norm,
        diverged_at=np.where(lost, end, -1.0),
        observed={},
        final=solved[:, -1, : points.shape[1]],
    )


@eqx.filter_jit
def _solve(model: Continuous, times, radius, states):
    solved, end = jax.vmap(lambda state: _path(model, times, radius, state))(states)
    real = solved[..., : model.problem.dim]
    gradient = jax.vmap(jax.vmap(model.problem.gradient))(real)
    return solved, end, jax.vmap(jax.vmap(model.problem.value))(real), jnp.sqrt(jnp.sum(gradient * gradient, axis=-1))


def _path(model: Continuous, times, radius, state):
    import diffrax  # which takes longer to load than most of what does without it

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(_field),
        diffrax.Tsit5(),
        times[0],
        times[-1],
        None,
        state,
        args=(model, radius),
        saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=times), diffrax.SubSaveAt(t1=True)]),
        stepsize_controller=diffrax.PIDController(rtol=1e-9, atol=1e-12, dtmin=1e-14, force_dtmin=True),
        event=diffrax.Event(_left),
        max_steps=100_000,
        throw=False,
    )
    assert solution.ys is not None and solution.ts is not None
    return solution.ys[0], solution.ts[1][0]


def _field(t, y, args):
    model, _ = args
    if model.kind != "principal":
        return model.drift(t, y)
    real, imaginary = jnp.split(y, 2)
    flow = model.drift(t, lax.complex(real, imaginary))
    return jnp.concatenate([flow.real, flow.imag])


def _left(t, y, args, **_):
    _, radius = args
    return ~(jnp.sum(y * y) <= radius**2)
