"""DCSGD without noise in discrete time."""

import numpy as np
import pytest
from scipy.optimize import brentq

from stablestep import schedule, simulate
from stablestep.compressor import NaturalCompression, RandomSparsification
from stablestep.errors import InvalidInput
from stablestep.problem import Quartic
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, bound, constants, density, result, step_limit
from stablestep.theorem.remainder import u_of

NAME = "discrete.dcsgd"
ALONE = Constants(L0=1, L1=2, dim=10, omega=4.0)


@pytest.mark.parametrize(("epsilon", "u"), [(0.5, 0.7626885609), (0.9, 1.1707612959)])
def test_one_agent_or_a_shared_mask_has_a_closed_form(epsilon, u):
    for c in (ALONE, Constants(L0=1, L1=2, dim=10, omega=4.0, count=7, shared_mask=True)):
        for norm in (0.0, 3.0):
            found = step_limit(NAME, c, norm, epsilon)
            assert found == pytest.approx(u / (5 * (1 + 2 * norm)), rel=1e-9)
            assert step_limit("4.2", c, norm, epsilon) / found == pytest.approx(2 * epsilon / u, rel=1e-9)
    assert result(NAME).edge(ALONE, 0.0) == pytest.approx(1.2564312086 / 5, rel=1e-9)


def test_own_masks_solve_the_equation():
    """h (1 + ω/N)(L0 + L1G) · 2(eᵘ − 1 − u)/u² = 2ε at u = L1 h (1 + ω) G, monotone in h."""
    c = Constants(L0=1, L1=2, dim=10, omega=[4.0, 8.0], count=2)
    for norm, epsilon in ((0.5, 0.5), (20.0, 0.9)):

        def left(h, norm=norm, epsilon=epsilon):
            u = 2 * h * 7 * norm
            return h * 4 * (1 + 2 * norm) * 2 * (np.exp(u) - 1 - u) / u**2 - 2 * epsilon

        assert step_limit(NAME, c, norm, epsilon) == pytest.approx(brentq(left, 1e-6, 1.0, rtol=1e-14), rel=1e-9)
    assert step_limit(NAME, c, 0.0, 0.5) == pytest.approx(step_limit("4.2", c, 0.0, 0.5), rel=1e-13)
    assert step_limit(NAME, c, 5.0, 0.5) < step_limit("4.2", c, 5.0, 0.5)


@pytest.mark.parametrize(
    "c", [ALONE, Constants(L0=1, L1=2, dim=10, omega=4.0, count=3), Constants(L0=3, L1=0, dim=1, omega=4.0)]
)
def test_the_normalized_form_obeys_the_equation(c):
    a, b = result(NAME).normalization(c, 0.5)
    for norm in (0.0, 0.3, 10.0, 1e4):
        assert 1 / (a + b * norm) <= step_limit(NAME, c, norm, 0.5) * (1 + 1e-12)


def test_on_a_parabola_it_is_attained():
    """E x² is multiplied by 1 − 2h + h²(1 + ω), so that h Σ E f'² = x0²/(2 − h(1 + ω)) = S0/(1 − ε) at h = 2ε/(1 + ω)."""
    c = Constants(L0=1, L1=0, dim=1, omega=4.0, initial_gap=0.5)
    h, count = step_limit(NAME, c, 0.0, 0.6), 4000
    growth = 1 - 2 * h + 5 * h**2
    total = h * np.sum(growth ** np.arange(count))
    right = bound(NAME, c, eta=h, steps=count, epsilon=0.6) * h * count
    assert total == pytest.approx(right, rel=1e-10) == 0.5 / 0.4
    assert density(NAME, c, eta=h, steps=count, epsilon=0.6) == pytest.approx(1 / count)
    # A step of 4.2 without the factor of its ε: beyond 2/(1 + ω) the sum grows without end.
    assert np.sum((1 - 2 * 0.41 + 5 * 0.41**2) ** np.arange(count)) > 1e3


@pytest.mark.parametrize(("x0", "epsilon"), [(0.5, 0.9), (2.0, 0.9), (10.0, 0.9), (0.5, 0.5)])
def test_on_the_quartic(x0, epsilon, seed):
    """theory2: .196 ≤ 1.56, 48.5 ≤ 400, 25937 ≤ 250000, .179 ≤ .3125; the product's own simulation under StepLimit."""
    import jax.numpy as jnp

    setup = Setup(Quartic(10), Agents(1, compressor=RandomSparsification(4.0)))
    c = constants(setup, L1=2.0, x0=x0)
    rule, steps = schedule.StepLimit(NAME, eta=1e9, epsilon=epsilon, L1=2.0), 300
    offset, slope = result(NAME).normalization(c, epsilon)

    def spent(x):
        norm = jnp.linalg.norm(x**3)
        return norm**2 / (offset + slope * norm)

    run = simulate(
        setup, schedule=rule, x0=x0, steps=steps, runs=200, seed=seed, observe=spent, record=list(range(steps + 1))
    )
    total = float(run.observed.mean("run")[:-1].sum())
    right = c.initial_gap / (1 - epsilon)
    assert 0.05 * right < total <= right
    assert right == pytest.approx(
        {(0.5, 0.9): 1.5625, (2.0, 0.9): 400, (10.0, 0.9): 250000, (0.5, 0.5): 0.3125}[x0, epsilon]
    )


BAD = [
    ({"sigma0_sq": 0.1}, "about gradients without noise"),
    ({"masks": False}, "masks is False; use RandK"),
    ({"dissimilarity": (1.0, 2.0)}, "clients that share f or a mask, but dissimilarity is"),
    ({"nu": 1.0, "scale_max": 0.0}, "these constants describe signs"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_bad_input(values, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        step_limit(NAME, Constants(L0=1, L1=2, dim=10, omega=4.0, **values), 1.0, 0.5)
    assert "\n" not in str(caught.value)


def test_more_bad_input():
    natural = constants(Setup(Quartic(10), Agents(1, compressor=NaturalCompression())), L1=2.0)
    for wrong, message in (
        (lambda: step_limit(NAME, ALONE, 1.0), "needs an epsilon"),
        (lambda: step_limit(NAME, ALONE, None, 0.5), "depends on the gradient norm; give gradient_norm"),
        (lambda: step_limit(NAME, natural, 1.0, 0.5), "masks is False"),
        (
            lambda: bound(NAME, ALONE, eta=0.2, steps=3, epsilon=0.5, initial_gap=1.0),
            r"steps up to 0\.1525, .* is 0\.2",
        ),
    ):
        with pytest.raises(InvalidInput, match=message):
            wrong()
    shared = {"count": 3, "shared_mask": True, "dissimilarity": (1.0, 2.0)}
    assert step_limit(NAME, Constants(L0=1, L1=0, dim=10, omega=4.0, **shared), 1.0, 0.5) == pytest.approx(0.2)
    assert u_of(0.5) < 2 * 0.5
