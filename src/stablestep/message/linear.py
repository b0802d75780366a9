"""A compressor whose message is linear in the gradient and in what is remembered, given one mask: its numbers, read off its own `send`."""

from dataclasses import dataclass
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from stablestep.compressor import Compressor
from stablestep.compressor.feedback import Wrapper
from stablestep.errors import InvalidInput, require
from stablestep.server import Server

Vector = Float[np.ndarray, " d"]
Square = Float[np.ndarray, "a a"]
Part = TypeVar("Part")


class Scale(Compressor):
    """What stands in the place of a mask: the same number for every coordinate."""

    number: float

    def compress(self, uniform, gradient):
        return self.number * gradient

    def bits(self, dim, shared=False):
        return 0.0

    def draws(self, dim):
        return 0

    @property
    def unbiased(self):
        return False

    @property
    def linear(self):
        return True


def leaf(compressor: Compressor) -> Compressor:
    """What is inside of all wrappers."""
    while isinstance(compressor, Wrapper):
        compressor = compressor.inner
    return compressor


def with_leaf(compressor: Compressor, inside: Compressor) -> Compressor:
    """The same wrappers around another compressor."""
    if not isinstance(compressor, Wrapper):
        return inside
    return eqx.tree_at(lambda one: one.inner, compressor, with_leaf(compressor.inner, inside))


@dataclass(frozen=True)
class Passage:
    """What an agent does, coordinate by coordinate: out = fixed · in + push w (look · in), w the multiplier that the mask drew.

    in = (memories, gradient) and out = (memories, message), L + 1 blocks of d coordinates each.
    """

    fixed: Square
    push: Vector
    look: Vector

    def mean(self, gain: float) -> Square:
        """out = mean · in in the mean over masks."""
        return self.fixed + gain * np.outer(self.push, self.look)


@dataclass(frozen=True)
class Agent:
    """The first step, all later ones, and the memory before: start[l] = (a, b) with memory_l = a (noisy gradient) + b (exact one)."""

    start: Float[np.ndarray, "memories 2"]
    first: Passage
    later: Passage


def agent(compressor: Compressor, step: float) -> Agent:
    """The numbers of `compressor` at the constant step ηη_t = `step`; it must be linear (`require_linear`).

    >>> from stablestep.compressor import EF21, RandK
    >>> agent(EF21(RandK(k=1, scaled=False)), 0.1).later.mean(0.25).tolist()
    [[0.75, 0.25], [0.75, 0.25]]
    """
    with jax.enable_x64(True):
        start, *pairs = (np.asarray(part, float) for part in _read(traced(compressor), jnp.asarray(step, float)))
    passages = [Passage(dropped, *_factors(kept - dropped)) for dropped, kept in pairs]
    return Agent(start, passages[0], passages[-1])


@eqx.filter_jit
def _read(compressor: Compressor, step: Array) -> list[Array]:
    """Of `Agent`: the start, and what is sent without and with the mask by the first message, and by later ones if they differ."""
    zero = jnp.zeros(2)
    before = with_leaf(compressor, Scale(0.0)).memory(zero, zero)
    found = [_start(compressor), _both(compressor, before, step)]
    if jax.tree.leaves(eqx.filter(before, eqx.is_inexact_array, inverse=True)):
        found.append(_both(compressor, _sent(compressor, 1.0, before, zero, step)[1], step))
    return found


def require_linear(compressor: Compressor) -> None:
    """Raise `InvalidInput` for a compressor that is no mask, with memory or without: given the mask, messages must be linear."""
    inside = leaf(compressor)
    if not (inside.linear and compressor.homogeneous):
        raise not_closed(compressor)
    found = agent(compressor, 0.3)
    probes = np.random.default_rng(0).normal(size=(len(found.start) + 1, 5))
    numbers = np.array([1.0, -0.7])
    with jax.enable_x64(True):
        answers = _answers(traced(compressor), numbers, probes)
    for number, answer in zip(numbers, answers, strict=True):
        if not np.allclose(answer, found.first.mean(number) @ probes, rtol=1e-9, atol=1e-9):
            raise not_closed(compressor)


@eqx.filter_jit
def _answers(compressor: Compressor, numbers, probes):
    template = with_leaf(compressor, Scale(0.0)).memory(jnp.zeros(2), jnp.zeros(2))
    return [_outputs(compressor, number, template, probes, jnp.asarray(0.3)) for number in numbers]


def not_closed(compressor: Compressor) -> InvalidInput:
    return InvalidInput(
        f"{_named(compressor)} messages are not linear in x and the memory for given randomness (Identity and masks are), so second "
        'moments do not close; simulate the method, or find its critical step by method="lyapunov" or "rollouts".'
    )


def _named(compressor: Compressor) -> str:
    inside = leaf(compressor).name
    return inside if inside == compressor.name else f"{compressor.name} of {inside}"


def _start(compressor: Compressor) -> Array:
    noisy, exact = jnp.eye(2)
    leaves = _numbers(with_leaf(compressor, Scale(0.0)).memory(noisy, exact))
    return jnp.stack(leaves) if leaves else jnp.zeros((0, 2))


def _both(compressor: Compressor, template, step: Array) -> Array:
    """Every coordinate carries one input: with the L + 1 unit vectors as inputs, the coordinates of the outputs are the coefficients."""
    inputs = jnp.eye(len(_numbers(template)) + 1)
    return jnp.stack([_outputs(compressor, number, template, inputs, step) for number in (0.0, 1.0)])


def _outputs(compressor: Compressor, number, template, inputs, step: Array) -> Array:
    message, memory = _sent(compressor, number, _filled(template, inputs[:-1]), inputs[-1], step)
    return jnp.stack([*_numbers(memory), message])


def _sent(compressor: Compressor, number, memory, gradient, step: Array):
    return with_leaf(compressor, Scale(number)).send(jnp.zeros(0), gradient, memory, step)


def _numbers(memory) -> list[Array]:
    return jax.tree.leaves(eqx.filter(memory, eqx.is_inexact_array))


def _filled(template, rows):
    """The memory with these rows in the place of its numbers; what else it holds (flags) stays."""
    numbers, rest = eqx.partition(template, eqx.is_inexact_array)
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(numbers), [jnp.asarray(row) for row in rows]), rest)


def _factors(matrix: Square) -> tuple[Vector, Vector]:
    """(u, v) with u vᵀ = a matrix of rank 1."""
    i, j = np.unravel_index(np.argmax(np.abs(matrix)), matrix.shape)
    if matrix[i, j] == 0:
        return np.zeros(len(matrix)), np.zeros(len(matrix))
    return matrix[:, j] / matrix[i, j], matrix[i]


def weights(compressor: Compressor, dim: int) -> tuple[float, np.ndarray]:
    """E w and Cov w of the multipliers w of a mask [d] (the covariance [d] if they are independent, else [d, d]).

    Raises:
        InvalidInput: for a linear compressor that does not multiply coordinates.
    """
    require_linear(compressor)
    inside = leaf(compressor)
    probe = np.random.default_rng(0).normal(size=dim)
    with jax.enable_x64(True):
        found, other = (np.asarray(part, float) for part in _covariances(traced(inside), probe))
    scaled = found * (probe**2 if found.ndim == 1 else np.outer(probe, probe))
    if found.shape != other.shape or not np.allclose(other, scaled, rtol=1e-9, atol=1e-9 * np.max(np.abs(other))):
        raise not_closed(compressor)
    return inside.gain(dim), found


@eqx.filter_jit
def _covariances(inside: Compressor, probe):
    return [dense(inside.covariance(each, None)) for each in (jnp.ones_like(probe), jnp.asarray(probe))]


def traced(part: Part) -> Part:
    """The part with its numbers as arrays, so that other values compile nothing anew; whole ones, which may be sizes, stay."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float) if isinstance(leaf, float) else leaf, part)


def dense(operator: lx.AbstractLinearOperator) -> Array:
    """A diagonal operator as [d], any other as [d, d]."""
    return lx.diagonal(operator) if lx.is_diagonal(operator) else operator.as_matrix()


def turning(server: Server) -> Square:
    """(direction, memory) = turning · (message, memory), or [1, 1] of a server without memory.

    Raises:
        InvalidInput: for a server that is not linear.

    >>> from stablestep.server import HeavyBall
    >>> turning(HeavyBall(beta=0.5)).tolist()
    [[1.0, 0.5], [1.0, 0.5]]
    """
    with jax.enable_x64(True):
        count = 1 + len(_numbers(server.memory(jnp.zeros(1))))
        probes = np.random.default_rng(0).normal(size=(count, 5))
        found, answer = (np.asarray(part, float) for part in _turned(traced(server), (np.eye(count), probes)))
    linear = np.allclose(answer, found @ probes, rtol=1e-9, atol=1e-9)
    require(
        linear,
        f"{server.name} is not a linear function of the messages, so second moments do not close; simulate the method, or find its "
        'critical step by method="rollouts".',
    )
    return found


@eqx.filter_jit
def _turned(server: Server, inputs: tuple[np.ndarray, ...]) -> list[Array]:
    found = []
    for given in inputs:
        template = server.memory(jnp.zeros_like(given[0]))
        direction, memory = server.turn(jnp.asarray(given[0]), _filled(template, given[1:]))
        found.append(jnp.stack([direction, *_numbers(memory)]))
    return found
