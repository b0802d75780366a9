"""Signum: the law of signs of averaged gradients, whose noise is correlated in time (theory of Signum)."""

import math
from functools import lru_cache

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev, legendre

from stablestep.compressor import Momentum, Sign
from stablestep.errors import require
from stablestep.message import law
from stablestep.message.group import GroupLaw
from stablestep.message.law import Law
from stablestep.noise import Gaussian, StudentT
from stablestep.noise.base import Scaled
from stablestep.sde.memory import KNOWN
from stablestep.setup import Agents, Setup

Vector = Float[Array, " d"]
_NODES, _SMALL = 24, 1e-13


class Averaged(eqx.Module):
    """What averaging does to one group's signs: the noise's scale times `shrink`, and the long-run variance D(u), u = g/scale."""

    shrink: float
    near: Float[np.ndarray | Array, " n"]
    weight: Float[np.ndarray | Array, " n"]
    cauchy: bool = eqx.field(static=True)

    def variance(self, u: Vector, mean: Vector) -> Vector:
        """D(u), `mean` = 2Ξ(u) being the mean sign."""
        dtype = u.dtype
        if self.cauchy:
            return _clenshaw(self.weight.astype(dtype), 2 * jnp.abs(mean) - 1)
        decay = jnp.exp(-jnp.square(u)[:, None] * self.near.astype(dtype))
        return 1 - jnp.square(mean) + decay @ self.weight.astype(dtype)


class SignumLaw(eqx.Module):
    """The slow law of the mean of sign(m_i⁺), m_i⁺ = βm_i + (1 − β)g_i: its mean, and its covariance summed over all lags."""

    signs: Law
    averaged: tuple[Averaged, ...]

    @property
    def groups(self) -> tuple[GroupLaw, ...]:
        """The laws of the groups' signs without momentum."""
        return self.signs.groups

    @property
    def differs(self) -> bool:
        """Whether groups have landscapes of their own."""
        return self.signs.differs

    def mean(self, x: Vector) -> Vector:
        """2Ξ(g/σ_e)."""
        _, own = self.signs.gradients(x)
        return self._summed(
            [w * self._sign(i, g)[1] for i, (w, g) in enumerate(zip(self.signs.weights, own, strict=True))]
        )

    def covariance(self, x: Vector) -> lx.AbstractLinearOperator:
        """diag D(g/σ_e) / N, of agents with momenta of their own."""
        _, own = self.signs.gradients(x)
        parts = [
            weight**2 / self.groups[number].count * self.averaged[number].variance(*self._sign(number, gradient))
            for number, (weight, gradient) in enumerate(zip(self.signs.weights, own, strict=True))
        ]
        return lx.DiagonalLinearOperator(self._summed(parts))

    def _sign(self, number: int, gradient: Vector) -> tuple[Vector, Vector]:
        """u and 2Ξ(u)."""
        noise = self.groups[number].noise
        assert isinstance(noise, Scaled)
        u = gradient / (noise.scale(gradient) * self.averaged[number].shrink)
        return u, noise.odd(u)

    @staticmethod
    def _summed(parts):
        return sum(parts[1:], start=parts[0])


def is_signum(setup: Setup) -> bool:
    """Whether every agent sends the sign of an average of its gradients, and the server adds nothing."""
    chosen = [group.compressor for group in setup.groups]
    return setup.server.plain and all(isinstance(c, Momentum) and type(c.inner) is Sign for c in chosen)


def signum_law(setup: Setup) -> SignumLaw:
    """The slow law of Signum's mean message.

    Raises:
        InvalidInput: for a noise that is neither Gaussian nor Cauchy with independent coordinates and positive scales.
    """
    for group in setup.groups:
        noise = group.noise
        known = isinstance(noise, Gaussian) or (
            isinstance(noise, StudentT) and noise.independent and noise.df in (1, np.inf)
        )
        scale = noise.sigma0 if isinstance(noise, Gaussian) else getattr(noise, "sigma", 0)
        require(
            known and bool(np.all(np.asarray(scale) > 0)),
            f"no continuous model of Momentum around Sign under this {type(noise).__name__} noise is known; there is one of Signum under "
            f"Gaussian and Cauchy noise (StudentT(df=1)) with independent coordinates and positive scales; otherwise {KNOWN}.",
        )
    plain = [Agents(g.count, g.noise, Sign(), g.problem, g.mask) for g in setup.groups]
    return SignumLaw(law(Setup(setup.base, *plain)), tuple(_averaged(group) for group in setup.groups))


def _averaged(group: Agents) -> Averaged:
    assert isinstance(group.compressor, Momentum)
    beta = group.compressor.beta
    if isinstance(group.noise, StudentT) and group.noise.df == 1:
        return Averaged(1.0, np.zeros(0), np.array(cauchy_series(beta)), True)
    near, weight = gaussian_rule(beta)
    return Averaged(math.sqrt((1 - beta) / (1 + beta)), np.array(near), np.array(weight), False)


@lru_cache(maxsize=64)
def gaussian_rule(beta: float, nodes: int = 20) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(a, W) with Σ W exp(−a u²) = 8 Σ_k≥1 [Φ₂(u, u; βᵏ) − Φ(u)²] = (4/π) Σ_k ∫₀^arcsin βᵏ exp(−u²/(1 + sin θ)) dθ.

    The measure over a = 1/(1 + sin θ) in [½, 1] is carried to Chebyshev's points there, which integrates polynomials of degree 19 exactly.

    >>> near, weight = gaussian_rule(0.9)
    >>> round(1 + sum(weight), 8)     # D(0) = 1 + (4/π) Σ arcsin βᵏ
    13.2788687
    """
    angle = np.arcsin(_powers(beta))[:, None]
    points, share = legendre.leggauss(_NODES)
    theta, mass = angle * (points + 1) / 2, 4 / np.pi * angle * share / 2
    chosen = chebyshev.chebpts1(nodes)
    moments = chebyshev.chebvander(4 / (1 + np.sin(theta)).ravel() - 3, nodes - 1).T @ mass.ravel()
    weight = np.linalg.solve(chebyshev.chebvander(chosen, nodes - 1).T, moments)
    return tuple(((chosen + 3) / 4).tolist()), tuple(weight.tolist())


@lru_cache(maxsize=64)
def cauchy_series(beta: float, degree: int = 28) -> tuple[float, ...]:
    """Chebyshev coefficients of D_C(u) = 1 − p² + 8 Σ_k≥1 [P(A ≤ u, βᵏA + (1 − βᵏ)B ≤ u) − F(u)²] over 2p − 1, p = 2Ξ(u) = (2/π) arctan u,
    A and B independent Cauchy variables with the distribution function F.

    >>> series = cauchy_series(0.5)
    >>> round(float(chebyshev.chebval(-1.0, series)), 4)     # D_C(0)
    3.3912
    """
    powers = _powers(beta)
    return tuple(chebyshev.chebinterpolate(lambda s: _cauchy_variance((s + 1) / 2, powers), degree).tolist())


def _cauchy_variance(p, powers):
    u, below = np.tan(np.pi * p / 2)[:, None, None], ((1 + p) / 2)[:, None]
    points, share = legendre.leggauss(200)
    v = (points + 1) / 2
    # Steep near both ends for small and for large βᵏ: nodes are gathered there.
    q = below[..., None] * v**4 * (35 - 84 * v + 70 * v**2 - 20 * v**3)
    inner = share * 70 * (v * (1 - v)) ** 3
    total = np.zeros(len(p))
    for power in powers:
        with np.errstate(divide="ignore"):
            left = np.arctan((u + power / np.tan(np.pi * q)) / (1 - power)) / np.pi + 0.5
        total += below[:, 0] * np.sum(inner * left[:, 0], axis=-1) - below[:, 0] ** 2
    return 1 - p**2 + 8 * total


def _powers(beta: float) -> np.ndarray:
    """β, β², … down to what does not count."""
    count = math.ceil(math.log(_SMALL) / math.log(beta)) if beta > 0 else 0
    return beta ** np.arange(1, count + 1)


def _clenshaw(series: Vector, s: Vector) -> Vector:
    last = before = jnp.zeros_like(s)
    for number in range(series.shape[0] - 1, 0, -1):
        last, before = 2 * s * last - before + series[number], last
    return s * last - before + series[0]
