"""ν from samples whose law is known, and what must not change it."""

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.estimate import tail
from stablestep.estimate.tail import GRID, hill
from tests.statistics import assert_fails, assert_fraction

WORKERS, COORDINATES, REPEATS = 24, 400, 40


def drawn(generator, nu, coordinates=COORDINATES):
    """Student-t samples, every coordinate with a scale and a place of its own."""
    scale, place = np.exp(2 * generator.normal(size=coordinates)), generator.normal(size=coordinates)
    noise = (
        generator.standard_t(nu, (WORKERS, coordinates))
        if nu < np.inf
        else generator.normal(size=(WORKERS, coordinates))
    )
    return place + scale * noise


@pytest.mark.parametrize("nu", [1.5, 3.0])
def test_the_interval_holds_nu(seed, nu):
    generator = np.random.default_rng(seed)
    found = [tail(drawn(generator, nu)).nu for _ in range(REPEATS)]
    assert_fraction(sum(one.low <= nu <= one.high for one in found), REPEATS, 0.88)
    with assert_fails("1.3 times heavier"):
        assert_fraction(sum(one.low <= nu / 1.3 <= one.high for one in found), REPEATS, 0.88)


def test_gaussian_noise_has_no_tail(seed):
    found = tail(drawn(np.random.default_rng(seed), np.inf, 4000))
    assert found.nu.low > 15 and found.variance == "finite"


def test_infinite_variance_is_called_so_and_finite_is_not(seed):
    """What an α-stable fit gets wrong: ν = 2.5 has a variance."""
    generator = np.random.default_rng(seed)
    assert tail(drawn(generator, 1.2, 4000)).variance == "infinite"
    assert tail(drawn(generator, 2.8, 4000)).variance == "finite"


def test_the_scale_of_each_coordinate_does_not_matter(seed):
    """Pooling without a scale for each coordinate would make Gaussian noise of different scales look heavy."""
    samples = drawn(np.random.default_rng(seed), 4.0)
    found, scaled = tail(samples), tail(samples * np.geomspace(1e-8, 1e8, COORDINATES) + 3.0)
    assert scaled.nu.value == pytest.approx(found.nu.value, rel=1e-6)
    assert scaled.hill.value == pytest.approx(found.hill.value, rel=1e-6)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e300, 1e-300, -1e150])
def test_the_unit_of_the_gradient_does_not_matter(scale, seed):
    samples = drawn(np.random.default_rng(seed), 3.0, 50)
    found, scaled = tail(samples), tail(samples / np.abs(samples).max() * scale)
    for name in ("nu", "hill"):
        for side in ("value", "low", "high"):
            assert getattr(getattr(scaled, name), side) == pytest.approx(getattr(getattr(found, name), side), rel=1e-6)
    assert scaled.coordinates == found.coordinates


def test_below_the_floor_the_interval_reaches_to_zero(seed):
    """ν = .3 is told from .6 by nothing that is looked at."""
    found = tail(drawn(np.random.default_rng(seed), 0.3))
    assert found.nu.value == GRID[0] == 0.6 and found.nu.low == 0.0 and found.variance == "infinite"
    inside = tail(drawn(np.random.default_rng(seed), 2.0, 4000)).nu
    assert inside.low > 1.0


def test_hill_on_exact_quantiles():
    """The quantiles of a Pareto law give its index at every share."""
    level = (np.arange(200_000) + 0.5) / 200_000
    np.testing.assert_allclose(hill(level[:, None] ** (-1 / 1.7)), 1.7, rtol=0.01)


def test_dead_coordinates_are_left_out(seed):
    samples = drawn(np.random.default_rng(seed), 3.0)
    found = tail(np.hstack([samples, np.zeros_like(samples)]))
    assert found.nu == tail(samples).nu and found.left_out == 0


def test_zeros_are_no_tail(seed):
    """Gaussian noise that is switched off in 40 % of the gradients, as units and embeddings are, is left out."""
    generator = np.random.default_rng(seed)
    samples = drawn(generator, np.inf, 4000)
    samples[:, :2000] *= generator.uniform(size=(WORKERS, 2000)) < 0.6
    found = tail(samples)
    assert found.nu.low > 15 and (found.coordinates, found.left_out) == (2000, 2000)


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        (np.ones((7, 5)), "n ≥ 8"),
        (np.ones(40), r"shape \(40,\)"),
        (np.ones((8, 5)), "no coordinate varies"),
        (np.full((8, 5), np.nan), "not finite"),
        (np.eye(8), "all 8 coordinates that vary are exactly 0 in more than 2 % .*left out.*; give others"),
        (
            np.where(np.arange(16)[:, None] % 5 < 2, np.arange(16.0)[:, None], 3.0),
            "all 1 coordinates that vary .*one value in half",
        ),
    ],
)
def test_bad_input(gradients, message):
    with pytest.raises(InvalidInput, match=message):
        tail(gradients)
