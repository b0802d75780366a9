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


@pytest.mark.parametrize(
    ("norms", "curvatures", "options", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], {}, "at least 3"),
        (NORMS, [1.0, 2.0, 3.0], {}, "gradient_norm has 4 points and curvature 3"),
        ([1.0, -2.0, 3.0], [1.0, 2.0, 3.0], {}, "gradient_norm has -2.0"),
        ([1.0, np.nan, 3.0], [1.0, 2.0, 3.0], {}, r"gradient_norm\[1\] is .*nan"),
        (NORMS, CURVATURES, {"at": -1.0}, "at is -1.0"),
    ],
)
def test_bad_input(norms, curvatures, options, message):
    with pytest.raises(InvalidInput, match=message):
        smoothness(norms, curvatures, **options)
