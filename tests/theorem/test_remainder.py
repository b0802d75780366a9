"""ψ, χ, u_ε: against their definitions, and the one-step inequality that all discrete theorems rest on."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from stablestep.theorem.remainder import chi, last_positive, psi, stretch, u_of


@pytest.mark.parametrize("u", [1e-9, 1e-4, 0.3, 0.999999, 1.000001, 5.0, 60.0])
def test_by_their_definitions(u):
    with localcontext(prec=50):
        exact = Decimal(u)
        excess = exact.exp() - 1 - exact
        assert float(chi(u)) == pytest.approx(float(2 * excess / exact**2), rel=1e-14)
    assert float(psi(u / 0.7, 0.7)) == pytest.approx(float(excess) / 0.49, rel=1e-13)
    assert float(stretch(u / 0.7, 0.7)) == pytest.approx(math.expm1(u) / 0.7, rel=1e-13)


def test_without_L1_they_are_those_of_a_bounded_hessian():
    assert float(psi(3.0, 0.0)) == 4.5 and float(stretch(3.0, 0.0)) == 3.0 and float(chi(0.0)) == 1.0


@pytest.mark.parametrize(
    ("epsilon", "u"), [(1.0, 1.2564312086), (0.5, 0.7626885609), (0.9, 1.1707612959), (0.1, 0.1876857265)]
)
def test_u(epsilon, u):
    """theory2 section 8.8; Eq. 16 is divided by χ = 2ε/u."""
    assert u_of(epsilon) == pytest.approx(u, abs=5e-11)
    assert (math.exp(u) - 1 - u) / u == pytest.approx(epsilon, rel=1e-9)


def test_the_factors_of_equation_16():
    assert [round(2 * epsilon / u_of(epsilon), 4) for epsilon in (0.5, 0.9, 1.0)] == [1.3112, 1.5375, 1.5918]


def test_a_step_of_the_exponential_attains_the_remainder():
    """f = eˣ has (L0, L1) = (0, 1): f(x + ρ) = f + f'ρ + f'ψ(ρ) exactly, where ρ²/2 for ψ would be too little by any factor."""
    for length in (0.1, 1.0, 4.0):
        true = math.exp(0.3 + length) - math.exp(0.3) * (1 + length)
        assert true == pytest.approx(math.exp(0.3) * float(psi(length, 1.0)), rel=1e-12)
        assert true > 1.03 * math.exp(0.3) * length**2 / 2
        assert math.exp(0.3 + length) - math.exp(0.3) == pytest.approx(
            math.exp(0.3) * float(stretch(length, 1.0)), rel=1e-12
        )


def test_steps_of_cosh_lie_below_it(seed):
    generator = np.random.default_rng(seed)
    for _ in range(200):
        x, step = generator.normal(0, 2, (2, 3))
        gradient, length = np.sinh(x), np.linalg.norm(step)
        right = np.sum(np.cosh(x)) + gradient @ step + (1 + np.linalg.norm(gradient)) * psi(length, 1.0)
        assert np.sum(np.cosh(x + step)) <= right
        moved = np.linalg.norm(np.sinh(x + step) - gradient)
        assert moved <= (1 + np.linalg.norm(gradient)) * stretch(length, 1.0)


def test_roots():
    for root in (1e-30, 0.3, 1e20):
        assert last_positive(lambda h, root=root: 1 - h / root) == pytest.approx(root, rel=1e-13)
    assert last_positive(lambda h: 1.0) == math.inf and last_positive(lambda h: -1.0) == 0.0
