"""What the sections on memory compare with: the formulas, against exact moments and known numbers."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.reproduce.context import Context
from stablestep.reproduce.sections.bounded import signum
from stablestep.reproduce.sections.feedback import alpha, setups, steps
from stablestep.reproduce.sections.memory import heavy_ball, orders
from stablestep.reproduce.sections.unlike import clients, signs
from stablestep.sde.memory import held_average


@pytest.mark.parametrize(("beta", "a"), heavy_ball.CASES)
def test_thresholds_of_heavy_ball(beta, a):
    found = heavy_ball.exact(heavy_ball.momentum(beta, a))
    assert found == pytest.approx(heavy_ball.threshold(beta, a), rel=1e-9)
    assert a == 0 or found != pytest.approx(2 * (1 + beta) / (1 + a), rel=0.01)  # momentum does not average that


@pytest.mark.parametrize(("p", "count"), [(0.1, 1), (0.25, 2), (0.5, 3)])
def test_thresholds_of_feedback(p, count):
    for chosen in (setups.ef(p), setups.ef21(p)):
        assert setups.edge(chosen, count) == pytest.approx(setups.ef_edge(p, count), rel=1e-9)
    assert setups.edge(setups.mask(p, scaled=True), count) == pytest.approx(setups.dcsgd_edge(p, count), rel=1e-9)
    twice = 4 * count * p / (count * p**2 + 4 * (1 - p))  # 2 in place of 2 − p
    assert setups.ef_edge(p, count) != pytest.approx(twice, rel=0.04)


def test_the_mean_of_feedback_is_momentum():
    claim = steps.is_momentum(Context(quick=True))
    assert claim.verdict == "holds" and any("simulation" in check.label for check in claim.printed)


@pytest.mark.parametrize("mu", [1.0, 0.3, 0.1])
def test_amplification(mu):
    found = setups.level(setups.ef21(0.25, mu), 1, 1e-5)
    assert found == pytest.approx(held_average(mu, 0.25), rel=1e-3)
    assert found != pytest.approx(1.0, rel=0.05)


def test_the_start_decides_the_order():
    setup, gain = orders.METHODS["heavy ball, β = 0.5"]
    by_shift = {moved: orders._order(setup, gain, "classic", moved) for moved in (True, False)}
    assert by_shift[True].order == 2 and by_shift[False].order == 1


def test_where_x4_first_diverges():
    """Gradient descent on x⁴/4 maps x to x(1 − x²): it diverges from |x| > √2."""
    assert heavy_ball._first_diverging(0.0, Context()) == pytest.approx(2.0, abs=0.002)


def test_dispersion_of_signs():
    assert signum.dispersion(0.5, "Gaussian") == pytest.approx(2.307176, abs=1e-6)
    assert signum.dispersion(0.5, "Cauchy") == pytest.approx(3.39123, abs=1e-5)
    assert signum.dispersion(0.99, "Gaussian") * 0.01 == pytest.approx(2 * math.log(2), rel=0.01)
    assert signum.predicted_ratio("Gaussian", 0.9) == pytest.approx(3.046, abs=1e-3)
    assert signum.predicted_ratio("Gaussian", 0.9, rescaled=True) == pytest.approx(0.699, abs=1e-3)
    assert signum.predicted_ratio("Cauchy", 0.9) == pytest.approx(21.2868, abs=1e-4)


def test_levels_of_unlike_clients():
    """By exact moments with own masks; a common mask without gradient noise leaves none."""
    setup = clients.clients(clients.MASK, sigma0=0.3)
    found = setups.message.moments(setup, 0.1, 0.0, 1)
    level = found.attrs["stationary_loss"] - found.attrs["minimum"]
    assert level == pytest.approx(clients.dcsgd_level(0.1, 0.3, shared=False), rel=1e-9)
    assert found.attrs["minimum"] == pytest.approx(clients.SPREAD / 2)
    assert clients.dcsgd_level(0.1, 0.0, shared=True) == 0.0
    unaware = clients.dcsgd_level(0.1, 0.3, shared=False) - clients.dcsgd_level(0.1, 0.0, shared=False)
    assert level != pytest.approx(unaware, rel=0.5)


def test_roots_of_votes():
    assert [round(signs.root("Gaussian", sigma), 4) for sigma in (0.1, 1, 3, 10)] == [0.0674, 0.6594, 0.9620, 0.9967]
    assert [round(signs.root("Cauchy", sigma), 4) for sigma in (0.1, 1, 3, 10)] == [0.0966, 0.6601, 0.9333, 0.9934]


def test_the_worst_compressor_is_as_contractive_as_it_says():
    v = jnp.array([3.0, -1.0])
    off = np.asarray(alpha.Overshoot(0.36).compress(jnp.zeros(0), v) - v)
    assert off @ off == pytest.approx((1 - 0.36) * 10)
    assert alpha._worst(0.5, Context()) == pytest.approx(0.3431457505, rel=1e-3)
