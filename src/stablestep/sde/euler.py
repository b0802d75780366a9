"""Euler-Maruyama, plain, tamed, and coupled at two step sizes to measure its own error."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from stablestep.method import Process
from stablestep.problem import Problem
from stablestep.sde.model import Model
from stablestep.stream import Family


class Euler(Process):
    """x ← x + b dt + G √dt z; `tamed` divides the drift's step by 1 + dt‖b‖ (Hutzenthaler, Jentzen and Kloeden 2012)."""

    problem: Problem
    model: Model
    dt: Float[Array, ""] | float
    tamed: bool = eqx.field(static=True)

    def step(self, stream, k, state):
        own = stream.child(k.astype(jnp.uint32), Family.STEP).noise
        normal = None if self.model.noiseless else own.normal(state.shape[0], state.dtype)
        return self.move(k.astype(state.dtype) * self.dt, self.dt, state, normal)

    def move(self, t, dt, x, normal):
        """x after a time dt from t, along an increment of the Brownian path of √dt `normal`."""
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

    def begin(self, stream, x):
        return x, x

    def point(self, state):
        return state[0]

    def guarded(self, state):
        return jnp.concatenate(state)

    def step(self, stream, k, state):
        coarse, fine = state
        dim, dt, dtype = coarse.shape[0], self.euler.dt, coarse.dtype
        t = k.astype(dtype) * dt
        own = stream.child(k.astype(jnp.uint32), Family.STEP).noise
        parts = [] if self.euler.model.noiseless else [own.normal(dim, dtype, slot) for slot in (0, 1)]
        whole = (parts[0] + parts[1]) / jnp.sqrt(jnp.asarray(2, dtype)) if parts else None
        for index, normal in enumerate(parts or (None, None)):
            fine = self.euler.move(t + index * dt / 2, dt / 2, fine, normal)
        return self.euler.move(t, dt, coarse, whole), fine

    def extra(self, state):
        return {"fine": self.euler.problem.value(state[1])}
