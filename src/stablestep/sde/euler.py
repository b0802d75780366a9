"""Euler-Maruyama, plain, tamed, and coupled at two step sizes to measure its own error."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stablestep.method import Process
from stablestep.problem import Problem
from stablestep.sde.continuous import Continuous
from stablestep.stream import Family


class Euler(Process):
    """x ← x + b dt + G √dt z; `tamed` divides the drift's step by 1 + dt‖b‖ (Hutzenthaler, Jentzen and Kloeden 2012)."""

    problem: Problem
    model: Continuous
    dt: Float[Array, ""] | float
    tamed: bool = eqx.field(static=True)

    def begin(self, stream, x):
        return self.model.begin(x)

    def point(self, state):
        return self.model.point(state)

    def guarded(self, state):
        return flat(state)

    def step(self, stream, k, state):
        own = stream.child(k.astype(jnp.uint32), Family.STEP).noise
        x = self.point(state)
        normal = None if self.model.noiseless else own.increment(x.shape[0], x.dtype)
        return self.move(k.astype(x.dtype) * self.dt, self.dt, state, normal)

    def move(self, t, dt, state, normal):
        """The state after a time dt from t, along an increment of the Brownian path of √dt `normal`."""
        move = jax.tree.map(lambda part: dt * part, self.model.drift(t, state))
        if self.tamed:
            size = 1 + jnp.sqrt(jnp.sum(jnp.square(flat(move))))
            move = jax.tree.map(lambda part: part / size, move)
        moved = jax.tree.map(jnp.add, state, move)
        if normal is None:
            return moved
        return jax.tree.map(jnp.add, moved, self.model.spread(t, state, jnp.sqrt(dt) * normal))


class Coupled(Process):
    """The state (coarse, fine): one step of dt beside two of dt/2 that share the same Brownian path."""

    problem: Problem
    euler: Euler

    def begin(self, stream, x):
        state = self.euler.model.begin(x)
        return state, state

    def point(self, state):
        return self.euler.point(state[0])

    def guarded(self, state):
        return flat(state)

    def step(self, stream, k, state):
        coarse, fine = state
        x, dt = self.point(state), self.euler.dt
        dim, dtype = x.shape[0], x.dtype
        t = k.astype(dtype) * dt
        own = stream.child(k.astype(jnp.uint32), Family.STEP).noise
        parts = [] if self.euler.model.noiseless else [own.increment(dim, dtype, slot) for slot in (0, 1)]
        whole = (parts[0] + parts[1]) / jnp.sqrt(jnp.asarray(2, dtype)) if parts else None
        for index, normal in enumerate(parts or (None, None)):
            fine = self.euler.move(t + index * dt / 2, dt / 2, fine, normal)
        return self.euler.move(t, dt, coarse, whole), fine

    def extra(self, state):
        return {"fine": self.euler.problem.value(self.euler.point(state[1]))}


def flat(state) -> Float[Array, " n"]:
    """All numbers of a state."""
    leaves = jax.tree.leaves(state)
    return leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves)
