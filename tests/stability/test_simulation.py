"""Bisection by plain simulation, where the edge is known."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binomtest

from stablestep.errors import InvalidInput
from stablestep.problem import Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.stability import critical_step
from stablestep.stability.members import Ends, Runner
from stablestep.stability.rollouts import guess
from stablestep.stability.root import bisect, bracket
from stablestep.stability.simulation import COARSE, _Tries
from stablestep.stability.start_point import start_point
from tests.stability.reference import ALMOST_SURE, BUMP, MASKED, MEAN_SQUARE, QUARTIC, SPARSE
from tests.statistics import assert_estimate, assert_fails


def found_by(setup, x0=1.0, **options):
    return critical_step(setup, x0=x0, method="simulation", **options)


@pytest.mark.parametrize(
    ("setup", "x0", "edge"),
    [
        (Setup(Quadratic([3.0]), Agents(1)), 2.0, 2 / 3),
        (Setup(Quadratic([0.01]), Agents(4)), -5.0, 200),
        (Setup(Quadratic([1.0, 4.0]), Agents(1)), [0.001, 1.0], 0.5),
        (QUARTIC, 2.0, 0.5),
        (QUARTIC, 0.1, 200.0),
        (Setup(Quartic(2), Agents(3)), [1.0, 0.3], 2.0),
    ],
)
def test_gradient_descent(setup, x0, edge):
    """2/λ, and ηx² < 2 on x⁴/4: to the precision of the bisection, with an interval that holds it."""
    found = found_by(setup, x0)
    assert found.step == pytest.approx(edge, rel=2e-4)
    assert found.low <= edge * (1 + 1e-4) and edge <= found.high and found.high / found.low < 1.0002
    assert (found.status, found.method, found.details) == ("exact", "simulation", {})
    assert 0 < found.cost < 30_000 and "after 500 steps" in found.definition


def test_quantiles_of_a_masked_message(seed):
    """Within 5 steps f ends up with probability 1 − .8⁵ = .67 wherever h > .4, and never below: so .5 has an edge and .9 has none."""
    found = found_by(MASKED, steps=5, runs=400, seed=seed)
    assert found.low < 0.401 and found.high >= 0.4
    # A third of the runs never ends up: no step at which nine tenths do.
    assert found.details["step10"] == pytest.approx(0.4, rel=0.03) and found.details["step90"] == math.inf
    assert found.status == "soft"
    assert math.log(found.step / 0.4) == pytest.approx(0, abs=0.01)
    assert {count for step, count in found.details["fractions"].items() if step < 0.4001} == {0}
    never = found_by(MASKED, steps=5, runs=400, seed=seed, quantile=0.9)
    assert (never.step, never.low, never.high, never.status) == (math.inf, math.inf, math.inf, "never")


def test_without_a_threshold_it_tends_to_the_almost_sure_edge(seed):
    found = found_by(SPARSE, steps=1000, runs=200, blown=np.inf, tolerance=0.02, seed=seed)
    assert ALMOST_SURE / 1.1 < found.step < 1.06 * ALMOST_SURE and found.step > 1.5 * MEAN_SQUARE
    assert found.low < found.step < found.high
    assert found.details["step10"] < found.step < found.details["step90"]
    fractions = found.details["fractions"]
    assert max(fractions.values()) > 0.5 > min(fractions.values()) and found.cost > 0
    # The interval ends where ½ is excluded, and nowhere before.
    sides = {at: binomtest(round(200 * share), 200).proportion_ci(method="wilson") for at, share in fractions.items()}
    assert found.low == max(at for at, side in sides.items() if side.high < 0.5)
    assert found.high == min(at for at, side in sides.items() if side.low > 0.5)


def fan(width):
    """log x0 uniform on [0, width]: a run of descent on x⁴/4 ends up iff h x0² > 2, so log(h/2) is uniform on [−2 width, 0]."""
    return lambda key: jnp.exp(width * jax.random.uniform(key, (1,), float))


RUNS = 400


def quantile_error(share, width):
    """The standard error of a quantile of that law, and of the last bisection."""
    return math.hypot(2 * width * math.sqrt(share * (1 - share) / RUNS), COARSE / math.sqrt(12))


@pytest.mark.parametrize("quantile", [0.5, 0.3])
def test_the_tails_are_measured(seed, quantile):
    found = found_by(QUARTIC, fan(1.0), steps=100, runs=RUNS, quantile=quantile, seed=seed)
    for share, step in ((quantile, found.step), (0.1, found.details["step10"]), (0.9, found.details["step90"])):
        exact = math.log(2) - 2 * (1 - share)
        assert_estimate(math.log(step), quantile_error(share, 1.0), exact)
        with assert_fails("a quantile of 0.15 more"):
            assert_estimate(math.log(step), quantile_error(share, 1.0), exact + 0.3)
    assert found.status == "soft" and found.details["steps"] == 100


@pytest.mark.parametrize(("ratio", "status"), [(1.1, "sharp"), (1.35, "soft")])
def test_sharp_means_that_the_tails_are_close(ratio, status, seed):
    """η90/η10 = e^(1.6 width): at 1.35 the edge is soft, however well its middle is known."""
    found = found_by(QUARTIC, fan(math.log(ratio) / 1.6), steps=100, runs=RUNS, seed=seed)
    assert found.status == status and found.high / found.low < 1.25


def test_the_tails_cost_little(seed):
    """Less than as much again as the middle."""
    case = start_point(SPARSE, 1.0, seed)
    middle = _Tries(Runner(case, 100), 100)
    bisect(
        lambda log_step: middle.beyond(log_step, 0.5), *bracket(lambda at: middle.beyond(at, 0.5), guess(case)), 0.01
    )
    found = found_by(SPARSE, steps=100, runs=100, seed=seed)
    assert middle.cost < found.cost < 2 * middle.cost
    assert len(found.details["fractions"]) <= len(middle.ups) + 12


@pytest.mark.parametrize("blown", [10.0, 1000.0, math.inf])
def test_the_definition_says_what_has_blown_up(blown):
    found = found_by(MASKED, steps=5, runs=20, blown=blown)
    said = "f is no number" if math.isinf(blown) else f"f − f* has passed {blown:g} times its start"
    assert f"half of the runs from x0 have blown up ({said}), or have a mean" in found.definition


def test_every_step_too_large(monkeypatch):
    """A run that always ends up has no edge above 0."""
    monkeypatch.setattr("stablestep.stability.simulation.Runner", Doomed)
    found = found_by(SPARSE, steps=5, runs=20)
    assert (found.step, found.low, found.high, found.status) == (0.0, 0.0, 0.0, "never")


class Doomed:
    def __init__(self, case, members, dtype, blown):
        self.members = members

    def __call__(self, etas, steps):
        return Ends(np.ones(self.members, bool), np.ones(self.members, bool), self.members)


def test_the_same_seed_gives_the_same_answer():
    one, again, other = (found_by(SPARSE, steps=50, seed=seed) for seed in (1, 1, 2))
    assert one == again and one.details != other.details


def test_never():
    found = found_by(BUMP, x0=0.5, steps=20)
    assert (found.step, found.status) == (math.inf, "never") and found.cost > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantile": 0.0}, r"quantile is 0\.0.*between 0 and 1"),
        ({"quantile": 1.5}, r"quantile is 1\.5"),
        ({"runs": 19}, "runs is 19.*at least 20"),
        ({"steps": 4}, "steps is 4.*at least 5"),
        ({"blown": 1.0}, r"blown is 1\.0, but must be greater than 1; use 1000, or inf"),
        ({"blown": np.nan}, "blown is nan"),
        ({"tolerance": 0.0}, r"tolerance is 0\.0"),
        ({"x0": 0.0}, "the gradient at x0 is 0"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        found_by(SPARSE, **options)
    assert "\n" not in str(caught.value)
