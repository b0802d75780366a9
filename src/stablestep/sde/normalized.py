"""NSGD under isotropic Gaussian noise: the law of the direction M/‖M‖, M = g + sZ (theory of the normalised step)."""

import math
from functools import lru_cache

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev

from stablestep.compressor import Identity
from stablestep.errors import require
from stablestep.later import special
from stablestep.message import law
from stablestep.message.group import GroupLaw
from stablestep.message.law import Law
from stablestep.noise import Gaussian, Noise
from stablestep.setup import Setup

Scalar = Float[Array, ""]
Vector = Float[Array, " d"]
_ERROR = 1e-9


class DirectionLaw(eqx.Module):
    """The law of M/‖M‖ for the mean message M ~ N(g, s²I), with w = ‖g‖²/(2s²) and F_a = ₁F₁(a; d/2+1; −w):

    mean φ ĝ, φ = κ‖g‖ F_½, κ = Γ((d+1)/2)/(√2 s Γ(d/2+1)); covariance b I + (1 − db − φ²) ĝĝᵀ, b = F_1/d.
    """

    messages: Law
    half: Float[np.ndarray | Array, " n"]
    one: Float[np.ndarray | Array, " n"]
    slope: float

    @property
    def groups(self) -> tuple[GroupLaw, ...]:
        """The laws of the groups' own messages."""
        return self.messages.groups

    @property
    def differs(self) -> bool:
        """Whether groups have landscapes of their own."""
        return self.messages.differs

    def mean(self, x: Vector) -> Vector:
        """φ(‖g‖) ĝ."""
        gradient, _ = self.messages.gradients(x)
        return self.secant(x) * gradient

    def secant(self, x: Vector) -> Vector:
        """φ(‖g‖)/‖g‖, for every coordinate."""
        gradient, variance = self._moments(x)
        return jnp.broadcast_to(self._ratio(gradient, variance), x.shape)

    def covariance(self, x: Vector) -> lx.AbstractLinearOperator:
        """Cov M/‖M‖."""
        gradient, across, along = self._variances(x)
        return _axial(across, along - across, gradient)

    def root(self, x: Vector) -> lx.AbstractLinearOperator:
        """The symmetric root of the covariance, at a cost of O(d)."""
        gradient, across, along = self._variances(x)
        return _axial(jnp.sqrt(across), jnp.sqrt(along) - jnp.sqrt(across), gradient)

    def _variances(self, x: Vector) -> tuple[Vector, Scalar, Scalar]:
        """g, and the variances across and along it."""
        gradient, variance = self._moments(x)
        square = jnp.sum(gradient * gradient)
        across = _hypergeometric(self.one, 1.0, square / (2 * variance), x.shape[0]) / x.shape[0]
        drifted = square * self._ratio(gradient, variance) ** 2
        return gradient, across, jnp.maximum(1 - (x.shape[0] - 1) * across - drifted, 0)

    def _ratio(self, gradient: Vector, variance: Scalar) -> Scalar:
        w = jnp.sum(gradient * gradient) / (2 * variance)
        return self.slope / jnp.sqrt(variance) * _hypergeometric(self.half, 0.5, w, gradient.shape[0])

    def _moments(self, x: Vector) -> tuple[Vector, Scalar]:
        """g and s², the variance of one coordinate of the mean message."""
        gradient, own = self.messages.gradients(x)
        parts = [
            weight**2 / group.count * jnp.square(_scale(group, each))
            for group, weight, each in zip(self.groups, self.messages.weights, own, strict=True)
        ]
        return gradient, sum(parts[1:], start=parts[0])


def _scale(group: GroupLaw, gradient: Vector) -> Scalar:
    assert isinstance(group.noise, Gaussian)
    return group.noise.scale(gradient)


def _axial(everywhere: Scalar, more: Scalar, axis: Vector) -> lx.AbstractLinearOperator:
    """v ↦ everywhere · v + more · ââᵀv, for an axis that may be 0 where `more` is."""
    square = jnp.sum(axis * axis)
    weight = jnp.where(square > 0, more / jnp.where(square > 0, square, 1), 0)
    return lx.FunctionLinearOperator(
        lambda v: everywhere * v + weight * jnp.dot(axis, v) * axis,
        jax.eval_shape(lambda: axis),
        lx.positive_semidefinite_tag,
    )


def direction_law(setup: Setup) -> DirectionLaw:
    """The law of NSGD's direction.

    Raises:
        InvalidInput: if messages are compressed or remembered, or the noise is not Gaussian of one positive scale in all coordinates.
    """
    plain = setup.memory is None and all(type(group.compressor) is Identity for group in setup.groups)
    scales = [_isotropic(group.noise) for group in setup.groups]
    require(
        plain and None not in scales and any(scales),
        "the normalized step has a continuous model for uncompressed messages without memory under isotropic Gaussian noise only "
        "(noise.Gaussian with one sigma0 > 0 for all coordinates); simulate the method.",
    )
    half, one = (np.array(fit(a, setup.dim)) for a in (0.5, 1.0))
    return DirectionLaw(law(setup), half, one, slope_at_zero(setup.dim))


def _isotropic(noise: Noise) -> float | None:
    """σ0 of Gaussian noise of one scale in all coordinates."""
    fits = isinstance(noise, Gaussian) and np.ndim(noise.sigma0) == np.ndim(noise.sigma1) == 0
    return float(noise.sigma0) if isinstance(noise, Gaussian) and fits else None


def slope_at_zero(dim: int) -> float:
    """κ of unit noise: Γ((d+1)/2)/(√2 Γ(d/2+1)).

    >>> round(slope_at_zero(1), 10), round(slope_at_zero(10), 10), round(slope_at_zero(1000), 10)
    (0.7978845608, 0.308432776, 0.0316148719)
    """
    return math.exp(math.lgamma((dim + 1) / 2) - math.lgamma(dim / 2 + 1)) / math.sqrt(2)


@lru_cache(maxsize=64)
def fit(a: float, dim: int) -> tuple[float, ...]:
    """Chebyshev coefficients of (1 + w/c)^a ₁F₁(a; c; −w) over y = w/(w + c) in [0, 1), c = d/2 + 1: smooth at both ends.

    The degree grows until the relative error is below 1e-9, where SciPy's own function is as good as that (d ≤ 10⁴), else the best one.
    """
    check = np.linspace(-1, 1, 2001)
    exact, best = _scaled(check, a, dim), (np.inf, np.zeros(1))
    for degree in range(8, 64, 4):
        series = chebyshev.chebinterpolate(lambda s: _scaled(s, a, dim), degree)
        error = float(np.max(np.abs(chebyshev.chebval(check, series) / exact - 1)))
        best = min(best, (error, series), key=lambda one: one[0])
        if error < _ERROR:
            break
    return tuple(float(number) for number in best[1])


def _scaled(s, a: float, dim: int):
    c, y = dim / 2 + 1, (np.asarray(s) + 1) / 2
    near = y < 1 - c / 1e8  # beyond this the limit is right to 1e-8, and SciPy's ₁F₁ loses digits
    w = np.where(near, c * y / np.where(near, 1 - y, 1), 0)
    limit = math.exp(math.lgamma(c) - math.lgamma(c - a)) * c**-a
    return np.where(near, (1 + w / c) ** a * special.hyp1f1(a, c, -w), limit)


def _hypergeometric(series: Float[Array | np.ndarray, " n"], a: float, w: Scalar, dim: int) -> Scalar:
    """₁F₁(a; d/2+1; −w) by its fit (Clenshaw)."""
    c = jnp.asarray(dim / 2 + 1, w.dtype)
    s = 1 - 2 * c / (w + c)
    last = before = jnp.zeros_like(w)
    for number in range(series.shape[0] - 1, 0, -1):
        last, before = 2 * s * last - before + jnp.asarray(series[number], w.dtype), last
    return (s * last - before + jnp.asarray(series[0], w.dtype)) * jnp.power(1 + w / c, jnp.asarray(-a, w.dtype))
