"""The envelope of measured curvatures: a linear program solved exactly."""

import numpy as np
import pytest
from scipy.optimize import linprog

from stablestep.errors import InvalidInput
from stablestep.estimate import smoothness

NORMS, CURVATURES = [0.5, 1.0, 2.0, 3.0], [1.0, 2.0, 2.5, 3.0]


def test_the_envelope_is_that_of_linear_programming(seed):
    generator = np.random.default_rng(seed)
    for _ in range(50):
        norms, bent = generator.uniform(0, 3, 12), generator.uniform(-1, 5, 12)
        at = generator.uniform(0, 4)
        found = smoothness(norms, bent, at=at)
        solved = linprog([1, at], A_ub=-np.stack([np.ones(12), norms], 1), b_ub=-bent, bounds=[(0, None)] * 2)
        assert float(found(at)) == pytest.approx(solved.fun, rel=1e-9)
        assert np.all(found(norms) >= bent - 1e-9) and found.L0.value >= 0 and found.L1.value >= 0


def test_known_pairs():
    """x⁴/4 has f'' = 3x² ≤ L0 + L1|x|³; at the norm of its tightest point the envelope touches it."""
    x = np.linspace(0.01, 3, 300)
    found = smoothness(x**3, 3 * x**2, at=1.0)
    assert float(found(1.0)) == pytest.approx(3.0, rel=1e-3)
    assert found.L1.value == pytest.approx(2.0, rel=1e-2)  # the slope of 3 g^(2/3) at 1


def test_bounded_curvature_needs_no_L1():
    found = smoothness([1.0, 2.0, 3.0], [5.0, 5.0, 4.0])
    assert (found.L0.value, found.L1.value) == (5.0, 0.0)


def test_the_interval_says_how_much_hangs_on_single_points():
    """With one point that sticks out its L1 may vanish; with many on the line it cannot."""
    norms = np.linspace(0.0, 3.0, 13)
    line = smoothness(norms, 1 + 2 * norms)
    assert line.L1.low == pytest.approx(2.0) and line.L1.high < 2.5
    single = smoothness(norms, np.where(norms == 3.0, 7.0, 1.0))
    assert single.L1.value > 0.5 and single.L1.low == 0.0


def test_what_the_interval_covers_is_said(seed):
    """Curvatures up to 5: the line above a sample lies below 5 in every case, where nine in ten would hold the truth by chance."""
    generator = np.random.default_rng(seed)
    for _ in range(20):
        found = smoothness(generator.uniform(1, 2, 40), generator.uniform(0, 5, 40))
        assert float(found(found.at)) < 5.0
    assert found.L0.covers == found.L1.covers == "redrawn points" and "for redrawn points" in str(found.L0)


@pytest.mark.parametrize(
    ("norms", "bent"),
    [(np.arange(1.0, 9.0), np.full(8, 5.0)), (np.arange(1.0, 9.0), 9 - np.arange(1.0, 9.0)), (np.ones(8), np.ones(8))],
    ids=["constant", "falling", "one point"],
)
def test_an_interval_without_width_is_not_called_ninety_percent(norms, bent):
    found = smoothness(norms, bent)
    assert found.L1.low == found.L1.value == found.L1.high == 0.0
    assert found.L1.covers == "redrawn points" and str(found.L1) == "0 (the same for redrawn points)"


@pytest.mark.parametrize("count", [3, 4, 5])
def test_few_points_give_no_interval(count):
    found = smoothness(np.arange(count), 1 + 2 * np.arange(count))
    for one, value in ((found.L0, 1.0), (found.L1, 2.0)):
        assert one.value == pytest.approx(value) and (one.low, one.high, one.covers) == (0.0, np.inf, "nothing")
        assert str(one) == f"{value:.3g} (no interval)"


def test_units_do_not_matter(seed):
    generator = np.random.default_rng(seed)
    norms, bent = generator.uniform(0, 3, 12), generator.uniform(0, 5, 12)
    found = smoothness(norms, bent)
    for one, other in ((1e200, 1e200), (1e-200, 1e-200), (1e-150, 1e150), (1e308, 1e-300)):
        scaled = smoothness(norms / 3 * one, bent / 5 * other)
        for side in ("value", "low", "high"):
            assert getattr(scaled.L0, side) == pytest.approx(
                getattr(found.L0, side) / 5 * other, rel=1e-9, abs=1e-12 * other
            )
            expected = getattr(found.L1, side) / 5 * 3 * (other / one)
            assert getattr(scaled.L1, side) == pytest.approx(expected, rel=1e-9, abs=1e-12 * (other / one))


@pytest.mark.parametrize(
    ("norms", "curvatures", "options", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], {}, "at least 3"),
        (NORMS, [1.0, 2.0, 3.0], {}, "gradient_norm has 4 points and curvature 3"),
        ([1.0, -2.0, 3.0], [1.0, 2.0, 3.0], {}, "gradient_norm has -2.0"),
        ([1.0, np.nan, 3.0], [1.0, 2.0, 3.0], {}, r"gradient_norm\[1\] is .*nan"),
        (NORMS, CURVATURES, {"at": -1.0}, "at is -1.0"),
        *((NORMS, CURVATURES, {"at": value}, "at is .*at least 0") for value in (np.nan, np.inf, "1", True)),
    ],
)
def test_bad_input(norms, curvatures, options, message):
    with pytest.raises(InvalidInput, match=message):
        smoothness(norms, curvatures, **options)
