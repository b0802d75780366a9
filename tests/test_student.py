"""Student-t: the papers' constants, and a tail probability that simulation can afford."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from stablestep.noise.student import Xi, slope, sup_density, tail, tail_fit

DEGREES = [0.3, 0.5, 0.9, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.7, 10.0, 20.0, 30.0, 100.0, 1000.0]
POINTS = np.concatenate([[0.0], np.geomspace(1e-6, 1e6, 4_001), np.linspace(0, 30, 4_001)])


@pytest.mark.parametrize("df", DEGREES)
def test_tail_in_float32(df):
    fit = jnp.asarray(tail_fit(df), jnp.float32)
    points = POINTS.astype(np.float32)
    found = np.asarray(tail(jnp.asarray(points), jnp.float32(df), fit), np.float64)
    np.testing.assert_allclose(found, special.stdtr(df, -points.astype(np.float64)), atol=3e-7, rtol=0)
    assert found.min() >= 0 and found.max() <= 0.5


@pytest.mark.parametrize("df", DEGREES)
def test_tail_in_float64(df):
    points = np.geomspace(1e-3, 100, 101)
    found = tail(jnp.asarray(points), df, jnp.asarray(tail_fit(df)))
    np.testing.assert_allclose(found, special.stdtr(df, -points), rtol=1e-9)


def test_infinite_argument():
    fit = jnp.asarray(tail_fit(2.5), jnp.float32)
    assert float(tail(jnp.float32(jnp.inf), jnp.float32(2.5), fit)) < 1e-10


CONSTANTS = [(1.0, 0.6366197724), (2.0, 0.7071067812), (np.inf, 0.7978845608)]  # ν, ℓ_ν


@pytest.mark.parametrize(("df", "expected"), CONSTANTS)
def test_slope_and_sup_density(df, expected):
    assert slope(df) == pytest.approx(expected, abs=1e-10)
    assert sup_density(df) == pytest.approx(expected / 2, abs=1e-10)


@pytest.mark.parametrize("df", [*DEGREES, np.inf])
def test_slope_is_twice_the_derivative_of_xi(df):
    step = 1e-5
    assert slope(df) == pytest.approx((Xi(step, df) - Xi(-step, df)) / step, rel=1e-6)


@pytest.mark.parametrize("df", DEGREES)
def test_sup_density_by_gamma_functions(df):
    expected = np.exp(special.gammaln((df + 1) / 2) - special.gammaln(df / 2)) / np.sqrt(np.pi * df)
    assert sup_density(df) == pytest.approx(expected, rel=1e-12)


XI = {
    1.0: lambda x: np.arctan(x) / np.pi,
    2.0: lambda x: x / (2 * np.sqrt(2 + x**2)),
    4.0: lambda x: np.sin(t := np.arctan(x / 2)) * (1 + np.cos(t) ** 2 / 2) / 2,
    np.inf: lambda x: special.erf(x / np.sqrt(2)) / 2,
}


@pytest.mark.parametrize("df", XI)
def test_xi_closed_forms(df):
    points = np.concatenate([np.linspace(-20, 20, 401), [-1e8, 1e8]])
    np.testing.assert_allclose(Xi(points, df), XI[df](points), atol=1e-14)


@pytest.mark.parametrize(("df", "expected"), [(1.0, 0.5), (2.0, 0.57735027)])  # ℓ_ν(R) = 2 Ξ(R)/R at R = 1
def test_xi_secant(df, expected):
    assert 2 * Xi(1.0, df) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("df", [1.0, 1.5, 2.0, 5.0, 30.0, np.inf])
def test_xi_between_the_bounds_of_the_corrected_theorem(df):
    y, ell = np.linspace(0, 50, 5001), slope(df)
    assert np.all(2 * Xi(y, df) >= ell * y / (1 + ell * y) - 1e-14)
    assert np.all(2 * Xi(y, df) <= np.minimum(1, ell * y) + 1e-14)
