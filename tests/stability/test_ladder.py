"""The ladder: the posterior it rests on, and what it says of its answer."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from stablestep.stability.ladder import LONGEST, Posterior, _answer, edge, posterior
from tests.stability.reference import log_error
from tests.statistics import assert_fails, assert_fraction, assert_mean


def test_what_the_answer_says():
    sharp = _answer(Posterior(0.0, 0.02, 0.02), 7, 90, "", False)
    assert (sharp.step, sharp.status, sharp.cost) == (1.0, "sharp", 7)
    assert log_error(sharp) == pytest.approx(math.hypot(1.3 * 0.02, 0.03))
    # η10 and η90 are ln 9 widths away from η50.
    assert math.log(sharp.details["step90"]) == pytest.approx(0.02 * math.log(9))
    assert 1 / (1 + math.exp(-math.log(sharp.details["step10"]) / 0.02)) == pytest.approx(0.1)
    assert _answer(Posterior(0.0, 0.02, 0.1), 7, 90, "", False).status == "soft"
    assert _answer(Posterior(0.0, 0.02, 0.02), 7, LONGEST, "", True).status == "horizon-dependent"
    assert _answer(None, 7, 90, "", False).step == math.inf


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


class Always:
    """Members whose fate does not depend on the step."""

    members, seed = 4, 0

    def __init__(self, up):
        self.up = up

    def __call__(self, etas, length, batch):
        return SimpleNamespace(up=np.full(len(etas), self.up), steps=length * len(etas))


@pytest.mark.parametrize(("up", "step"), [(True, 0.0), (False, math.inf)])
def test_members_that_always_end_alike(up, step):
    found = edge(Always(up), 0.0, "", 10)
    assert (found.step, found.status, found.details["steps"]) == (step, "never", 10)
