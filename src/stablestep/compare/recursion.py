"""Second moments of a method with a linear memory on a quadratic, exactly, from the compressors' and the server's own code."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from stablestep.compressor import Compressor, Identity, RandomSparsification
from stablestep.compressor.feedback import Wrapper
from stablestep.errors import require
from stablestep.method import State
from stablestep.noise import Gaussian
from stablestep.problem import Quadratic
from stablestep.setup import Setup

Matrix = Float[np.ndarray, "n n"]


class Step(NamedTuple):
    """z⁺ = (F + Σ_j b_j F_j) (z, ξ), b_j independent and 1 with the chance p_j: what is linear in the state and in fresh noise."""

    base: Float[np.ndarray, "out in"]
    masks: Float[np.ndarray, "masks out in"]
    chance: Float[np.ndarray, " masks"]

    def second(self, moment: Matrix) -> Float[np.ndarray, "m m"]:
        """E z⁺z⁺ᵀ, where `moment` is that of (z, ξ)."""
        mean = self.base + np.tensordot(self.chance, self.masks, axes=1)
        spread = (self.chance * (1 - self.chance))[:, None, None] * self.masks
        return mean @ moment @ mean.T + np.sum(spread @ moment @ np.swapaxes(self.masks, 1, 2), axis=0)


def second_moments(setup: Setup, eta: float, x0: Float[np.ndarray, " d"]) -> Iterator[Matrix]:
    """E x_k x_kᵀ for k = 1, 2, …, of a constant step η.

    Raises:
        InvalidInput: unless problems are Quadratic, the noise Gaussian with sigma1 = 0, and what is remembered linear with masks of
            RandomSparsification.
    """
    _check(setup)
    dim, noise = len(x0), _noise(setup)
    with jax.enable_x64(True):
        first, step = _steps(setup, eta)
    moment = first.second(_block(np.outer(x0, x0), noise))
    while True:
        yield moment[:dim, :dim]
        moment = step.second(_block(moment, noise))


def _check(setup: Setup) -> None:
    leaves = {type(_innermost(group.compressor)) for group in setup.groups}
    gaussian = all(isinstance(g.noise, Gaussian) and not np.any(g.noise.sigma1) for g in setup.groups)
    quadratic = all(isinstance(setup.problem_of(group), Quadratic) for group in setup.groups)
    require(
        quadratic and gaussian and leaves <= {Identity, RandomSparsification},
        "closed moments of a memory are known for Quadratic problems, Gaussian noise with sigma1 = 0, and messages through Identity or "
        "RandomSparsification; use compare.",
    )


def _innermost(compressor: Compressor) -> Compressor:
    while isinstance(compressor, Wrapper):
        compressor = compressor.inner
    return compressor


def _noise(setup: Setup) -> Float[np.ndarray, " inputs"]:
    """The variances of all agents' fresh noise."""
    parts = []
    for group in setup.groups:
        assert isinstance(group.noise, Gaussian)
        variance = np.broadcast_to(np.asarray(group.noise.sigma0, float) ** 2, setup.dim)
        parts.append(np.tile(variance, group.count))
    return np.concatenate(parts)


def _block(moment: Matrix, noise: np.ndarray) -> Float[np.ndarray, "m m"]:
    size = len(moment)
    whole = np.zeros((size + len(noise),) * 2)
    whole[:size, :size], whole[size:, size:] = moment, np.diag(noise)
    return whole


def _steps(setup: Setup, eta: float) -> tuple[Step, Step]:
    """The first step, from x0 alone, and every later one."""
    dim, width = setup.dim, sum(group.count for group in setup.groups) * setup.dim
    masks, chance = _masks(setup)
    nothing = jnp.zeros(dim), jnp.zeros(width)

    def first(x, noise, kept):
        return _moved(setup, eta, _begun(setup, x, noise), noise, kept)

    numbers, rest = eqx.partition(first(*nothing, masks[0]), eqx.is_inexact_array)
    flat, unravel = ravel_pytree(numbers)

    def later(z, noise, kept):
        return _moved(setup, eta, eqx.combine(unravel(z), rest), noise, kept)

    return _linear(first, nothing, masks, chance), _linear(later, (flat, nothing[1]), masks, chance)


def _linear(function, inputs, masks, chance) -> Step:
    def numbers(z, noise, kept):
        return ravel_pytree(eqx.filter(function(z, noise, kept), eqx.is_inexact_array))[0]

    def jacobian(kept):
        return jnp.concatenate(jax.jacfwd(numbers, (0, 1))(*inputs, kept), axis=1)

    found = np.stack([np.asarray(jacobian(kept)) for kept in masks])
    return Step(found[0], found[1:] - found[0], chance)


def _masks(setup: Setup) -> tuple[list[Any], np.ndarray]:
    """Which coordinates of which agents are kept: none, then each one alone (of all agents of a group that shares its mask)."""
    none = np.zeros((setup.count, setup.dim))
    masks, chance, before = [none], [], 0
    for group in setup.groups:
        leaf = _innermost(group.compressor)
        agents = np.arange(before, before + group.count)
        before += group.count
        if not isinstance(leaf, RandomSparsification):
            continue
        for rows in [agents] if group.shared else agents[:, None]:
            for coordinate in range(setup.dim):
                one = none.copy()
                one[rows, coordinate] = 1
                masks.append(one)
                chance.append(leaf.chance(setup.dim))
    return [jnp.asarray(one) for one in masks], np.array(chance)


def _gradients(setup: Setup, x, noise):
    """For each group the exact gradient, and its agents' own ones."""
    noise, before = noise.reshape(setup.count, setup.dim), 0
    for group in setup.groups:
        exact = setup.problem_of(group).gradient(x)
        yield group, exact, exact + noise[before : before + group.count]
        before += group.count


def _begun(setup: Setup, x, noise) -> State:
    agents = tuple(
        jax.vmap(group.compressor.memory, (0, None))(noisy, exact)
        for group, exact, noisy in _gradients(setup, x, noise)
    )
    return State(x, agents, setup.server.memory(setup.problem.gradient(x)))


def _moved(setup: Setup, eta: float, state: State, noise, kept) -> State:
    """One step, in which the coordinates of `kept` go through every mask."""
    total, after, before = jnp.zeros_like(state.x), [], 0
    for (group, _, noisy), memory in zip(_gradients(setup, state.x, noise), state.agents, strict=True):
        draws = group.compressor.draws(setup.dim)
        uniform = 1 - kept[before : before + group.count, :draws]
        send = jax.vmap(lambda u, g, m, group=group: group.compressor.send(u, g, m, jnp.asarray(eta)))
        message, memory = send(uniform, noisy, memory)
        total, before = total + jnp.sum(message, axis=0), before + group.count
        after.append(memory)
    direction, server = setup.server.turn(total / setup.count, state.server)
    return State(state.x - eta * direction, tuple(after), server)
