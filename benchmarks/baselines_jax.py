"""The workload in JAX as everyone writes it: vmap over runs and agents, `jax.random`, scan, one device, XLA threads."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.workload import Paths, Workload


def simulate(work: Workload, seed: int) -> Paths:
    return Paths(*map(np.asarray, paths(work, jax.random.key(seed))))


@partial(jax.jit, static_argnums=0)
def paths(work: Workload, key):
    x = jnp.full((work.runs, work.dim), work.x0, jnp.float32)
    diverged_at = jnp.full(work.runs, -1)

    def step(state, k):
        x, diverged_at = state
        within = jnp.linalg.norm(x, axis=1) <= work.radius
        diverged_at = jnp.where((diverged_at < 0) & ~within, k, diverged_at)
        keys = jax.random.split(jax.random.fold_in(key, k), work.runs)
        moved = x - work.eta * jax.vmap(partial(mean_message, work))(keys, x)
        return (jnp.where(within[:, None], moved, x), diverged_at), None

    def between(state, first):
        seen = observe(state[0])
        return lax.scan(step, state, first + jnp.arange(work.interval))[0], seen

    (x, diverged_at), (loss, norm) = lax.scan(between, (x, diverged_at), jnp.asarray(work.iterations[:-1]))
    last_loss, last_norm = observe(x)
    within = jnp.linalg.norm(x, axis=1) <= work.radius
    diverged_at = jnp.where((diverged_at < 0) & ~within, work.steps, diverged_at)
    return jnp.vstack([loss, last_loss]), jnp.vstack([norm, last_norm]), diverged_at


def observe(x):
    return jax.vmap(objective)(x), jnp.linalg.norm(jax.vmap(jax.grad(objective))(x), axis=1)


def objective(x):
    return jnp.sum(x**4) / 4


def mean_message(work: Workload, key, x):
    gradient = jax.grad(objective)(x)
    messages = jax.vmap(partial(message, work), in_axes=(0, None))(jax.random.split(key, work.count), gradient)
    return jnp.mean(messages, axis=0)


def message(work: Workload, key, gradient):
    if work.method == "sign":
        noise = jax.random.t(key, work.df, gradient.shape, jnp.float32)
        return jnp.sign(gradient + work.scale * noise)
    noise_key, mask_key = jax.random.split(key)
    deviation = work.sigma1 * jnp.linalg.norm(gradient)
    noisy = gradient + deviation * jax.random.normal(noise_key, gradient.shape, jnp.float32)
    kept = jax.random.bernoulli(mask_key, 1 / (1 + work.omega), gradient.shape)
    return jnp.where(kept, (1 + work.omega) * noisy, 0)
