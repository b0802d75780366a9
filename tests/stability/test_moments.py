"""The mean-square edge: in closed form for one coordinate, and against eigenvalues of Kronecker products for three."""

import numpy as np
import pytest
from scipy import optimize

from stablestep.compressor import QSGD, Identity, NaturalCompression, RandK, RandomSparsification, Sign, TernGrad, TopK
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.stability import critical_step
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


WIDE = Quadratic(np.linspace(1, 2, 65))
BAD = [
    (Setup(Quartic(2), Agents(1)), 'needs a Quadratic, but the problem is Quartic; use method="rollouts"'),
    (Setup(Quadratic([1.0]), Agents(1), Agents(1, problem=Quadratic([2.0]))), "needs a Quadratic"),
    (Setup(WIDE, Agents(1)), 'at most 64 coordinates, but there are 65; use method="lyapunov"'),
    (Setup(Quadratic([-1.0, 1.0]), Agents(1)), "positive definite quadratic.* -1"),
    (Setup(Quadratic([0.0, 1.0]), Agents(1)), "positive definite quadratic.* 0"),
    (Setup(Quadratic(EYE), Agents(1, StudentT(1.0), Sign())), "Sign messages are not linear"),
    (Setup(Quadratic(EYE), Agents(1, None, Sign())), "Sign messages are not linear"),
    (Setup(Quadratic(EYE), Agents(1), Agents(1, None, TopK(1))), "TopK messages are not linear"),
    (Setup(Quadratic(EYE), Agents(1, None, QSGD(1))), "not a quadratic function of x"),
    (Setup(Quadratic(EYE), Agents(1, None, TernGrad())), "not a quadratic function of x"),
    (Setup(Quadratic(EYE), Agents(1, None, NaturalCompression())), "not a quadratic function of x"),
    (Setup(Quadratic(EYE), Agents(1, Gaussian(0.1), QSGD(1))), "no closed form"),
    (Setup(Quadratic(EYE), Agents(1, StudentT(1.0), Identity())), "no finite variance"),
]


@pytest.mark.parametrize(("setup", "message"), BAD)
def test_bad_input(setup, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        edge(setup)
    assert "\n" not in str(caught.value)
