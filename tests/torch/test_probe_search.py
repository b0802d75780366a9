"""The search by itself: how ramps and runs are read, where the next run goes, and what is refused."""

import math

import numpy as np
import pytest

from stablestep.torch.probe.bracket import Belief, Guess
from stablestep.torch.probe.calibration import EDGES, Line, Row
from stablestep.torch.probe.ramp import NAMES, Ramp, rate
from stablestep.torch.probe.reading import Run
from stablestep.torch.probe.search import BUDGETS, Budget, NoEdge, Search
from tests.statistics import assert_fails, assert_mean

FLAT = Line((0.0,) * len(NAMES), (1.0,) * len(NAMES), (0.0,) * len(NAMES), -0.5, 0.4, 0.9)
ROW = Row(
    dict.fromkeys(EDGES, FLAT),
    {name: {"ramp": 1.6, "runs": 1.6} for name in EDGES},
    dict.fromkeys(EDGES, (0.5, -0.6, 0.4, 0.9)),
    share=0.5,
    start=0.0,
)
EDGE = 0.3  # of the parabola below


def parabola(generator, noise=0.02):
    """Gradient descent on a parabola with the edge EDGE: losses fall, or grow without end, from 1 down to a floor of 0.1."""

    def losses(step_at, run):
        excess, number = 0.9, 0
        while True:
            yield (0.1 + excess) * math.exp(noise * generator.normal())
            excess = min(excess * (1 - 2 * step_at(number) / EDGE) ** 2, 1e12)
            number += 1

    return losses


def search(horizon=100, **options):
    return Search(ROW, horizon, noise=0.0, workers=2, **options)


@pytest.fixture
def generator(seed):
    return np.random.default_rng(seed)


def ramped(generator, horizon=100):
    """A search after its ramp on the parabola, the losses, and all those that were asked for."""
    found, spent = search(horizon), []

    def counted(step_at, run):
        for loss in parabola(generator)(step_at, run):
            spent.append(loss)
            yield loss

    found.ramp(counted, math.log(EDGE) - 6)
    return found, counted, spent


def probed(generator, budget="default", horizon=100):
    found, losses, spent = ramped(generator, horizon)
    found.narrow(losses, BUDGETS[budget], lambda: len(spent))
    return found, len(spent)


@pytest.mark.parametrize("budget", ["default", "exact"])
def test_a_known_edge_is_bracketed(generator, budget):
    found, spent = probed(generator, budget)
    edge = found.edge("useful")
    assert found.beliefs["useful"].ratio <= BUDGETS[budget].ratio and found.runs >= 3
    assert edge.low < EDGE < edge.high and edge.high / edge.low < 4
    assert found.step() <= 0.45 * edge.step and spent == sum(trial.steps for trial in found.trials)


def test_a_longer_horizon_has_a_slower_ramp(generator):
    short, long = (probed(generator, "quick", horizon)[0].trials[0] for horizon in (100, 300))
    assert 2 < long.steps / short.steps < 4 and short.ended == "ramp"


def test_quick_makes_no_run_and_gives_wide_intervals(generator):
    quick, runs = (probed(generator, budget)[0] for budget in ("quick", "default"))
    assert quick.runs == 0
    assert quick.edge("useful").high / quick.edge("useful").low > runs.edge("useful").high / runs.edge("useful").low


def test_a_budget_in_gradients_is_kept(generator):
    found, losses, spent = ramped(generator)
    found.narrow(losses, Budget(3, 1.01, gradients=350), lambda: len(spent))
    assert 250 < len(spent) <= 350


def test_a_budget_that_ends_before_the_bracket_leaves_what_the_ramp_said(generator):
    """There was room for one run, which is on one side of the edge only."""
    found, losses, spent = ramped(generator)
    after_ramp = found.edge("useful")
    found.narrow(losses, Budget(3, 1.2, gradients=len(spent) + 100), lambda: len(spent))
    assert found.runs == 1 and not found.bracketed
    edge = found.edge("useful")
    assert edge != after_ramp and edge.high / edge.low > 1.5


def test_a_ramp_that_begins_too_high_begins_again(generator):
    found = search()
    found.ramp(parabola(generator), math.log(EDGE) + 3)
    assert len(found.trials) == 2 and found.trials[1].step == pytest.approx(found.trials[0].step, rel=30)
    assert found.trials[0].step > 10 * EDGE


def test_what_never_rises_has_no_edge():
    found = search(horizon=20)
    with pytest.raises(NoEdge, match="raised the loss; this loss has no edge"):
        found.ramp(lambda step_at, run: iter([1.0] * 1000), -5.0)


def test_what_never_falls_is_refused():
    found = search()

    def hopeless(step_at, run):
        yield from np.full(50, 1.0)
        yield from np.full(200, 1.6)

    found.ramp(hopeless, -5.0)
    with pytest.raises(NoEdge, match="does not fall enough at any step down to"):
        found.narrow(hopeless, BUDGETS["default"], lambda: 0)


def test_runs_are_read():
    falling, spiked = Run.of(np.linspace(1, 0.2, 50), 50), Run.of([1.0, 1.0, 30.0, 30.0], 50)
    assert falling.tail == pytest.approx(0.2 + 0.8 * 4.5 / 49) and not falling.spiked and falling.over
    assert spiked.spiked and spiked.spike == 3 and not spiked.over
    assert Run.of([1.0, math.nan], 2).lost and falling.too_hot(-0.9) and not falling.too_hot(0.2)


@pytest.mark.parametrize(("loss", "steps"), [(0.2, 70), (0.27, 70), (0.29, 100), (0.99, 100), (1.01, 70)])
def test_a_run_ends_where_the_rest_says_nothing_new(loss, steps):
    """With a lowest loss of 0.1 a run has made 80 % of the fall at 0.28."""
    found = search()
    found.lowest = 0.1
    _, run = found.run(lambda step_at, number: iter([loss] * 100), -1.0, 0)
    assert len(run.losses) == steps and run.too_hot(0.1) == (loss > 0.55)


def test_a_run_that_falls_late_goes_on():
    found = search()
    found.lowest = 0.1
    _, run = found.run(lambda step_at, number: iter([0.9] * 60 + [0.1] * 40), -1.0, 0)
    assert 70 < len(run.losses) < 100 and run.tail < 0.28


def test_a_ramp_is_a_function_of_its_losses_and_not_of_its_start(generator):
    """Everything but the stop itself is relative to the stop: a shifted ramp gives a shifted answer."""
    losses = [*np.linspace(1, 0.5, 40), 0.7, 1.2, 2.0, 4.0, 8.0]
    low, high = (Ramp.of(losses, 100, start) for start in (-9.0, -2.0))
    assert low.features(3.0, 4) == pytest.approx(high.features(3.0, 4)) and len(low.features(3.0, 4)) == len(NAMES)
    assert high.stop - low.stop == pytest.approx(7.0) and low.fired
    assert low.stop == pytest.approx(-9.0 + rate(100) * (len(low.losses) - 1))


def test_noise_at_the_beginning_gives_room(generator):
    """Losses that jump by half stop hardly any ramp; where the first ten are quiet, the same jumps are taken for a rise."""
    jumps = 1 + 0.5 * generator.choice([-1, 1], size=(50, 50))
    quiet = [np.concatenate([np.ones(10), one]) for one in jumps]
    fired = [np.mean([Ramp.of(losses, 100, 0.0).fired for losses in some]) for some in (jumps, quiet)]
    assert fired[0] < 0.3 and fired[1] > 0.7


def test_the_belief_is_bayes(seed):
    """Edges drawn from the prior and runs from the logistic: the belief's error has the spread that it states."""
    generator, scaled = np.random.default_rng(seed), []
    for _ in range(300):
        edge, belief = generator.normal(0, 0.4), Belief(Guess(0.0, 0.4, 0.65))
        for _ in range(4):
            at = belief.next
            belief.add(at, above=bool(generator.random() < 1 / (1 + math.exp((edge - at) / 0.11))))
        scaled.append((edge - belief.weights @ belief.grid) / belief.spread)
    assert_mean(scaled, 0.0)
    # The wide part of the prior and the share of mistakes make it a little too careful.
    assert 0.6 < np.std(scaled) < 1.05
    with assert_fails("a belief that is shifted by half its spread"):
        assert_mean(np.array(scaled) + 0.5, 0.0)


def test_what_blows_up_is_above_the_useful_edge(generator):
    found = probed(generator)[0]
    for log_step in (-4.0, -3.5, -3.0):
        found.beliefs["blow_up"].add(log_step, True)
    assert found.beliefs["blow_up"].median < found.beliefs["useful"].median
    assert (
        found.edge("blow_up") == found.edge("useful").above(found.edge("blow_up")) and found.edge("blow_up").step > 0.2
    )


def test_runs_on_one_side_go_further_and_further():
    belief, places = Belief(Guess(0.0, 0.1, 0.2)), []
    for _ in range(4):
        places.append(belief.next)
        belief.add(belief.next, above=True)
    steps = -np.diff(places)
    assert (steps[1:] > 1.5 * steps[:-1]).all() and not belief.bracketed and belief.ratio == math.inf


def test_what_is_known_sharpens_the_guess():
    belief = Belief(Guess(0.0, 0.5, 1.0))
    before = belief.spread
    belief.multiply(Guess(0.3, 0.3, 0.6))
    assert belief.spread < 0.8 * before and 0 < belief.median < 0.3
