"""Heavy ball in discrete time."""

import numpy as np
import pytest

from stablestep import schedule, simulate
from stablestep.compressor import RandomSparsification
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian
from stablestep.problem import Quadratic, Quartic
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, bound, constants, covered, result, step_limit

NAME = "discrete.momentum"


def of(beta=0.5, **more):
    return Constants(**({"L0": 1, "L1": 0, "dim": 1, "beta": beta} | more))


def test_by_hand():
    """A/N = 2, B/N = 1.5, r = 3 at β = ¾, L = 2."""
    c = of(0.75, L0=2, dim=2, omega=4.0, count=2, sigma0_sq=0.3, initial_gap=1.0)
    grown = 2 * 0.01 + 9 * 4 * 1e-4
    right = (2 / (0.01 * 50) + grown * 1.5) / (1 - 3 * grown)
    assert bound(NAME, c, eta=0.01, steps=50) == pytest.approx(right, rel=1e-12)
    limit = step_limit(NAME, c)
    assert 3 * (2 * limit + 36 * limit**2) == pytest.approx(1, rel=1e-12)
    assert step_limit(NAME, of(0.0)) == pytest.approx(1.0)


@pytest.mark.parametrize("average", [False, True])
def test_the_bound_holds_in_effective_steps(average, seed):
    import jax.numpy as jnp

    setup = Setup(
        Quadratic([1.0, 0.3]),
        Agents(2, Gaussian(0.3, 0.2), RandomSparsification(2.0)),
        server=HeavyBall(0.8, average=average),
    )
    c, found = constants(setup, L1=0.0, x0=1.0), covered(setup, 1.0)
    assert found.result.name == NAME and found.step * c.speed == pytest.approx(step_limit(NAME, c), rel=1e-12)
    assert c.speed == pytest.approx(1.0 if average else 5.0)
    eta = 0.7 * found.step
    run = simulate(setup, schedule=schedule.Constant(eta), x0=1.0, steps=200, runs=300, seed=seed,
                   observe=lambda x: jnp.sum((x * jnp.array([1.0, 0.3], x.dtype)) ** 2))  # fmt: skip
    measured, right = float(run.observed.mean("run")[:-1].mean()), bound(NAME, c, eta=eta * c.speed, steps=200)
    assert 0.05 * right < measured <= right


def test_the_plateau_lies_below_it_and_a_third_of_it_would_be_false():
    """x²/2, additive noise of variance 1: E x² at rest is η_e/(2 − η_eθ) (theory2 2.2), and the bound's limit Lη + r²L²η² over 1 − that."""
    for eta in (0.001, 0.05):
        c = of(sigma0_sq=1.0, initial_gap=0.0)
        found, true = bound(NAME, c, eta=eta, steps=100), eta / (2 - eta / 3)
        assert true <= found and (true > found / 3 or eta > 0.01)


BAD = [
    (of(L1=1.0), "needs a bounded Hessian, but L1 is 1"),
    (of(nu=1.0, scale_max=1.0), "these constants describe signs .*use discrete.sign-average"),
    (of(memory="warm HeavyBall"), "is about HeavyBall, but memory is warm HeavyBall"),
    (of(memory="Nesterov"), "is about HeavyBall, but memory is Nesterov"),
]


@pytest.mark.parametrize(("c", "message"), BAD)
def test_bad_input(c, message):
    with pytest.raises(InvalidInput, match=message):
        step_limit(NAME, c)


def test_where_only_the_sde_has_a_theorem_it_says_so():
    found = covered(Setup(Quartic(2), Agents(1), server=HeavyBall(0.5)), 1.0)
    assert found.result.name == "momentum" and "for the SDE with momentum only" in found.result.reference
    assert np.isfinite(found.step) and result("momentum").sde == "new"
