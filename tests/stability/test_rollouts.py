"""The adaptive ladder: known edges, the posterior it rests on, and what it says of its answer."""

import math

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.problem import Quadratic
from stablestep.setup import Agents, Setup
from stablestep.stability import critical_step
from stablestep.stability.rollouts import LONGEST, Posterior, _answer, posterior
from tests.stability.reference import BUMP, DESCENT, MASKED, MEAN_SQUARE, QUARTIC, SPARSE, log_error
from tests.statistics import assert_estimate, assert_fails, assert_fraction, assert_mean


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


def test_never():
    found = critical_step(BUMP, x0=0.5, steps=10, longest=30)
    assert (found.step, found.low, found.high, found.status) == (math.inf, math.inf, math.inf, "never")
    assert found.cost > 0 and found.details["steps"] == 10


def test_what_the_answer_says():
    sharp = _answer(Posterior(0.0, 0.02, 0.02), 7, 90, 0.01)
    assert (sharp.step, sharp.status, sharp.cost) == (1.0, "sharp", 7)
    assert log_error(sharp) == pytest.approx(math.hypot(1.3 * 0.02, 0.03))
    # η10 and η90 are ln 9 widths away from η50.
    assert math.log(sharp.details["step90"]) == pytest.approx(0.02 * math.log(9))
    assert 1 / (1 + math.exp(-math.log(sharp.details["step10"]) / 0.02)) == pytest.approx(0.1)
    assert _answer(Posterior(0.0, 0.02, 0.1), 7, 90, 0.01).status == "soft"
    assert _answer(Posterior(0.0, 0.02, 0.02), 7, LONGEST, 0.2).status == "horizon-dependent"
    assert _answer(Posterior(0.0, 0.02, 0.02), 7, LONGEST, 0.01).status == "sharp"
    assert _answer(Posterior(0.0, 0.02, 0.02), 7, LONGEST, math.inf).status == "sharp"  # nothing to compare with
    assert _answer(None, 7, 90, math.inf).step == math.inf


CENTRE, WIDTH, COUNT, REPEATS = -1.3, 0.15, 24, 100


def drawn(generator):
    """What members say whose fate is a logistic in log h, spread evenly around its centre."""
    logs = CENTRE + np.linspace(-0.8, 0.9, COUNT)
    return posterior(logs, generator.uniform(size=COUNT) < 1 / (1 + np.exp(-(logs - CENTRE) / WIDTH)))


def test_the_posterior_recovers_a_logistic(seed):
    generator = np.random.default_rng(seed)
    found = [drawn(generator) for _ in range(REPEATS)]
    centres = np.array([one.centre for one in found])
    scores = (centres - CENTRE) / [one.half for one in found]
    assert_mean(scores, 0.0)
    assert_fraction(np.sum(np.abs(scores) < 1), REPEATS, 0.6827)
    with assert_fails("a centre half a width away"):
        assert_mean(centres, CENTRE + WIDTH / 2)
    with assert_fails("half-widths of a third"):
        assert_fraction(np.sum(np.abs(scores) < 1 / 3), REPEATS, 0.6827)
    widths = np.array([one.width for one in found])
    assert WIDTH / 2 < np.exp(np.mean(np.log(widths))) < 1.5 * WIDTH


def test_the_posterior_of_a_sharp_edge():
    logs = np.linspace(-1, 1, 64)
    found = posterior(logs, logs > 0.3)
    gap = logs[logs > 0.3][0], logs[logs <= 0.3][-1]
    assert gap[1] - 0.02 < found.centre < gap[0] + 0.02 and found.width < 0.05 and found.half < 0.05
    mirrored = posterior(-logs[::-1], ~(logs > 0.3)[::-1])
    assert mirrored.centre == pytest.approx(-found.centre, abs=0.005)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 3}, "members is 3.*at least 4"),
        ({"steps": 4}, "steps is 4.*at least 5"),
        ({"longest": 4}, "longest is 4.*at least 5"),
        ({"tolerance": -0.1}, r"tolerance is -0\.1"),
        ({"x0": 0.0}, "the gradient at x0 is 0"),
        ({"quantile": 0.5}, 'the method "rollouts" has no option "quantile"; it takes members, steps, longest, tol'),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        critical_step(SPARSE, **({"x0": 1.0} | options))
    assert "\n" not in str(caught.value)
