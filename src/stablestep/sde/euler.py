"""Euler-Maruyama, plain, tamed, and coupled at two step sizes to measure its own error."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from stablestep.problem import Problem
from stablestep.record import Process
from stablestep.sde.model import Model


class Euler(Process):
    """x ← x + b dt + G √dt z; `tamed` divides the drift's step by 1 + dt‖b‖ (Hutzenthaler, Jentzen and Kloeden 2012)."""

    problem: Problem
    model: Model
    dt: Float[Array, ""] | float
    tamed: bool = eqx.field(static=True)

    def advance(self, stream, k, x):
        normal = None if self.model.noiseless else stream.normal(x.shape[0], x.dtype)
        return self.step(k.astype(x.dtype) * self.dt, self.dt, x, normal)

    def step(self, t, dt, x, normal):
        move = dt * self.model.drift(t, x)
        if self.tamed:
            move = move / (1 + jnp.sqrt(jnp.sum(move * move)))
        if normal is None:
            return x + move
        return x + move + self.model.diffusion(t, x).mv(jnp.sqrt(dt) * normal)


class Coupled(Process):
    """The state (coarse, fine): one step of dt beside two of dt/2 that share the same Brownian path."""

    problem: Problem
    euler: Euler

    def advance(self, stream, k, x):
        coarse, fine = jnp.split(x, 2)
        dim, dt = coarse.shape[0], self.euler.dt
        t = k.astype(x.dtype) * dt
        parts = [] if self.euler.model.noiseless else [stream.normal(dim, x.dtype, slot) for slot in (0, 1)]
        whole = (parts[0] + parts[1]) / jnp.sqrt(jnp.asarray(2, x.dtype)) if parts else None
        for index, normal in enumerate(parts or (None, None)):
            fine = self.euler.step(t + index * dt / 2, dt / 2, fine, normal)
        return jnp.concatenate([self.euler.step(t, dt, coarse, whole), fine])

    def extra(self, x):
        return {"fine": self.euler.problem.value(x[x.shape[0] // 2 :])}


class Half(Problem):
    """A problem on the first half of a doubled vector: lets `Coupled` run under the common engine."""

    inner: Problem

    def __init__(self, inner: Problem):
        self.inner = inner

    @property
    def dim(self) -> int:
        """Twice the inner dimension."""
        return 2 * self.inner.dim

    def value(self, x):
        return self.inner.value(x[: self.inner.dim])

    def gradient(self, x):
        return jnp.concatenate([self.inner.gradient(x[: self.inner.dim]), jnp.zeros_like(x[self.inner.dim :])])
