"""What the theorems say about a setup: rows, shares, what a change would buy, and the verdict."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import EF21, ErrorFeedback, RandomSparsification, Sign, TopK
from stablestep.errors import InvalidInput
from stablestep.estimate import smoothness
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Cosh, Function, Logistic, Quadratic, Quartic
from stablestep.server import HeavyBall, Plain
from stablestep.setup import Agents, Setup
from stablestep.stability import advise
from stablestep.theorem import Constants, constants, constants_from, result, step_limit
from stablestep.vary import vary

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
    # cosh by hand: a curve that begins at L1 = 1 says nothing of a bounded Hessian.
    cosh = Function(lambda x: jnp.sum(jnp.cosh(x)), 3, smoothness=lambda L1: 1.0, smallest_L1=1.0)
    mine, ours = (advise(Setup(problem, Agents(1)), x0=1.0) for problem in (cosh, Cosh(3)))
    assert mine.constant_step is None and mine.limit == pytest.approx(ours.limit) and mine.verdict == ours.verdict
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


BOUNDED = Quadratic([1.0, 0.5, 0.25, 0.1])


def test_momentum_has_its_own_results_in_steps_of_the_method():
    setup = Setup(BOUNDED, Agents(4, Gaussian(0.1), RandomSparsification(4.0)), server=HeavyBall(0.75))
    found, averaged = advise(setup, x0=0.5), advise(vary(setup, "average", True), x0=0.5)
    assert [row.name for row in found.rows] == ["discrete.momentum", "momentum"]
    assert all(row.printed is None and row.corrected is not None for row in found.rows)
    for row, other in zip(found.rows, averaged.rows):
        assert row.corrected == pytest.approx(other.corrected / 4)
    assert found.limit == pytest.approx(found.rows[0].corrected) == pytest.approx(found.constant_step)
    assert found.buys["no momentum"] == pytest.approx(advise(Setup(BOUNDED, setup.groups[0]), x0=0.5).limit)
    rough = advise(Setup(Quartic(4), setup.groups[0], server=HeavyBall(0.75)), x0=0.5, L1=2.0)
    c = constants(Setup(Quartic(4), setup.groups[0], server=HeavyBall(0.75)), L1=2.0)
    assert rough.limit == pytest.approx(step_limit("momentum", c, rough.gradient_norm, 0.5) / 4)
    assert (
        sum(rough.shares.values()) == pytest.approx(1) and rough.shares["compression"] > rough.shares["landscape"] / 10
    )
    failing = {row.name: row.reason for row in rough.rows if row.corrected is None}
    assert list(failing) == ["discrete.momentum"] and "needs a bounded Hessian" in failing["discrete.momentum"]


def test_error_feedback():
    found = advise(Setup(BOUNDED, Agents(4, None, ErrorFeedback(TopK(k=1)))), x0=0.5)
    assert [row.name for row in found.rows] == ["ef"] and found.limit == pytest.approx(0.1431965115)
    assert found.constant_step == pytest.approx(found.limit) and "safe from every start" in found.verdict
    assert list(found.buys) == ["N = 8", "N = 40"] and found.practice.high == pytest.approx(2.0)


def test_a_memory_that_no_theorem_knows_still_has_advice():
    for agents, server in (
        (Agents(4, None, EF21(TopK(k=1))), Plain()),
        (Agents(4), HeavyBall(0.9, nesterov=True)),
        (Agents(4, None, ErrorFeedback(TopK(k=1))), HeavyBall(0.9)),
    ):
        found = advise(Setup(BOUNDED, agents, server=server), x0=0.5)
        assert found.rows == () and found.limit is None and found.normalization is None and found.buys == {}
        assert "No theorem covers" in found.verdict and found.practice.sentences
    rough = advise(Setup(Quartic(4), Agents(4, None, ErrorFeedback(TopK(k=1)))), x0=0.5)
    assert rough.limit is None and "needs a bounded Hessian" in rough.rows[0].reason


def test_normalized_steps():
    found = advise(Setup(Quartic(4), Agents(4)), x0=0.5, L1=2.0, normalized=True)
    assert [row.name for row in found.rows] == ["discrete.normalized"] and found.limit == pytest.approx(
        1.2564312086 / 2
    )
    assert "Steps are normalized already" in found.verdict and found.constant_step is None


def test_constants_from_estimates_take_the_place_of_the_setups():
    """Such as of a problem that knows no pair."""
    unknown = Setup(
        Function(lambda x: jnp.sum(x**4) / 4, dim=10), Agents(4, Gaussian(0.1, 0.2), RandomSparsification(4.0))
    )
    smooth = smoothness([0.1, 1.0, 2.0, 3.0], [1.2, 3.0, 5.0, 7.0])
    c = constants_from(smooth, dim=10, count=4, omega=4.0, sigma0_sq=0.01, sigma1_sq=0.04)
    found = advise(unknown, x0=0.5, constants=c)
    assert (
        found.limit == pytest.approx(step_limit("4.2", c, found.gradient_norm, 0.5))
        and pytest.approx(2.0) == found.constants.L1
    )
    assert found.constant_step is None
    flat = advise(unknown, x0=0.5, constants=constants_from(smoothness([1, 2, 3], [3, 3, 3]), dim=10, count=4))
    assert flat.constant_step == pytest.approx(1 / 3)
    moved = Setup(unknown.problem, unknown.groups[0], server=HeavyBall(0.5))
    assert advise(moved, x0=0.5, constants=c).constants.beta == 0.5
    for options, message in (
        ({"constants": c, "L1": 1.0}, "constants hold an L1 of their own"),
        ({"constants": 3}, "constants is 3, but must be a Constants"),
        ({"constants": constants_from(smooth, dim=10)}, "count = 1, but the setup has 4"),
    ):
        with pytest.raises(InvalidInput, match=message):
            advise(unknown, x0=0.5, **options)


def test_constants_that_were_handed_in_hold_where_they_hold():
    """Measured ones may say that the curvature is bounded where it is not."""
    found = advise(Setup(Quartic(2), Agents(4)), x0=0.5, constants=Constants(L0=1.0, L1=0.0, dim=2, count=4))
    assert "is safe where the given constants hold; measured ones hold near where" in found.verdict
    assert "every start" not in found.verdict and found.given
    signs = Constants(L0=1.0, L1=0.0, dim=2, count=4, nu=1.0, scale_max=1.0)
    agents = Agents(4, StudentT(1.0), Sign())
    assert (
        "allowed where the given constants hold" in advise(Setup(Quartic(2), agents), x0=0.5, constants=signs).verdict
    )
    assert not advise(Setup(Quartic(2), Agents(4)), x0=0.5).given
