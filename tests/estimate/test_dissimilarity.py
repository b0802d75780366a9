"""How far clients' gradients differ: exact on quadratics, an envelope elsewhere."""

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.estimate import dissimilarity
from tests.statistics import assert_fails, assert_mean

CENTRES = np.array([[0.0, 1.0], [2.0, -1.0], [4.0, 3.0]])
SPREAD = float(np.mean(np.sum((CENTRES - CENTRES.mean(0)) ** 2, axis=1)))


def bowls(points, slopes=(1.0, 1.0, 1.0)):
    """∇f_i = λ_i (x − c_i) at every point [p, n, d]."""
    return np.array(slopes)[None, :, None] * (points[:, None, :] - CENTRES)


def test_one_hessian_gives_one_and_the_spread_of_the_centres(seed):
    points = np.random.default_rng(seed).normal(size=(20, 2)) * 5
    found = dissimilarity(bowls(points))
    assert found.B2.value == pytest.approx(1, abs=1e-9) and found.zeta2.value == pytest.approx(SPREAD, rel=1e-9)
    assert found.pair == (found.B2.value, found.zeta2.value) and found.zeta2.low * (1 - 1e-9) <= SPREAD <= found.zeta2.high * (1 + 1e-9)


def test_it_holds_at_every_point_and_less_would_not(seed):
    points = np.random.default_rng(seed).normal(size=(30, 2)) * 5
    each = bowls(points, (0.5, 1.0, 3.0))
    squares, means = np.mean(np.sum(each**2, axis=2), axis=1), np.sum(each.mean(1) ** 2, axis=1)
    found = dissimilarity(each)
    assert np.all(squares <= found(means) * (1 + 1e-9)) and found.B2.value >= 1
    assert np.any(squares > means + 0.99 * (found(means) - means))
    assert not np.all(squares <= means + 0.9 * (found(means) - means))


def test_the_unit_of_the_gradient_does_not_matter(seed):
    each = bowls(np.random.default_rng(seed).normal(size=(12, 2)) * 5, (0.5, 1.0, 3.0))
    found, scaled = dissimilarity(each), dissimilarity(1e100 * each)
    for side in ("value", "low", "high"):
        assert getattr(scaled.B2, side) == pytest.approx(getattr(found.B2, side), rel=1e-6)
        assert getattr(scaled.zeta2, side) == pytest.approx(1e200 * getattr(found.zeta2, side), rel=1e-6)


def test_the_noise_of_gradients_is_taken_off(seed):
    """One noisy look at a point, three times over, so that the envelope is that look: ζ² in the mean, where noise alone adds 2σ²·⅔."""
    generator, variance = np.random.default_rng(seed), 0.5
    looks = [np.repeat(bowls(np.zeros((1, 2))) + generator.normal(0, 0.5, (1, 3, 2)), 3, axis=0) for _ in range(2000)]

    def excess(each, noise):
        """What the line says there, ‖∇f‖² taken off: of a single place no more is known."""
        square = max(0.0, float(np.sum(each[0].mean(0) ** 2)) - noise / 3)
        return float(dissimilarity(each, noise)(square)) - square

    assert_mean([excess(each, variance) for each in looks], SPREAD)
    with assert_fails("noise left in"):
        assert_mean([excess(each, 0.0) for each in looks], SPREAD)


def test_few_points_give_no_interval():
    found = dissimilarity(bowls(np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 2.0]])))
    assert found.B2.covers == "nothing" and found.B2.low == 1.0 and found.B2.high == np.inf


GOOD = bowls(np.eye(2).repeat(2, axis=0))
BAD = [
    (GOOD[:2], {}, r"gradients has shape \(2, 3, 2\).*at least 3 points and 2 clients"),
    (GOOD[:, :1], {}, "2 clients"),
    (GOOD[0], {}, r"gradients has shape \(3, 2\)"),
    (np.where(GOOD == GOOD[0, 0, 0], np.nan, GOOD), {}, "not finite"),
    (GOOD, {"noise": -1.0}, "noise is -1.0, but must be a variance of at least 0"),
    (GOOD, {"noise": [1.0, 2.0]}, "one for each of the 4 points"),
    (GOOD, {"noise": np.nan}, "noise is nan"),
]


@pytest.mark.parametrize(("gradients", "options", "message"), BAD)
def test_bad_input(gradients, options, message):
    with pytest.raises(InvalidInput, match=message):
        dissimilarity(gradients, **options)
