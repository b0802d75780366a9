"""The mean-square edge: in closed form for one coordinate, and against eigenvalues of Kronecker products for three."""

import dataclasses

import numpy as np
import pytest
from scipy import optimize

from stablestep.compressor import (
    EF21,
    QSGD,
    ErrorFeedback,
    Identity,
    Momentum,
    NaturalCompression,
    RandK,
    RandomSparsification,
    Sign,
    TernGrad,
    TopK,
)
from stablestep.errors import InvalidInput
from stablestep.message import moments
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic, Quartic
from stablestep.server import HeavyBall, Majority
from stablestep.setup import Agents, Setup
from stablestep.stability import critical_step
from tests.method import reference
from tests.stability.reference import DENSE, MEAN_SQUARE, SPARSE

EYE = np.eye(3)


def edge(setup, x0=1.0):
    found = critical_step(setup, x0=x0, method="moments")
    assert found.status == "exact" and found.step == found.low == found.high and found.cost > 0
    return found.step


@pytest.mark.parametrize(
    ("omega", "sigma1", "count", "mask"),
    [(0, 0, 1, "own"), (4, 0, 1, "own"), (0, 2, 5, "own"), (4, 0.5, 3, "own"), (4, 0.5, 3, "shared")],
)
def test_one_coordinate(omega, sigma1, count, mask):
    """2/(λ(1 + A/N)), A = ω + (1 + ω) σ1²; a shared mask is not averaged."""
    setup = Setup(Quadratic([3.0]), Agents(count, Gaussian(0.7, sigma1), RandomSparsification(omega), mask=mask))
    compression = omega if mask == "shared" else omega / count
    assert edge(setup) == pytest.approx(2 / (3 * (1 + compression + (1 + omega) * sigma1**2 / count)), rel=1e-9)


def test_the_number():
    assert edge(SPARSE) == pytest.approx(MEAN_SQUARE, rel=1e-12)


def noise(second, sigma1):
    """Covariance of the gradient noise for gradients of this second moment: σ1_j² E‖g‖²."""
    return np.diag(np.broadcast_to(np.square(sigma1), 3)) * np.trace(second)


def bernoulli(second, sigma, omega):
    """theory 2.4: Σ + ω diag(g² + diag Σ)."""
    return sigma + omega * np.diag(np.diag(second) + np.diag(sigma))


def rand_k(second, sigma, omega):
    """theory 2.4: Σ + (ω/(d − 1))(d diag(S) − S), S = ggᵀ + Σ."""
    both = second + sigma
    return sigma + omega / 2 * (3 * np.diag(np.diag(both)) - both)


CASES = {
    "plain": (Agents(2), lambda g: 0 * g),
    "relative noise": (Agents(4, Gaussian(0.5, 0.6)), lambda g: noise(g, 0.6) / 4),
    "noise by coordinate": (Agents(1, Gaussian(0, [0.2, 0.9, 0.5])), lambda g: noise(g, [0.2, 0.9, 0.5])),
    "own masks": (
        Agents(3, Gaussian(0.5, 0.3), RandomSparsification(4.0)),
        lambda g: bernoulli(g, noise(g, 0.3), 4) / 3,
    ),
    "a shared mask": (
        Agents(3, Gaussian(0.5, 0.3), RandomSparsification(4.0), mask="shared"),
        lambda g: bernoulli(g, noise(g, 0.3) / 3, 4),
    ),
    "own rand-k": (Agents(2, Gaussian(0.5, 0.3), RandK(1)), lambda g: rand_k(g, noise(g, 0.3), 2) / 2),
    "shared rand-k": (
        Agents(2, Gaussian(0.5, 0.3), RandK(1), mask="shared"),
        lambda g: rand_k(g, noise(g, 0.3) / 2, 2),
    ),
}
TWO = (
    [Agents(1, Gaussian(0.1, 0.5), RandK(1)), Agents(3, StudentT(3.0), RandomSparsification(1.0))],
    lambda g: (rand_k(g, noise(g, 0.5), 2) + 3 * bernoulli(g, 0 * g, 1)) / 16,
)


def by_eigenvalues(hessian, covariance):
    """The h at which S ↦ (I − hH) S (I − hH) + h² C(HSH) has spectral radius 1, as a 9 × 9 matrix."""

    def radius(h):
        keep = EYE - h * hessian
        columns = []
        for j in range(9):
            unit = np.zeros(9)
            unit[j] = 1
            second = unit.reshape(3, 3)
            columns.append((keep @ second @ keep + h**2 * covariance(hessian @ second @ hessian)).ravel())
        return float(np.max(np.abs(np.linalg.eigvals(np.array(columns).T))))

    most = 2 / np.linalg.eigvalsh(hessian)[-1]
    return optimize.brentq(lambda h: radius(h) - 1, 1e-3 * most, 1.01 * most, xtol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_three_coordinates(name):
    agents, covariance = CASES[name]
    assert edge(Setup(Quadratic(DENSE), agents)) == pytest.approx(by_eigenvalues(DENSE, covariance), rel=1e-8)


def test_two_groups():
    agents, covariance = TWO
    found = edge(Setup(Quadratic(DENSE), *agents))
    assert found == pytest.approx(by_eigenvalues(DENSE, covariance), rel=1e-8)
    assert found != pytest.approx(by_eigenvalues(DENSE, lambda g: 4 * covariance(g)), rel=0.1)


def test_a_diagonal_with_a_diagonal_covariance():
    """Own Bernoulli masks without noise do not mix coordinates: the largest λ decides."""
    setup = Setup(Quadratic([0.2, 4.0, 1.0]), Agents(2, None, RandomSparsification(3.0)))
    assert edge(setup) == pytest.approx(2 / (4 * 2.5), rel=1e-9)


def test_it_does_not_depend_on_the_start():
    assert edge(SPARSE, 0.0) == edge(SPARSE, 1e6)


def test_a_thousand_coordinates_fall_apart():
    """Where H is diagonal: λmax decides, in closed form."""
    setup = Setup(
        Quadratic(np.geomspace(0.01, 2, 1000)),
        Agents(4, Gaussian(1.0), RandomSparsification(4.0)),
        server=HeavyBall(0.9),
    )
    assert edge(setup) == pytest.approx(2 * 1.9 / (2 * (1 + 1.9 / 0.1)), rel=1e-11)


def test_groups_with_quadratics_of_their_own():
    """Two agents, λ = 1 and 3: E x² is multiplied by (1 − 2h)² + 4h²(ω/4)(1² + 3²)/4 with own masks of ω = 4, that is 1 at h = 2/7."""
    own = [Agents(1, None, RandomSparsification(4.0), Quadratic([value])) for value in (1.0, 3.0)]
    assert edge(Setup(None, *own)) == pytest.approx(4 / (4 + 10), rel=1e-11)
    dense = [
        Agents(1, None, ErrorFeedback(RandK(1, scaled=False)), Quadratic(matrix))
        for matrix in (DENSE, 2 * EYE + DENSE[::-1, ::-1])
    ]
    found = critical_step(Setup(None, *dense), x0=1.0, method="moments")
    assert found.step < found.details["first_moment"]
    below, beyond = (
        moments(Setup(None, *dense), factor * found.step, 1.0, 4000).loss.values for factor in (0.99, 1.01)
    )
    assert below[-1] < 1e-3 * below[0] and beyond[-1] > 1e3 * beyond[0]


def relative(p):
    return RandomSparsification(1 / p - 1, scaled=False)


def by_formula(kind, p, count, s):
    """theory2 2.1."""
    if kind is EF21:
        return 2 * count * p * (2 - p) / (count * p**2 + 4 * (1 - p) + s * (2 - p) ** 2)
    c = [
        -2 * s * (1 - p) * (count - 1),
        -count * (count * p**2 + 4 * (1 - p) + s * p * (2 - p)),
        2 * count**2 * p * (2 - p),
    ]
    return min(root for root in np.roots(np.trim_zeros(c, "f")) if root > 0)


FEEDBACKS = [
    (0.1, 1, 0, 0.1052631579, 0.1052631579),
    (0.1, 2, 0, 0.2099447514, 0.2099447514),
    (0.25, 2, 0, 0.56, 0.56),
    (0.5, 3, 0, 1.6363636364, 1.6363636364),
    (0.1, 10, 0, 1.0270270270, 1.0270270270),
    (0.1, 11, 0, 1.1266846361, 1.1266846361),
    (0.1, 100, 0, 8.2608695652, 8.2608695652),
    (0.25, 1, 1, 0.25, 0.1428571429),
    (0.25, 2, 1, 0.4488198125, 0.2828282828),
    (0.25, 2, 3, 0.3368374522, 0.1421319797),
]


@pytest.mark.parametrize(("p", "count", "s", "feedback", "estimate"), FEEDBACKS)
def test_feedback_as_printed(p, count, s, feedback, estimate):
    """theory2 8.3 and 8.4; the first moments reach 2(2−p)/p."""
    for kind, printed in ((ErrorFeedback, feedback), (EF21, estimate)):
        setup = Setup(Quadratic([1.0]), Agents(count, Gaussian(0.3, s**0.5), kind(relative(p))))
        found = critical_step(setup, x0=1.0, method="moments")
        assert found.step == pytest.approx(printed, abs=5.1e-11)
        assert found.step == pytest.approx(by_formula(kind, p, count, s), rel=1e-11)
        assert found.details["first_moment"] == pytest.approx(2 * (2 - p) / p, rel=1e-9)
        scale = Setup(Quadratic([0.2, 4.0, 1.0]), Agents(count, None, kind(relative(p))))
        assert edge(scale) == pytest.approx(by_formula(kind, p, count, 0) / 4, rel=1e-11)


@pytest.mark.parametrize(
    ("p", "count", "printed"),
    [(0.1, 1, 0.2), (0.25, 2, 0.8), (0.1, 10, 1.0526315789), (0.1, 11, 1.1), (0.1, 100, 1.8348623853)],
)
def test_unbiased_masks_as_printed(p, count, printed):
    """theory2 8.3: 2Np/(Np + 1 − p) of DCSGD, against which error feedback is held."""
    assert edge(Setup(Quadratic([1.0]), Agents(count, None, RandomSparsification(1 / p - 1)))) == pytest.approx(
        printed, abs=5.1e-11
    )


@pytest.mark.parametrize("kind", [ErrorFeedback, EF21])
@pytest.mark.parametrize("inner", [relative(0.25), RandK(1, scaled=False)])
def test_a_shared_mask_is_one_agent(kind, inner):
    """N → 1; and on a diagonal H Rand-1 of four coordinates is Bernoulli's mask of p = ¼."""
    for count, mask in ((1, "own"), (5, "shared")):
        setup = Setup(Quadratic([1.0, 0.5, 0.2, 1.0]), Agents(count, Gaussian(0.4), kind(inner), mask=mask))
        assert edge(setup) == pytest.approx(2 / 7, rel=1e-11)


HB = [(0.9, 0, 3.8), (0.9, 4, 0.0493506494), (0.9, 8, 0.0248366013), (0.5, 4, 0.2307692308)]
NAG = [(0.9, 0, 1.3571428571), (0.9, 4, 0.07097173877), (0.9, 99, 0.0020487794), (0.5, 4, 0.2262087348)]


@pytest.mark.parametrize(("nesterov", "rows"), [(False, HB), (True, NAG)])
def test_momentum_as_printed(nesterov, rows):
    """theory2 8.1; `average` is a step 1/(1−β) times as large; masks and σ1 make the same a (8.1 has .0709717387, cut and not rounded)."""
    for beta, a, printed in rows:
        for average in (False, True):
            server = HeavyBall(beta, nesterov=nesterov, average=average)
            for agents in (Agents(1, None, RandomSparsification(a)), Agents(2, Gaussian(1.0, (2 * a) ** 0.5))):
                found = edge(Setup(Quadratic([1.0]), agents, server=server)) * (1 - beta if average else 1)
                assert found == pytest.approx(printed, abs=5.1e-11)


@pytest.mark.parametrize(
    ("mu", "p", "count", "printed"),
    [(0.1, 0.1, 1, 0.1079586673), (0.1, 0.25, 2, 0.3821015491), (0.5, 0.25, 2, 0.4959108633)],
)
def test_ef21_with_momentum_as_printed(mu, p, count, printed):
    """theory2 8.6."""
    agents = Agents(count, Gaussian(0.3), Momentum(EF21(relative(p)), beta=1 - mu))
    assert edge(Setup(Quadratic([1.0]), agents)) == pytest.approx(printed, abs=5.1e-11)


@pytest.mark.parametrize("kind", [ErrorFeedback, EF21])
def test_dense_and_noisy_against_an_independent_recursion(kind):
    """The stationary second moment of the reference passes through infinity at the edge, and nowhere below."""
    case = reference.Case(DENSE[:2, :2], np.eye(2), 0.3, 3, 1.0, 0.2)

    def level(eta):
        form = reference.Feedback if kind is ErrorFeedback else reference.Estimate
        return np.trace(reference.stationary(form(dataclasses.replace(case, eta=eta)))[0])

    found = edge(Setup(Quadratic(case.H), Agents(3, Gaussian(0.5, 0.2**0.5), kind(relative(0.3)))))
    assert level(found * (1 - 1e-8)) > 1e6 and level(found * (1 + 1e-8)) < -1e6
    assert all(0 < level(share * found) < 1e4 for share in np.linspace(0.02, 0.98, 25))


WIDE = Quadratic(np.eye(65) + 0.001)
BAD = [
    (Setup(Quartic(2), Agents(1)), 'needs a Quadratic, but .*Quartic.*use|needs a Quadratic.*method="rollouts"'),
    (Setup(Quadratic([1.0]), Agents(1), Agents(1, problem=Quartic(1))), "needs a Quadratic"),
    (Setup(WIDE, Agents(1)), 'at most 64 coordinates .* but there are 65; use method="lyapunov"'),
    (Setup(Quadratic([-1.0, 1.0]), Agents(1)), "positive definite quadratic.* -1"),
    (Setup(Quadratic([0.0, 1.0]), Agents(1)), "positive definite quadratic.* 0"),
    (Setup(Quadratic(EYE), Agents(1, StudentT(1.0), Sign())), "Sign messages are not linear"),
    (Setup(Quadratic(EYE), Agents(1, None, Sign())), "Sign messages are not linear"),
    (Setup(Quadratic(EYE), Agents(1), Agents(1, None, TopK(1))), "TopK messages are not linear"),
    (Setup(Quadratic(EYE), Agents(1, None, QSGD(1))), "QSGD messages are not linear"),
    (Setup(Quadratic(EYE), Agents(1, None, TernGrad())), "TernGrad messages are not linear"),
    (Setup(Quadratic(EYE), Agents(1, None, NaturalCompression())), "NaturalCompression messages are not linear"),
    (Setup(Quadratic(EYE), Agents(1, None, ErrorFeedback(TopK(1)))), "ErrorFeedback of TopK messages are not linear"),
    (Setup(Quadratic(EYE), Agents(1, None, Sign()), server=Majority()), "Majority is not a linear function"),
    (Setup(Quadratic(EYE), Agents(1, StudentT(1.0), Identity())), "no finite variance"),
]


@pytest.mark.parametrize(("setup", "message"), BAD)
def test_bad_input(setup, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        edge(setup)
    assert "\n" not in str(caught.value)
