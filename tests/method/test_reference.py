"""The reference itself against the printed numbers of theory2.md section 8 and the closed forms of its section 2."""

import numpy as np
import pytest

from stablestep.compressor import EF21, ErrorFeedback, Momentum, RandK, RandomSparsification
from stablestep.server import HeavyBall, Plain
from tests.method.reference import (
    Case,
    Enumerated,
    Estimate,
    Feedback,
    critical,
    heavy_ball,
    nesterov,
    one_dimensional,
    plain,
    stationary,
    transient,
)


def loss(recursion):
    return float(stationary(recursion)[0][0, 0]) / 2


def masked(p, count, **options):
    return lambda eta: one_dimensional(p, count, eta, **options)


def relative(a):
    return lambda eta: one_dimensional(eta=eta, relative=a)


HEAVY = [(0.9, 0, 3.8), (0.9, 4, 0.0493506494), (0.9, 8, 0.0248366013), (0.5, 4, 0.2307692308)]
NESTEROV = [(0.9, 0, 1.3571428571), (0.9, 4, 0.0709717387), (0.9, 99, 0.0020487794), (0.5, 4, 0.2262087348)]


@pytest.mark.parametrize(("beta", "a", "step"), HEAVY)
def test_heavy_ball_step(beta, a, step):
    assert critical(lambda eta: heavy_ball(relative(a)(eta), beta), 4.0 if a == 0 else 1.0) == pytest.approx(
        step, abs=6e-11
    )
    assert step == pytest.approx(2 * (1 + beta) / (1 + a * (1 + beta) / (1 - beta)), abs=6e-11)


@pytest.mark.parametrize(("beta", "a", "step"), NESTEROV)
def test_nesterov_step(beta, a, step):
    found = critical(lambda eta: nesterov(relative(a)(eta), beta), 2.0 if a < 9 else 0.1)
    assert found == pytest.approx(step, abs=1e-10)
    quadratic = [-beta * (1 + 2 * beta) * (1 + a), -((1 - beta) - 4 * beta**2 + a * (1 + beta)), 2 * (1 - beta**2)]
    assert found == pytest.approx(max(np.roots(quadratic)), rel=1e-12)


def test_momentum_levels():
    quiet, noisy = one_dimensional(eta=0.05), one_dimensional(eta=0.01, relative=4)
    found = [
        loss(heavy_ball(quiet, 0.9)),
        loss(heavy_ball(noisy, 0.9)),
        loss(nesterov(quiet, 0.9)),
        loss(nesterov(noisy, 0.9)),
    ]
    assert found == pytest.approx([0.1266666667, 0.0313531353, 0.0954399849, 0.0288082840], abs=6e-11)


# p, N: the step of EF and EF21, and of unbiased compression.
STEPS = [
    (0.1, 1, 0.1052631579, 0.2), (0.1, 2, 0.2099447514, None), (0.25, 2, 0.56, 0.8), (0.5, 3, 1.6363636364, None),
    (0.1, 10, 1.0270270270, 1.0526315789), (0.1, 11, 1.1266846361, 1.1), (0.1, 100, 8.2608695652, 1.8348623853),
]  # fmt: skip


@pytest.mark.parametrize(("p", "count", "step", "unbiased"), STEPS)
def test_feedback_step(p, count, step, unbiased):
    case = masked(p, count)
    for kind in (Feedback, Estimate):
        assert critical(lambda eta, kind=kind: kind(case(eta)), 2 * step) == pytest.approx(step, abs=6e-11)
    if unbiased is not None:
        assert critical(lambda eta: plain(case(eta)), 2.1) == pytest.approx(unbiased, abs=6e-11)


NOISY = [
    (Feedback, 0.25, 1, 1, 0.25), (Feedback, 0.25, 2, 1, 0.4488198125), (Feedback, 0.25, 2, 3, 0.3368374522),
    (Estimate, 0.25, 1, 1, 0.1428571429), (Estimate, 0.25, 2, 1, 0.2828282828), (Estimate, 0.25, 2, 3, 0.1421319797),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "p", "count", "s", "step"), NOISY)
def test_feedback_step_under_relative_noise(kind, p, count, s, step):
    case = masked(p, count, relative=s)
    assert critical(lambda eta: kind(case(eta)), 1.0) == pytest.approx(step, abs=6e-11)


LEVELS = [
    (1, Feedback, 0.0061728395), (1, Estimate, 0.1172839506), (1, plain, 0.0555555556),
    (2, Feedback, 0.0030250145), (2, Estimate, 0.0525014543),
    (4, Feedback, 0.0014994472), (4, Estimate, 0.0249447208), (4, plain, 0.0129198966),
]  # fmt: skip


@pytest.mark.parametrize(("count", "kind", "level"), LEVELS)
def test_feedback_level(count, kind, level):
    assert loss(kind(masked(0.1, count)(0.02))) == pytest.approx(level, abs=6e-11)


@pytest.mark.parametrize(("p", "mu", "kappa"), [(0.1, 0.1, 1.4986149585), (0.25, 0.3, 1.6687306502), (0.1, 1.0, 19.0)])
def test_noise_of_ef21_momentum(p, mu, kappa):
    """f∞ → κηq/4 as η → 0, with an error of order η: two steps extrapolated."""
    levels = [loss(Enumerated(one_dimensional(p, 1, eta), mu)) * 4 / eta for eta in (1e-5, 2e-5)]
    assert 2 * levels[0] - levels[1] == pytest.approx(kappa, rel=1e-6)


@pytest.mark.parametrize(
    ("mu", "p", "count", "step"),
    [(0.1, 0.1, 1, 0.1079586673), (0.1, 0.25, 2, 0.3821015491), (0.5, 0.25, 2, 0.4959108633)],
)
def test_step_of_ef21_momentum(mu, p, count, step):
    assert critical(lambda eta: Enumerated(one_dimensional(p, count, eta), mu), 2 * step) == pytest.approx(
        step, abs=6e-11
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_all_masks_one_by_one(count):
    """EF21 is EF21-SGDM with μ = 1: the recursion of mean matrices against the sum over masks, from the same start."""
    case = one_dimensional(0.3, count, 0.2, q=0.5)
    one, other = Estimate(case), Enumerated(case, mu=1.0)
    (S,) = other.begin(np.ones(1))
    G, pairs = S[1 + count, 1 + count], S[1 + count, -1] if count > 1 else S[0, 0]
    moments = (S[:1, :1], S[:1, 1 + count : 2 + count], np.array([[G]]), np.array([[pairs]]))
    for _ in range(20):
        moments, (S,) = one.step(moments), other.step((S,))
        assert moments[0][0, 0] == pytest.approx(S[0, 0], rel=1e-12)


TWO = Case(np.array([[1, 0.6], [0.6, 0.8]]), np.array([[1, 0.3], [0.3, 0.5]]), p=0.3, count=3, eta=0.2)


def test_matrices():
    A, B, *_ = stationary(Feedback(TWO))
    np.testing.assert_allclose(A, [[0.06166394, -0.01185382], [-0.01185382, 0.04451308]], atol=6e-9)
    np.testing.assert_allclose(B, [[0.01769125, 0.00120968], [-0.00469892, 0.00896866]], atol=6e-9)
    A, B, *_ = stationary(Estimate(TWO))
    np.testing.assert_allclose(A, [[0.34800145, -0.20476225], [-0.20476225, 0.31245028]], atol=6e-9)
    np.testing.assert_allclose(B, [[0.03973131, 0.0335856], [-0.02869755, 0.02242992]], atol=6e-9)


def test_different_data():
    """Section 6: d = 5, N = 8, ω = 3, η = .1, σ₀ = .3, ζ² = 11.4789 (printed to six digits)."""
    case = Case(np.eye(5), 0.09 * np.eye(5), 0.25, 8, 0.1, spread=11.4789 / 5 * np.eye(5))
    assert np.trace(stationary(plain(case))[0]) / 2 == pytest.approx(0.1215992731, rel=5e-6)
    assert np.trace(stationary(plain(case.shared))[0]) / 2 == pytest.approx(0.00703125, abs=1e-12)


def test_stationary_is_where_the_transient_goes():
    for recursion in (Feedback(TWO), Estimate(TWO), heavy_ball(TWO, 0.5), nesterov(TWO, 0.5)):
        d = len(TWO.H)
        np.testing.assert_allclose(
            transient(recursion, [3.0, 1.0], 600)[-1], stationary(recursion)[0][:d, :d], rtol=1e-8
        )


P = {0.25: RandomSparsification(omega=3, scaled=False), 0.1: RandK(k=1, scaled=False)}
DELAYS = [
    (HeavyBall(0.8), None, 9), (HeavyBall(0.8, nesterov=True), None, 7.4), (Plain(), ErrorFeedback(P[0.25]), 7),
    (Plain(), EF21(P[0.25]), 7), (Plain(), ErrorFeedback(P[0.1]), 19),
    (Plain(), Momentum(EF21(P[0.25], warm=True), beta=0.7, warm=True), 11.6667),
]  # fmt: skip


@pytest.mark.parametrize(("server", "compressor", "expected"), DELAYS)
def test_delays(server, compressor, expected):
    delay = server.delay + (compressor.delay(10) if compressor is not None else 0)
    assert 1 + 2 * delay == pytest.approx(expected, abs=6e-5)
