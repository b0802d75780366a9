"""What the theorems say about a setup: rows, shares, what a change would buy, and the verdict."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import RandomSparsification, Sign, TopK
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Function, Logistic, Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.stability import advise
from stablestep.theorem import constants, result, step_limit

COMPRESSED = Setup(Quartic(10), Agents(4, Gaussian(0.1, 0.2), RandomSparsification(4.0)))
PLAIN = Setup(Quartic(10), Agents(4))
PARABOLA = Setup(Quadratic([1.0, 3.0]), Agents(2, Gaussian(0.5, 0.1), RandomSparsification(1.0)))
SIGNS = Setup(Quartic(10), Agents(4, StudentT(1.0, 0.5), Sign()))


def test_rows_are_the_results_on_these_messages():
    found = advise(COMPRESSED, x0=0.5, L1=2.0)
    c, norm = constants(COMPRESSED, L1=2.0), np.sqrt(10) * 0.125
    assert found.gradient_norm == pytest.approx(norm, rel=1e-14) and found.epsilon == 0.5
    assert [row.name for row in found.rows] == ["4.1", "4.2", "B.1", "B.2", "B.3", "B.5", "discrete.dcsgd"]
    for row in found.rows:
        assert (row.method, row.sde, row.reference) == (
            result(row.name).method,
            result(row.name).sde,
            result(row.name).reference,
        )
        if row.name in ("4.1", "4.2"):
            assert row.corrected == row.printed == pytest.approx(step_limit(row.name, c, norm, 0.5), rel=1e-14)
            assert row.reason == ""
        else:
            assert row.corrected is None and row.printed is None
            assert ("without noise" if row.name == "discrete.dcsgd" else "use 4.2") in row.reason
    assert found.limit == pytest.approx(step_limit("4.2", c, norm, 0.5), rel=1e-12)


def test_rows_of_signs():
    found = advise(SIGNS, x0=0.5, L1=2.0)
    assert [row.name for row in found.rows] == ["4.3", "B.8", "B.9", "discrete.sign"]
    c = constants(SIGNS, L1=2.0)
    for row in found.rows:
        assert row.corrected == step_limit(row.name, c)
        assert row.printed == (None if row.sde == "discrete" else step_limit(row.name, c, form="printed"))
    heavy = advise(Setup(Quartic(10), Agents(4, StudentT(1.0, 0.5), Sign())), x0=0.5, L1=2.0, epsilon=0.9)
    assert heavy.limit == found.limit == pytest.approx(2 / 20)


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("setup", [COMPRESSED, PLAIN, PARABOLA], ids=["compressed", "plain", "parabola"])
def test_shares_are_those_of_the_denominator(setup, epsilon):
    found = advise(setup, x0=0.5, epsilon=epsilon)
    c, norm = found.constants, found.gradient_norm
    curvature = c.L0 + c.L1 * norm
    assert sum(found.shares.values()) == pytest.approx(1, rel=1e-14)
    denominator = 2 * epsilon / found.limit
    compression = np.mean(c.omega) / c.agents
    noise = c.dim * np.mean(c.sigma1_sq * (1 + c.omega)) / c.agents
    floor = c.L1 * c.dim * np.mean(c.sigma0_sq * (1 + c.omega)) / c.agents
    expected = {"landscape": curvature, "compression": curvature * compression, "noise": curvature * noise + floor}
    for name, part in expected.items():
        assert found.shares[name] * denominator == pytest.approx(part, rel=1e-12, abs=1e-15)


def test_normalization_is_the_pathwise_rule():
    found = advise(COMPRESSED, x0=0.5, L1=2.0)
    a, b = found.normalization
    for norm in (0.0, 1.0, 30.0):
        assert 1 / (a + b * norm) == pytest.approx(step_limit("4.2", found.constants, norm, 0.5), rel=1e-12)
    assert advise(SIGNS, x0=0.5).normalization[1] == 0


def test_a_constant_step_exists_iff_the_curvature_is_bounded():
    """Largest eigenvalue 3, A = 1 + 2 · .01 · 2, N = 2: 2ε/(3 (1 + A/2)), from every start; with L1 = 0 no noise floor enters."""
    for x0 in (0.5, 50.0):
        found = advise(PARABOLA, x0=x0)
        assert found.constant_step == pytest.approx(1 / (3 * 1.52), rel=1e-12)
    assert f"below {found.constant_step:.4g} is safe from every start" in found.verdict and "decay" in found.verdict
    # Logistic regression has pairs with L1 > 0 and with L1 = 0.
    data = Logistic(np.array([[2.0, 0.0], [0.0, 1.0]]), [1, 0])
    bounded = advise(Setup(data, Agents(1)), x0=0.5, L1=1.0)
    assert bounded.constant_step == pytest.approx(1 / data.smoothness(0.0), rel=1e-12)
    silent = advise(PLAIN, x0=0.5)
    assert silent.constant_step is None and "Normalize: h = 1/(" in silent.verdict and "decay" not in silent.verdict
    assert "asks for a decay" in advise(COMPRESSED, x0=0.5).verdict
    signs = advise(SIGNS, x0=0.5)
    assert signs.constant_step is None and "Signs are normalized already" in signs.verdict


@pytest.mark.parametrize("setup", [COMPRESSED, PLAIN, PARABOLA], ids=["compressed", "plain", "parabola"])
def test_what_a_change_buys(setup):
    """Never a smaller step; as much as the theorem says of the changed setup."""
    found = advise(setup, x0=0.5, L1=2.0)
    assert min(found.buys.values()) >= found.limit * (1 - 1e-12)
    count = setup.count
    assert found.buys[f"N = {2 * count}"] <= found.buys[f"N = {10 * count}"]
    assert {"ω halved", "no compression"} <= set(found.buys) or not np.any(found.constants.omega)
    assert "no gradient noise" in found.buys or not (found.constants.B or np.any(found.constants.sigma1_sq))
    if setup is COMPRESSED:
        assert found.buys["ω halved"] < found.buys["no compression"]
        for name, changed in {
            "N = 8": Agents(8, Gaussian(0.1, 0.2), RandomSparsification(4.0)),
            "ω halved": Agents(4, Gaussian(0.1, 0.2), RandomSparsification(2.0)),
            "no compression": Agents(4, Gaussian(0.1, 0.2)),
            "no gradient noise": Agents(4, None, RandomSparsification(4.0)),
        }.items():
            other = advise(Setup(Quartic(10), changed), x0=0.5, L1=2.0)
            assert found.buys[name] == pytest.approx(other.limit, rel=1e-12)


def test_more_agents_buy_signs_nothing():
    found = advise(SIGNS, x0=0.5, L1=2.0)
    assert set(found.buys.values()) == {found.limit} and list(found.buys) == ["N = 8", "N = 40"]
    assert found.shares == {"landscape": 1.0, "compression": 0.0, "noise": 0.0}


def test_different_groups_are_repeated_in_their_proportions():
    groups = Agents(1, Gaussian(0.1), RandomSparsification(2.0)), Agents(3, Gaussian(0.3), RandomSparsification(8.0))
    doubled = Agents(2, Gaussian(0.1), RandomSparsification(2.0)), Agents(6, Gaussian(0.3), RandomSparsification(8.0))
    found, other = (advise(Setup(Quartic(3), *agents), x0=0.5, L1=1.0) for agents in (groups, doubled))
    assert found.buys["N = 8"] == pytest.approx(other.limit, rel=1e-12)


def test_a_shared_mask_is_not_bought_off_by_agents():
    setup = Setup(Quartic(3), Agents(4, None, RandomSparsification(4.0), mask="shared"))
    found = advise(setup, x0=0.5, L1=1.0)
    assert found.buys["N = 40"] == pytest.approx(found.limit, rel=1e-12)
    assert found.buys["ω halved"] > 1.2 * found.limit


def test_where_nothing_limits():
    """Signs on a parabola (L1 = 0), and a linear function: no limit, and sentences that say so."""
    for setup in (
        Setup(Quadratic([1.0, 3.0]), Agents(2, StudentT(1.0), Sign())),
        Setup(Function(jnp.sum, dim=2, smoothness=lambda L1: 0.0), Agents(1)),
    ):
        found = advise(setup, x0=1.0, L1=0.0)
        assert found.limit == math.inf and set(found.buys.values()) == {math.inf}
        assert found.normalization == (0, 0) and "inf" not in found.verdict and "nan" not in found.verdict
        assert sum(found.shares.values()) in (0, 1)


def test_a_random_start_is_one_draw_and_gives_no_gap():
    def fan(key):
        return jax.random.uniform(key, (10,), float)

    found = advise(COMPRESSED, x0=fan)
    assert 0 < found.gradient_norm < np.sqrt(10) and found.constants.initial_gap is None
    assert advise(COMPRESSED, x0=0.5).constants.initial_gap == pytest.approx(10 * 0.5**4 / 4)


@pytest.mark.parametrize(
    ("setup", "options", "message"),
    [
        (COMPRESSED, {"epsilon": 1.0}, r"epsilon is 1\.0"),
        (COMPRESSED, {"epsilon": -1.0}, r"epsilon is -1\.0"),
        (COMPRESSED, {"L1": 0.0}, "L1 > 0"),
        *((COMPRESSED, {"epsilon": value}, "epsilon is .*between 0 and 1") for value in (np.nan, "0.5", True, None)),
        *((COMPRESSED, {"L1": value}, "L1 is .*at least 0") for value in (np.nan, np.inf, "1", True, -1.0)),
        (COMPRESSED, {"seed": 1.7}, r"seed is 1\.7"),
        (COMPRESSED, {"x0": 0.0}, "the gradient at x0 is 0"),
        (COMPRESSED, {"x0": [1.0, 2.0]}, r"x0 has shape \(2,\)"),
        (Quartic(3), {}, "must be a Setup"),
        (Setup(Quartic(10), Agents(1, None, TopK(1))), {}, "TopK is biased"),
        (Setup(Quartic(10), Agents(1, StudentT(0.5, 0.5), Sign())), {}, "needs nu ≥ 1.*radius version"),
        (Setup(Function(jnp.sum, dim=2), Agents(1)), {}, "no .* pair is known"),
    ],
)
def test_bad_input(setup, options, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        advise(setup, **({"x0": 0.5} | options))
    assert "\n" not in str(caught.value)
