"""Mean and covariance of the mean message of agents that remember, given what they remember: closed forms of linear messages."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax as lx

from stablestep.errors import InvalidInput
from stablestep.message.group import GroupLaw, Memory, Scalar, Vector
from stablestep.message.linear import Scale, leaf, with_leaf

Send = Callable[[Vector], Vector]  # the message of every agent [n, d] for a gradient


def mean_given(group: GroupLaw, gradient: Vector, memory: Memory, step: Scalar) -> Vector:
    """E of the mean message at this gradient; raises `InvalidInput` where it has no closed form."""
    return jnp.mean(_expected(group, memory, step)(gradient), axis=0)


def _expected(group: GroupLaw, memory: Memory, step: Scalar) -> Send:
    if _linear(group):
        if not group.noise.has_mean:
            raise InvalidInput(
                f"The mean message does not exist: {type(group.noise).__name__} noise has no mean; use df > 1."
            )
        return lambda gradient: _sent(group, leaf(group.compressor).gain(gradient.shape[0]), gradient, memory, step)
    if group.silent and group.compressor.deterministic:
        return lambda gradient: _messages(group.compressor, gradient, memory, step)
    raise group.sample_instead("mean")


def covariance_given(
    group: GroupLaw, x: Vector, gradient: Vector, memory: Memory, step: Scalar
) -> lx.AbstractLinearOperator:
    """Of the mean message; raises `InvalidInput` where it is infinite or has no closed form.

    An agent's message is a noisy gradient times a number a, plus the mask's deviation from its mean on a vector v + r (noise):
    a²Σ + Cov w ∘ (v vᵀ + r²Σ), averaged over agents.
    """
    if not _linear(group):
        if group.silent and group.compressor.deterministic:
            return lx.DiagonalLinearOperator(jnp.zeros_like(gradient))
        raise group.sample_instead("covariance")
    dim, inside = gradient.shape[0], leaf(group.compressor)

    def moved(number):
        return _sent(group, number, gradient, memory, step)

    def heard(number):
        """By what number every agent's message multiplies its gradient; the same for all, and for all coordinates."""
        return (_sent(group, number, gradient + jnp.ones_like(gradient), memory, step) - moved(number))[0, 0]

    looked, gain = moved(1.0) - moved(0.0), heard(inside.gain(dim))
    push = heard(1.0) - heard(0.0)
    noise = None if group.silent else group.noise.covariance(group.problem, x, gradient)
    rows = (
        jnp.mean(looked, axis=0, keepdims=True) * jnp.sqrt(jnp.asarray(group.count, x.dtype))
        if group.shared
        else looked
    )
    spread = inside.covariance(jnp.ones_like(gradient), None)
    deviation = _hadamard(spread, rows, None if noise is None else noise * push**2)
    return (deviation if noise is None else _sum(deviation, noise * gain**2)) / group.count


def _linear(group: GroupLaw) -> bool:
    return leaf(group.compressor).linear and group.compressor.homogeneous


def _sent(group: GroupLaw, number: float, gradient: Vector, memory: Memory, step: Scalar):
    return _messages(with_leaf(group.compressor, Scale(number)), gradient, memory, step)


def _messages(compressor, gradient: Vector, memory: Memory, step: Scalar):
    """Every agent's message [n, d]."""
    nothing = jnp.zeros(0, gradient.dtype)
    return jax.vmap(lambda own: compressor.send(nothing, gradient, own, step)[0])(memory)


def _hadamard(
    spread: lx.AbstractLinearOperator, rows, noise: lx.AbstractLinearOperator | None
) -> lx.AbstractLinearOperator:
    """Cov w ∘ (mean over rows of v vᵀ + noise)."""
    if lx.is_diagonal(spread):
        squares = jnp.mean(rows**2, axis=0) + (0 if noise is None else lx.diagonal(noise))
        return lx.DiagonalLinearOperator(lx.diagonal(spread) * squares)
    second = rows.T @ rows / rows.shape[0] + (0 if noise is None else noise.as_matrix())
    return lx.MatrixLinearOperator(spread.as_matrix() * second, lx.positive_semidefinite_tag)


def _sum(one: lx.AbstractLinearOperator, other: lx.AbstractLinearOperator) -> lx.AbstractLinearOperator:
    if lx.is_diagonal(one) and lx.is_diagonal(other):
        return lx.DiagonalLinearOperator(lx.diagonal(one) + lx.diagonal(other))
    return one + other
