"""Constants from what `estimate` measures."""

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.estimate import Estimate, affine_variance, dissimilarity, smoothness, tail
from stablestep.theorem import Constants, constants_from, step_limit

NORMS = np.linspace(0.5, 4, 8)
SMOOTH = smoothness(NORMS, 1 + 2 * NORMS + 0.1 * np.sin(9 * NORMS))
SPREAD = affine_variance(NORMS**2, (0.5 + 0.2 * NORMS**2) * (1 + 0.1 * np.cos(7 * NORMS)))
APART = dissimilarity(NORMS[:, None, None] + np.array([[-1.0], [1.0]]) * (1 + 0.1 * np.sin(3 * NORMS))[:, None, None])


def test_every_number_is_that_of_its_estimate():
    c = constants_from(SMOOTH, SPREAD, dissimilarity=APART, dim=10, count=4, omega=3.0)
    assert (c.L0, c.L1, c.sigma0_sq[0], c.sigma1_sq[3]) == (
        SMOOTH.L0.value,
        SMOOTH.L1.value,
        SPREAD.sigma0_sq.value,
        SPREAD.sigma1_sq.value,
    )
    assert c.dissimilarity == APART.pair and (c.dim, c.agents, c.omega[0]) == (10, 4, 3.0)
    by_hand = Constants(
        L0=c.L0,
        L1=c.L1,
        dim=10,
        count=4,
        omega=3.0,
        sigma0_sq=c.sigma0_sq,
        sigma1_sq=c.sigma1_sq,
        dissimilarity=APART.pair,
    )
    assert step_limit("4.2", c, 2.0, 0.5) == step_limit("4.2", by_hand, 2.0, 0.5)


def test_the_cautious_end_allows_no_larger_step():
    plain, cautious = (constants_from(SMOOTH, SPREAD, dim=10, end=end) for end in ("value", "high"))
    assert SMOOTH.L0.high == cautious.L0 and cautious.sigma1_sq[0] == SPREAD.sigma1_sq.high
    assert step_limit("4.2", cautious, 2.0, 0.5) < step_limit("4.2", plain, 2.0, 0.5)


def test_signs_take_the_tail(seed):
    heavy = tail(np.random.default_rng(seed).standard_t(3.0, (24, 400)))
    for end, nu in (("value", heavy.nu.value), ("high", heavy.nu.low)):
        c = constants_from(SMOOTH, tail=heavy, end=end, dim=3, scale_max=0.5)
        assert c.nu == nu and c.signs and step_limit("discrete.sign", c) > 0


BAD = [
    (
        lambda: constants_from(SPREAD, dim=1),
        r"smoothness has no L0 that is an estimate; give what estimate.smoothness\(…\) returns",
    ),
    (lambda: constants_from(SMOOTH, 0.5, dim=1), "variance has no sigma0_sq"),
    (lambda: constants_from(SMOOTH, SPREAD, sigma0_sq=1.0, dim=1), "sigma0_sq is given by an estimate and by hand"),
    (lambda: constants_from(SMOOTH, end="low", dim=1), 'end is "low", but must be "value" or "high"'),
    (lambda: constants_from(smoothness(NORMS[:4], NORMS[:4]), end="high", dim=1), "smoothness has no interval for L0"),
    (lambda: constants_from(SMOOTH, dissimilarity=(1.0, 2.0), dim=1), "dissimilarity has no B2"),
    (lambda: constants_from(SMOOTH, dim=0), "dim is 0"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(wrong, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_an_estimate_is_what_has_a_value_and_an_interval():
    class Mine:
        L0, L1 = Estimate(1.0, 0.5, 2.0), Estimate(3.0, 3.0, 4.0)

    assert constants_from(Mine(), dim=2, end="high").L1 == 4.0
