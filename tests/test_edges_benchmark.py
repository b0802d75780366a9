"""The calibration: optimizers are torch's, sweeps find what is known, ramps know no edge, fits have not seen what they are scored on."""

import math
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.edges.cell import METHODS, Cell, cells
from benchmarks.edges.fit import held_out, line
from benchmarks.edges.measure import chosen, measure_all
from benchmarks.edges.optimizers import OPTIMIZERS
from benchmarks.edges.predictors import TABLE, Answer, Case, finders
from benchmarks.edges.ramps import finder_steps, ramps
from benchmarks.edges.scoreboard import Score, shifted, summary
from benchmarks.edges.store import Record, Store
from benchmarks.edges.sweep import Runs, edge, sweep
from benchmarks.edges.tasks import TASKS
from benchmarks.edges.training import CHUNK, Training
from benchmarks.edges.truth import Truth
from stablestep.compressor import ErrorFeedback, RandomSparsification
from stablestep.torch.probe.ramp import NAMES

torch = pytest.importorskip("torch")
EDGE = 0.3


class Parabola:
    """Members of gradient descent on a parabola with the edge EDGE/`unit`, beside a floor of 0.1."""

    def __init__(self, horizon=100, unit=1.0, count=32):
        self.cell, self.unit, self.count = Cell("parabola", "sgd", "own", 0, 1, horizon), unit, count
        self.task = SimpleNamespace(sizes=(4,))
        self.seed = 0

    def begin(self, seed):
        return np.full(self.count, 0.9), np.random.default_rng(seed)

    def advance(self, state, steps):
        excess, generator = state
        losses = []
        for step in steps.T:
            losses.append((0.1 + excess) * np.exp(0.02 * generator.normal(size=self.count)))
            excess = np.minimum(excess * (1 - 2 * step * self.unit / EDGE) ** 2, 1e12)
        return (excess, generator), np.array(losses).T

    def run(self, steps, seed, length, rate=0.0):
        state, found = self.begin(seed), []
        for begin in range(0, length, CHUNK):
            state, losses = self.advance(state, steps[:, None] * np.exp(rate * np.arange(begin, begin + CHUNK)))
            found.append(losses)
        return np.concatenate(found, 1)[:, :length]


@pytest.fixture(scope="module")
def truth():
    return truth_of(Parabola(), "parabola")


def truth_of(training, name):
    runs, (starts, losses) = sweep(training, 0.1), ramps(training, 0.1)
    found = training.run(np.full(training.count, 1e-7), 8, 100, rate=math.log(1e8) / 99)
    cell = replace(training.cell, task=name)
    return Truth(Record(cell, 0.1, 0.0, 2.0, {"sweep": 1.0}, {"2/λmax": math.log(0.2)}, runs, starts, losses, found))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=1.0)),
        ("momentum", lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9)),
        ("adam", lambda p: torch.optim.AdamW(p, lr=1.0)),
    ],
)
def test_optimizers_are_those_of_torch(name, make, seed):
    generator = np.random.default_rng(seed)
    start, messages = generator.normal(size=5), generator.normal(size=(6, 5))
    parameter = torch.nn.Parameter(torch.tensor(start))
    theirs, ours = make([parameter]), OPTIMIZERS[name](((5,),))
    x = jnp.asarray(start)
    state = ours.begin(x)
    for t, message in enumerate(messages):
        step = 0.1 * (t + 1)
        theirs.param_groups[0]["lr"] = step
        parameter.grad = torch.tensor(message)
        theirs.step()
        x, state = ours.update(x, jnp.asarray(message), state, t, step)
    np.testing.assert_allclose(x, parameter.detach().numpy(), rtol=1e-6)


def test_muon_is_that_of_torch(seed):
    """Up to torch's bfloat16 in the Newton–Schulz steps: an update has entries of about 0.02."""
    generator, shapes = np.random.default_rng(seed), ((6, 4), (4,), (4, 9))
    sizes = [math.prod(shape) for shape in shapes]
    start, ours = generator.normal(size=sum(sizes)), OPTIMIZERS["muon"](shapes)
    parts = [torch.nn.Parameter(torch.tensor(part).reshape(s)) for part, s in zip(_split(start, sizes), shapes)]
    theirs = (
        torch.optim.Muon([parts[0], parts[2]], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([parts[1]], lr=0.1, weight_decay=0.0),
    )
    x = jnp.asarray(start)
    state = ours.begin(x)
    for t, message in enumerate(generator.normal(size=(5, sum(sizes)))):
        for parameter, part in zip(parts, _split(message, sizes)):
            parameter.grad = torch.tensor(part).reshape(parameter.shape)
        for optimizer in theirs:
            optimizer.step()
        x, state = ours.update(x, jnp.asarray(message), state, t, 0.1)
    found = torch.cat([parameter.detach().flatten() for parameter in parts]).numpy()
    np.testing.assert_allclose(x, found, atol=0.01)
    assert np.abs(found - start).min() < 0.3 < np.abs(found - start).max()


def _split(flat, sizes):
    return np.split(flat, np.cumsum(sizes)[:-1])


def test_cells_have_names_of_their_own():
    found = list(cells(list(TASKS)))
    assert len({cell.name for cell in found}) == len(found) > 700 and len(TASKS) >= 12
    assert {cell.agents for cell in found} == {1, 4, 16} and {cell.horizon for cell in found} == {100, 300}
    assert {omega for message, omega, *_ in METHODS if message == "own"} == {0, 3, 19, 99}
    noisy = Cell("tanh", "sgd", "shared", 19, 4, 100)
    assert noisy.noise((10,)) == 19 and replace(noisy, message="own").noise((10,)) == 19 / 4
    assert isinstance(noisy.compressor, RandomSparsification)
    assert isinstance(replace(noisy, message="topk5").compressor, ErrorFeedback)
    assert replace(noisy, message="sign").family == "sign" and replace(noisy, message="topk5").noise((10,)) == 0


def test_a_sweep_finds_what_is_known(truth):
    """The edge of a parabola, both as blow-up and as useful edge, and Newton's step as the best one."""
    for name in ("blow_up", "useful"):
        place, error = truth.places[name]
        assert abs(place - math.log(EDGE)) < 0.1 and error < 0.1
    assert truth.complete and truth.places["best"][0] < math.log(EDGE)
    assert truth.regret(math.log(EDGE / 2)) < 0.05 and truth.regret(math.log(2 * EDGE)) > 0.9


def test_an_edge_is_looked_for_where_it_changes():
    """Runs far away, on both sides, leave its width as it is."""
    runs = Runs(20)
    logs = np.concatenate([np.linspace(-9, -2, 20), np.linspace(-0.3, 0.3, 40), np.linspace(2, 9, 20)])
    runs.add(logs, np.where(logs[:, None] > 0, 3.0, 0.5) * np.ones((80, 20)))
    found = edge(runs, runs.blown())
    assert abs(found.centre) < 0.03 and found.width < 0.05


def test_ramps_know_no_edge():
    """Their starts are the same wherever the edge is; with the leak of a start at a fraction of the edge they would move with it."""
    here, there = (ramps(Parabola(unit=unit), 0.1) for unit in (1.0, 5.0))
    np.testing.assert_array_equal(here[0], there[0])
    assert np.ptp(here[0]) > 0.7 * 5 * math.log(2) and len(set(here[0])) == 32
    assert here[1].shape[1] % CHUNK == 0


def test_a_store_gives_back_what_was_written(truth, tmp_path):
    store = Store(tmp_path)
    assert truth.cell not in store
    store.write(truth.record)
    (again,) = store.records()
    assert truth.cell in store and again.cell == truth.cell and again.points == truth.record.points
    np.testing.assert_allclose(again.runs.logs, truth.record.runs.logs)
    np.testing.assert_allclose(again.runs.tails, truth.record.runs.tails, rtol=1e-5)
    np.testing.assert_allclose(again.starts, truth.record.starts)


def test_what_was_measured_is_not_measured_again(truth, tmp_path):
    store = Store(tmp_path)
    store.write(truth.record)
    measure_all([truth.cell], store, processes=1, report=lambda *seen: pytest.fail("it was measured again"))


def test_cells_are_chosen_by_patterns():
    names = {cell.name for cell in chosen(list(TASKS), ["tanh-*-own-99-4-100", "relu-sgd-qsgd-*"], quick=False)}
    assert names == {f"tanh-{name}-own-99-4-100" for name in ("sgd", "momentum", "adam", "muon")} | {
        "relu-sgd-qsgd-2-4-100"
    }
    few, everything = (chosen(list(TASKS), [], quick) for quick in (True, False))
    assert 0 < len(few) < len(everything) / 5 and set(few) < set(everything)


def linear_truth(task, offset, generator):
    """Ramps whose edge is a line in one feature, with an offset that is the task's own."""
    features = generator.normal(size=(64, len(NAMES)))
    seen = features, np.zeros(64)
    cell = Cell(task, "sgd", "own", 0, 1, 100)
    place = features[:, 3] * 0.7 + offset
    return SimpleNamespace(cell=cell, seen=seen, places={"useful": (place, 0.0)})


def test_a_line_is_found_and_scored_on_tasks_that_it_has_not_seen(seed):
    generator = np.random.default_rng(seed)
    truths = [linear_truth(f"t{number}", 0.5 * (-1) ** number, generator) for number in range(8)]
    fitted = line(truths, "useful")
    assert fitted.weights[3] / fitted.scale[3] == pytest.approx(0.7, abs=0.1) and abs(fitted.offset) < 0.2
    left_out = float(np.std(held_out(truths, "useful")))
    assert left_out == pytest.approx(0.57, rel=0.2) and fitted.spread <= left_out


def test_a_constant_has_not_seen_the_task_that_it_mends():
    """That of all tasks together would be 1 here, and leave 2 and 0."""

    def one(task, error):
        return Score(SimpleNamespace(cell=Cell(task, "sgd", "own", 0, 1, 100)), Answer(0.0, 1.0), error)

    mended = shifted([one("a", 3.0), one("b", 1.0), one("b", 1.0), None])
    assert [score and score.shifted for score in mended] == [2.0, -2.0, -2.0, None]


def test_finders_read_a_curve(truth):
    """Flat, then falling from 1e-3 to 1e-1, then up: every finder answers on the fall, and the blow-up is where it stopped."""
    logs = np.log(finder_steps())
    losses = np.interp(logs, np.log([1e-7, 1e-3, 0.1, 0.3, 10.0]), [1.0, 1.0, 0.1, 0.1, 500.0])
    record = replace(truth.record, finders=losses[None])
    case = Case(Truth(record), None, None, 0)
    for find in (finders.valley, finders.steep, finders.lightning):
        assert math.log(5e-4) < find(case).place < math.log(1.0) and find(case).target == "best"
    assert 0.3 < math.exp(finders.blow_up(case).place) < 10
    flat = Case(Truth(replace(truth.record, finders=np.ones((1, 100)))), None, None, 0)
    assert finders.blow_up(flat) is None


def test_every_predictor_answers_or_says_nothing(truth):
    from stablestep.torch.probe.calibration import row

    case = Case(truth, row("sgd"), None, 0)
    answers = {name: predict(case) for name, predict in TABLE.items()}
    assert answers["transfer"] is None and answers["theorem"] is None and answers["2/λmax"].place == math.log(0.2)
    for name in ("ramp, bracket 1.7", "ramp, bracket 1.2", "coarse sweep", "rollouts"):
        assert abs(answers[name].place - math.log(EDGE)) < 0.7 and answers[name].cost > 100
    # Replayed runs are those recorded, so that the edge cannot be missed by more than their spacing.
    assert answers["ramp, bracket 1.2"].cost >= answers["ramp alone"].cost > 20


def test_a_summary_counts():
    scores = [
        Score(SimpleNamespace(cell=Cell("a", "sgd", "own", 0, 1, 100)), Answer(0.0, 200.0, half=0.3), e)
        for e in (0.1, -0.5)
    ]
    found = summary([*scores, None])
    assert (found["answers"], found["of"], found["covered"], found["too_large"]) == (2, 3, 0.5, 0.5)
    assert found["cost_in_horizons"][0] == 2.0 and found["off"][1] < math.exp(0.5) and found["regret"] is None


def test_members_train_each_with_its_step():
    """Of a real task: one member stands still, the other one learns; a ramp goes from one to the other."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        training = Training(Cell("logistic", "sgd", "own", 3, 2, 100), count=2)
        losses = training.run(np.array([1e-9, 4.0]), seed=0, length=2 * CHUNK)
        grown = training.run(np.array([1e-9, 1e-9]), seed=0, length=2 * CHUNK, rate=math.log(4e9) / CHUNK)
        scale = training.scale()
    assert training.first == pytest.approx(math.log(2), rel=1e-6) and 1 < scale < 1000
    assert losses[0] == pytest.approx(1.0, abs=1e-5) and losses[1][-5:].mean() < 0.8
    assert grown[:, :10] == pytest.approx(1.0, abs=1e-3) and (grown[:, -1] > 10).all()
