"""The SDE by diffrax in float32: vmap over runs, Euler, `UnsafeBrownianPath`, steps of one length, a diagonal diffusion."""

from functools import partial

import diffrax
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from benchmarks.workload import Paths, Workload, first_outside


def simulate(work: Workload, seed: int) -> Paths:
    loss, norm, distance = (np.asarray(part).T for part in paths(work, jax.random.key(seed)))
    return Paths(loss, norm, first_outside(work, distance))


@partial(jax.jit, static_argnums=0)
def paths(work: Workload, key):
    return jax.vmap(partial(path, work))(jax.random.split(key, work.runs))


def path(work: Workload, key):
    shape = jax.ShapeDtypeStruct((work.dim,), jnp.float32)
    noise = diffrax.ControlTerm(partial(diffusion, work), diffrax.UnsafeBrownianPath(shape, key))
    times = jnp.linspace(0, work.steps * work.dt, work.steps + 1, dtype=jnp.float32)
    solution = diffrax.diffeqsolve(
        diffrax.MultiTerm(diffrax.ODETerm(partial(drift, work)), noise),
        diffrax.Euler(),
        times[0],
        times[-1],
        None,
        jnp.full(work.dim, work.x0, jnp.float32),
        saveat=diffrax.SaveAt(t0=True, steps=work.interval, fn=observe),
        stepsize_controller=diffrax.StepTo(times),
        adjoint=diffrax.ForwardMode(),
        max_steps=work.steps,
        throw=False,
    )
    return solution.ys


def drift(work: Workload, t, x, args):
    gradient = x * x * x
    return work.eta / 2 * 3 * x * x * gradient - gradient


def diffusion(work: Workload, t, x, args):
    square = (x * x * x) ** 2
    noise = work.sigma1**2 * jnp.sum(square)
    return lx.DiagonalLinearOperator(jnp.sqrt(work.eta / work.count * (noise + work.omega * (square + noise))))


def observe(t, x, args):
    return jnp.sum(x**4) / 4, jnp.linalg.norm(x**3), jnp.linalg.norm(x)
