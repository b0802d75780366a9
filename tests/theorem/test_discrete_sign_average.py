"""Momentum after the signs: Theorem B along the virtual iterate."""

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, bound, density, result, step_limit
from tests.theorem.descents import averaged

NAME = "discrete.sign-average"


def of(beta, L1=1.0, dim=1, **more):
    return Constants(
        **({"L0": 1.0, "L1": L1, "dim": dim, "nu": 1.0, "scale_max": 1.0, "beta": beta, "initial_gap": 2.0} | more)
    )


def test_without_momentum_it_is_the_theorem_on_signs():
    for dim in (1, 4):
        plain = Constants(L0=1, L1=1, dim=dim, nu=1.0, scale_max=1.0, initial_gap=2.0)
        assert step_limit(NAME, of(0.0, dim=dim)) == pytest.approx(step_limit("discrete.sign", plain), rel=1e-13)
        found = bound(NAME, of(0.0, dim=dim), eta=0.1, steps=50)
        assert found == pytest.approx(bound("discrete.sign", plain, eta=0.1, steps=50), rel=1e-13)


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
def test_small_steps_pay_for_the_delay(beta):
    """(L0 + L1 b) d h²(½ + τ), 1 + 2τ = (1+β)/(1−β) times what signs alone pay; exactly so where L1 = 0."""
    h = 1e-7
    for L1, accuracy in ((1.0, 1e-4), (0.0, 1e-13)):
        one, plain = (float(result(name).cost(of(b, L1), h)) for name, b in ((NAME, beta), ("discrete.sign", 0.0)))
        assert one / plain == pytest.approx((1 + beta) / (1 - beta), rel=accuracy)


@pytest.mark.parametrize(("beta", "gradient", "x0", "gap", "L1"), [
    (0.5, np.sinh, 6.0, np.cosh(6) - 1, 1.0),
    (0.9, np.sinh, 3.0, np.cosh(3) - 1, 1.0),
    (0.9, lambda x: x**3, 2.0, 4.0, 2.0),
])  # fmt: skip
def test_the_bound_holds(beta, gradient, x0, gap, L1, seed):
    generator, c, eta, count = np.random.default_rng(seed), of(beta, L1), 0.01, 3000
    total = []
    for _ in range(10):
        norms = averaged(
            gradient, np.array([x0]), eta, count, beta, np.sign, noise=lambda: generator.standard_cauchy(1)
        )
        total.append(np.mean(result(NAME).measure(c, norms)))
    found = bound(NAME, c, eta=eta, steps=count, initial_gap=gap)
    assert np.mean(total) <= found and np.mean(total) > 0.1 * found
    assert density(NAME, c, eta=eta, steps=count) == pytest.approx(1 / count)


def test_without_the_delay_it_would_be_false():
    """x²/2 without noise: a cold memory hardly moves for τ = 49 steps, in which signs alone would be said to have come down."""
    silent = {"scale_max": 0.0, "nu": np.inf, "initial_gap": 0.5}
    norms = averaged(lambda x: x, np.array([1.0]), 0.05, 49, 0.98, np.sign)
    assert norms.mean() <= bound(NAME, of(0.98, 0.0, **silent), eta=0.05, steps=49)
    assert norms.mean() > bound(NAME, of(0.0, 0.0, **silent), eta=0.05, steps=49)


def test_bad_input():
    limit = step_limit(NAME, of(0.9))
    with pytest.raises(InvalidInput, match=f"{NAME} says nothing here: it allows steps below {limit:.4g}"):
        bound(NAME, of(0.9), eta=1.01 * limit, steps=3)
    assert bound(NAME, of(0.9), eta=0.99 * limit, steps=3) > 0
    with pytest.raises(InvalidInput, match="about a constant step, but steps range up to"):
        bound(NAME, of(0.9), steps=[limit / 3, limit / 2])
    with pytest.raises(InvalidInput, match="vote for a median"):
        step_limit(NAME, of(0.9, dissimilarity=(1.0, 1.0)))
