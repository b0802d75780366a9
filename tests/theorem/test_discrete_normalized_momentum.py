"""Normalized SGD with momentum."""

import numpy as np
import pytest

from stablestep import schedule, simulate
from stablestep.errors import InvalidInput
from stablestep.problem import Cosh, Quadratic
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, bound, constants, covered, step_limit
from tests.theorem.descents import averaged, unit

NAME = "discrete.normalized-momentum"
RATE = 0.43765  # S0/(ηK) of theory2's runs on Σ cosh, d = 4, read off its printed bounds


def of(beta, **more):
    return Constants(**({"L0": 1, "L1": 1, "dim": 4, "beta": beta} | more))


@pytest.mark.parametrize(("beta", "limit"), [(0.5, 0.33973), (0.9, 0.0526558993), (0.99, 0.0050251)])
def test_limits(beta, limit):
    assert step_limit(NAME, of(beta)) == pytest.approx(limit, rel=1e-5)
    assert step_limit(NAME, of(0.9)) == pytest.approx(0.0526558993, abs=5e-11)  # theory2 section 8.8


@pytest.mark.parametrize(
    ("beta", "eta", "variance", "right"), [(0.5, 0.02, 0.0, 0.5140), (0.9, 0.02, 0.0, 1.295), (0.9, 0.005, 1.0, 1.090)]
)
def test_the_right_sides_of_theory2(beta, eta, variance, right):
    c = of(beta, sigma0_sq=variance / 4)
    found = bound(NAME, c, eta=eta, steps=1000, initial_gap=RATE * eta * 1000, initial_error=0.0)
    assert found == pytest.approx(right, abs=7e-4)


def test_by_hand_with_a_cold_and_a_noisy_start():
    """L1 = 0: S0/(ηK) + L0η/2 + 2βL0η/(1−β) + 2v√((1−β)/(1+β)) + 2δ0/((1−β)K)."""
    c = Constants(L0=2, L1=0, dim=3, count=3, sigma0_sq=0.5, beta=0.8, initial_gap=3.0)
    v = np.sqrt(0.5)
    expected = 3 / (0.1 * 50) + 0.1 + 8 * 2 * 0.1 + 2 * v / 3 + 2 * 0.7 / (0.2 * 50)
    assert bound(NAME, c, eta=0.1, steps=50, initial_error=0.7) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("beta", "warm"), [(0.5, True), (0.9, True), (0.9, False)])
def test_the_bound_holds(beta, warm, seed):
    """The product's own simulation; and without the memory's term it would be false where the memory starts cold."""
    setup = Setup(Cosh(4, a=1.0), Agents(1), server=HeavyBall(beta, average=True, warm=warm))
    c, eta = constants(setup, L1=1.0, x0=1.0, normalized=True), 0.02
    assert covered(setup, 1.0, normalized=True).result.name == NAME
    run = simulate(
        setup, schedule=schedule.Normalized(schedule.Constant(eta)), x0=1.0, steps=200, runs=1, dtype="float64"
    )
    measured = float(run.gradient_norm_mean[:-1].mean())
    start = 0.0 if warm else beta * 2 * np.sinh(1.0)
    found = bound(NAME, c, eta=eta, steps=200, initial_error=start)
    assert 0.2 * found < measured <= found


def test_without_the_memory_it_would_be_false():
    """x²/2 at rest: momentum swings by more than the η/2 of normalized steps alone."""
    norms = averaged(lambda x: x, np.array([0.3, 0.2]), 0.05, 20000, 0.95, turn=unit, m=np.array([0.3, 0.2]))
    quadratic = {"L0": 1, "L1": 0, "dim": 2, "initial_gap": 0.065}
    right = bound(NAME, Constants(**quadratic, beta=0.95), eta=0.05, steps=20000, initial_error=0.0)
    assert norms.mean() <= right and norms.mean() > bound(
        "discrete.normalized", Constants(**quadratic), eta=0.05, steps=20000
    )


def test_bad_input():
    setup = Setup(Quadratic([1.0]), Agents(1), server=HeavyBall(0.9, nesterov=True))
    for wrong, message in (
        (lambda: bound(NAME, of(0.9, initial_gap=1.0), eta=0.06, steps=5, initial_error=0.0), r"steps below 0\.05266"),
        (
            lambda: bound(NAME, of(0.9, initial_gap=1.0), eta=0.01, steps=5),
            "initial_error is missing; .* needs δ0 = β‖m_0",
        ),
        (lambda: bound(NAME, of(0.9), eta=0.01, steps=5, initial_error=-1.0), "initial_gap is missing"),
        (lambda: bound(NAME, of(0.9, initial_gap=1.0), eta=0.01, steps=5, initial_error=-1.0), "initial_error is -1.0"),
        (lambda: step_limit(NAME, of(0.9, omega=2.0)), "does not grow with the gradient, but A is 2"),
        (lambda: covered(setup, 1.0, normalized=True), "Nesterov"),
        (lambda: of(1.0), "beta is 1.0, but must be in"),
    ):
        with pytest.raises(InvalidInput, match=message) as caught:
            wrong()
        assert "\n" not in str(caught.value)
