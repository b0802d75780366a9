"""The SDE with momentum."""

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, bound, density, result, step_limit
from tests.theorem.reference import HET, TIMES


@pytest.mark.parametrize(("beta", "edge"), [(0.0, 1.3333333333), (0.9, 3.6190476190), (0.999999, 4.0)])
def test_the_critical_step_goes_to_that_of_the_first_order_model(beta, edge):
    """theory2 2.4: ω = 8, N = 16."""
    c = Constants(L0=1, L1=0, dim=1, omega=8.0, count=16, beta=beta)
    assert result("momentum").edge(c, 0.0) == pytest.approx(edge, rel=2e-6)


@pytest.mark.parametrize(("beta", "a", "h"), [
    (0.9, 0, 3.8), (0.9, 4, 0.0493506494), (0.9, 8, 0.0248366013), (0.5, 4, 0.2307692308)
])  # fmt: skip
def test_it_is_the_exact_edge_of_heavy_ball_on_a_quadratic(beta, a, h):
    """theory2 section 8.1, h = ηλ = (1 − β) η_eλ."""
    c = Constants(L0=1, L1=0, dim=1, omega=float(a), beta=beta)
    assert (1 - beta) * result("momentum").edge(c, 0.0) == pytest.approx(h, abs=5e-11)


def test_by_hand_between_the_two_theorems_of_the_papers():
    """A/N = 3.575, B/N = 5.75, θ = ⅓: 1/(2 (θ + 3.575) + .5 · 5.75); bound and density are those of 4.2."""
    plain, c = Constants(**HET), Constants(**HET, beta=0.5)
    assert step_limit("momentum", c, 2.0, 0.5) == pytest.approx(1 / (2 * (1 / 3 + 3.575) + 0.5 * 5.75), rel=1e-12)
    given = {**TIMES, "initial_gap": 3.0, "epsilon": 0.5}
    assert bound("momentum", c, **given) == bound("4.2", plain, **given)
    assert float(density("momentum", c, **TIMES, eta_t=0.5)) == float(density("4.2", plain, **TIMES, eta_t=0.5))
    assert step_limit("momentum", Constants(**HET, beta=0.0), 2.0, 0.5) == step_limit("4.2", plain, 2.0, 0.5)
    near = step_limit("momentum", Constants(**HET, beta=1 - 1e-12), 2.0, 0.5)
    assert near == pytest.approx(step_limit("4.1", plain, 2.0, 0.5), rel=1e-9)


def test_the_stationary_loss_of_heavy_ball_attains_its_bound():
    """E x² → η_e q/(2 − η_e(θ + a)) (theory2 2.2), the bound as t → ∞ at the ε whose limit is the step."""
    beta, a, q, eta = 0.9, 4.0, 5.0, 0.2  # q = (1 + ω)σ0²
    c = Constants(L0=1, L1=0, dim=1, omega=a, sigma0_sq=1.0, beta=beta, initial_gap=0.0)
    epsilon = eta * (1 / 19 + a) / 2
    exact = eta * q / (2 - eta * (1 / 19 + a))
    assert bound("momentum", c, eta=eta, phi1=1e6, phi2=1e6, epsilon=epsilon) == pytest.approx(exact, rel=1e-9)
    with pytest.raises(InvalidInput, match="momentum says nothing here"):
        bound("momentum", c, eta=1.01 * eta, phi1=1e6, phi2=1e6, epsilon=epsilon)


def test_bad_input():
    for c, options, message in (
        (Constants(**HET, beta=0.5), {"form": "printed"}, "is in no paper"),
        (Constants(**HET, beta=0.5, memory="Nesterov"), {}, "memory is Nesterov"),
        (Constants(**HET), {}, "memory is None; give beta"),
        (Constants(**HET, beta=0.5, memory="HeavyBall and ErrorFeedback"), {}, "memory is HeavyBall and ErrorFeedback"),
    ):
        with pytest.raises(InvalidInput, match=message):
            step_limit("momentum", c, 1.0, 0.5, **options)
    assert np.isfinite(step_limit("momentum", Constants(**HET, beta=0.5, memory="warm HeavyBall"), 1.0, 0.5))
