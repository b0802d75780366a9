"""Student-t: the distribution function of the papers' sign theory, and a tail probability fast enough for simulation."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev

from stablestep.later import special
from stablestep.stream import fast_log, horner

_RESOLVED = 1e-13  # tails below this are never drawn: a word has 32 bits


def Xi(x, df: float):
    """Ξ_ν(x) = F_{t_ν}(x) − ½, the shape of the mean sign (P Thm B.8, Eqs. 124-126); ν = ∞ is the normal law. NumPy, float64.

    >>> float(np.round(Xi(1.0, 1.0), 12))
    0.25
    """
    return special.ndtr(x) - 0.5 if np.isinf(df) else special.stdtr(df, x) - 0.5


def sup_density(df: float) -> float:
    """M_ν = sup Ξ'_ν = Γ((ν+1)/2) / (√(πν) Γ(ν/2)) (P Eq. 134, Thm B.9).

    >>> round(sup_density(1.0), 10)
    0.3183098862
    """
    return float(1 / np.sqrt(2 * np.pi) if np.isinf(df) else 1 / (np.sqrt(df) * special.beta(0.5, df / 2)))


def slope(df: float) -> float:
    """ℓ_ν = 2 Ξ'_ν(0) = 2 M_ν (P Thms B.8, B.9).

    >>> round(slope(1.0), 10), round(slope(np.inf), 10)
    (0.6366197724, 0.7978845608)
    """
    return 2 * sup_density(df)


@lru_cache(maxsize=256)
def tail_fit(df: float) -> tuple[float, ...]:
    """Coefficients of P(T > z) / y^(ν/2) as a polynomial of w = z/√(ν+z²), y = 1 − w²; the last two are the centre and half width.

    The degree grows until the error of the tail probability is below 2e-8.
    """
    far = -special.stdtrit(df, _RESOLVED)
    end = far / np.sqrt(df + far**2)
    check = np.linspace(0, end, 2001)
    for degree in range(8, 80, 4):
        series = chebyshev.chebinterpolate(lambda s: _scaled_tail((s + 1) * end / 2, df), degree)
        fitted = chebyshev.chebval(2 * check / end - 1, series) * (1 - check**2) ** (df / 2)
        if np.max(np.abs(fitted - _tail64(check, df))) < 2e-8:
            break
    return tuple(float(number) for number in (*chebyshev.cheb2poly(series)[::-1], end / 2, end / 2))


def _tail64(w, df):
    return special.stdtr(df, -w * np.sqrt(df / np.maximum(1 - w**2, 1e-300)))


def _scaled_tail(w, df):
    return _tail64(w, df) / (1 - w**2) ** (df / 2)


def tail(z: Float[Array, "*d"], df, fit) -> Float[Array, "*d"]:
    """P(T_ν > z) for z ≥ 0: within 3e-7 in float32 (by `fit` of `tail_fit`), to rounding in float64.

    >>> import stablestep.noise.student as student
    >>> fit = jnp.asarray(student.tail_fit(2.5), jnp.float32)
    >>> round(float(tail(jnp.float32(1.0), jnp.float32(2.5), fit)), 6)
    0.202031
    """
    if z.dtype != jnp.float32:
        return jax.scipy.special.betainc(df / 2, jnp.full_like(z, 0.5), df / (df + z * z)) / 2
    ratio = jnp.square(jnp.minimum(z, np.float32(1e15))) / df
    grown = 1 + ratio
    inverse = 1 / grown
    # log(1 + ratio), with what 1 + ratio rounds away put back: the power multiplies its error by df/2.
    log = fast_log(grown) + (ratio - (grown - 1)) * inverse
    centre, half = fit[-2], fit[-1]
    scaled = (jnp.minimum(jnp.sqrt(ratio * inverse), centre + half) - centre) / half
    return jnp.clip(horner(fit[:-2], scaled) * jnp.exp(-df / 2 * log), 0, 0.5)


@jax.custom_jvp
def odd(z: Float[Array, "*d"], df, fit) -> Float[Array, "*d"]:
    """2Ξ_ν(z) = P(|T_ν| < |z|) with the sign of z; its derivative in z is 2Ξ'_ν(z), exactly, not that of the fit.

    >>> fit = jnp.asarray(tail_fit(2.5), jnp.float32)
    >>> round(float(jax.grad(odd)(jnp.float32(0.0), jnp.float32(2.5), fit)), 5) == round(slope(2.5), 5)
    True
    """
    if z.dtype != jnp.float32:
        return jnp.sign(z) * jax.scipy.special.betainc(jnp.full_like(z, 0.5), df / 2, z * z / (df + z * z))
    return jnp.sign(z) * (1 - 2 * tail(jnp.abs(z), df, fit))


@odd.defjvp
def _odd_jvp(primals, tangents):
    z, df, fit = primals
    return odd(z, df, fit), 2 * density(z, df) * tangents[0]


def density(z: Float[Array, "*d"], df) -> Float[Array, "*d"]:
    """Ξ'_ν, the density of t_ν, for a finite ν."""
    df = jnp.asarray(df, z.dtype)
    half = (df + 1) / 2
    log = (
        jax.scipy.special.gammaln(half)
        - jax.scipy.special.gammaln(df / 2)
        - jnp.log(df * np.asarray(np.pi, z.dtype)) / 2
    )
    return jnp.exp(log - half * jnp.log1p(z * z / df))


_NODES = 400


@lru_cache(maxsize=1)
def _stretched() -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre over the quantiles p = v²(3 − 2v) of w, smooth at both ends for every ν: the values v, and their weights."""
    nodes, weights = special.roots_legendre(_NODES)
    v = (nodes + 1) / 2
    return v, weights * 3 * v * (1 - v)


def chi2_weights() -> np.ndarray:
    """The weights of `chi2_nodes`."""
    return _stretched()[1]


def chi2_nodes(df: float) -> np.ndarray:
    """Values w of χ²_ν/ν such that E h(w) ≈ Σ chi2_weights() · h(w)."""
    v, _ = _stretched()
    return special.gammaincinv(df / 2, v**2 * (3 - 2 * v)) * 2 / df
