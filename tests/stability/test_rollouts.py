"""Short rollouts of a setup: known edges, horizons, bad inputs."""

import math

import pytest

from stablestep.errors import InvalidInput
from stablestep.problem import Quadratic
from stablestep.setup import Agents, Setup
from stablestep.stability import critical_step
from tests.stability.reference import BUMP, DESCENT, MASKED, MEAN_SQUARE, QUARTIC, SPARSE, log_error
from tests.statistics import assert_estimate, assert_fails


@pytest.mark.parametrize(
    ("setup", "x0", "edge"),
    [
        (DESCENT, 2.0, 2 / 3),
        (Setup(Quadratic([0.02]), Agents(4)), -7.0, 100.0),
        (QUARTIC, 2.0, 0.5),
        (QUARTIC, 0.1, 200.0),
    ],
)
def test_gradient_descent(setup, x0, edge):
    """Within twice its interval of 2/λ, and of ηx² < 2 on x⁴/4; it is the method that is chosen by default."""
    found = critical_step(setup, x0=x0)
    assert abs(math.log(found.step / edge)) <= 2 * log_error(found) < 0.2
    assert (found.status, found.method) == ("sharp", "rollouts") and found.low < found.step < found.high
    assert found.details["step10"] < found.step < found.details["step90"] and found.details["steps"] == 90
    assert found.low * found.high == pytest.approx(found.step**2) and 100 < found.cost < 10_000


def test_it_agrees_with_plain_simulation(seed):
    """The same T, other runs: both have errors, the simulation's from its interval of 95 %."""
    ladder = critical_step(SPARSE, x0=1.0, steps=150, longest=150, seed=seed)
    plain = critical_step(SPARSE, x0=1.0, method="simulation", steps=150, seed=seed + 1)
    error = math.hypot(log_error(ladder), math.log(plain.high / plain.low) / 2 / 1.96)
    assert_estimate(math.log(ladder.step), error, math.log(plain.step))
    with assert_fails("the mean-square edge"):
        assert_estimate(math.log(ladder.step), error, math.log(MEAN_SQUARE))
    assert ladder.cost < plain.cost / 4 and ladder.status == "soft"
    assert ladder.details["steps"] == 150


def test_the_same_seed_gives_the_same_ladder():
    one, again, other = (critical_step(MASKED, x0=1.0, seed=seed, steps=30, longest=30) for seed in (1, 1, 2))
    assert one == again and one.step != other.step


def test_the_first_length_follows_the_messages_and_the_last_is_the_cap():
    """max(30, 10 (1 + ω)/N) = 50, tripled while the answer moves."""
    assert critical_step(MASKED, x0=1.0, longest=50).details["steps"] == 50
    assert critical_step(MASKED, x0=1.0, longest=7).details["steps"] == 7
    assert critical_step(MASKED, x0=1.0).details["steps"] in (150, 450)


def test_the_threshold_is_an_option_and_stands_in_the_definition(seed):
    """The sooner a run counts as lost, the smaller the edge."""
    given = {"x0": 1.0, "steps": 10, "longest": 10, "seed": seed}
    early, usual = critical_step(SPARSE, **given, blown=1.01), critical_step(SPARSE, **given)
    assert early.step < 0.9 * usual.step
    assert "f − f* has passed 1000 times its start" in usual.definition
    assert "f − f* has passed 1.01 times its start" in early.definition


def test_never():
    found = critical_step(BUMP, x0=0.5, steps=10, longest=30)
    assert (found.step, found.low, found.high, found.status) == (math.inf, math.inf, math.inf, "never")
    assert found.cost > 0 and found.details["steps"] == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 3}, "members is 3.*at least 4"),
        ({"steps": 4}, "steps is 4.*at least 5"),
        ({"longest": 4}, "longest is 4.*at least 5"),
        ({"tolerance": -0.1}, r"tolerance is -0\.1"),
        ({"x0": 0.0}, "the gradient at x0 is 0"),
        (
            {"quantile": 0.5},
            'the method "rollouts" has no option "quantile"; it takes members, steps, longest, tolerance, b',
        ),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        critical_step(SPARSE, **({"x0": 1.0} | options))
    assert "\n" not in str(caught.value)
