"""Bytes to a target: the protocol and its statistics on invented curves, the rule for bytes, and a few steps of every entrant."""

import json
import math
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

if find_spec("torch") is None or find_spec("sklearn") is None:
    pytest.skip("PyTorch or scikit-learn is not installed", allow_module_level=True)

import torch
import torch.distributed as dist
from typer.testing import CliRunner

import stablestep.compressor as C
import stablestep.torch as sst
from benchmarks.frontier import bench, command, dense, optimizers, ours, protocol, score, store, table
from benchmarks.frontier.entrant import Run
from benchmarks.frontier.entrants import ENTRANTS
from benchmarks.frontier.ledger import RULES, Ledger, cost
from benchmarks.frontier.pool import Failed, Pool
from benchmarks.frontier.protocol import Found, best, hopeless, tune
from benchmarks.frontier.tasks import TASKS, task
from benchmarks.frontier.train import Cell, require_one_model, shape, train
from tests.statistics import assert_fails, assert_fraction
from tests.torch.group import together


def curve(final, steps=480, each=1000):
    """A loss that falls to `final` in a straight line, looked at every eighth step."""
    return [(step, final + 2.0 * (steps - step) / steps, each * step) for step in range(8, steps + 1, 8)]


def found(finals, **named):
    return Found({0.5: 3.0, 1.0: 2.0, 2.0: 4.0}, [curve(final, **named) for final in finals])


REFERENCES = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02, 0.98])


@pytest.mark.parametrize("optimum", [0.003, 0.3, 1.0, 4.0, 30.0])
def test_the_best_rate_is_inside_of_what_was_tried(optimum):
    found = tune(1.0, lambda rate: abs(math.log(rate / optimum)))
    assert min(found) < best(found) < max(found) or len(found) == protocol.TRIALS + protocol.WIDEST
    assert len(found) >= protocol.TRIALS
    assert np.allclose(np.diff(np.log2(list(found))), 1)


def test_everybody_has_the_same_trials_whose_grid_is_well_placed():
    assert len(tune(1.0, lambda rate: abs(math.log(rate / 1.4)))) == protocol.TRIALS


def test_rates_that_diverge_are_left_towards_smaller_ones():
    found = tune(1.0, lambda rate: math.inf if rate > 0.1 else abs(rate - 0.05))
    assert best(found) == 0.0625 and min(found) == 0.03125


def test_the_test_is_a_paired_one_against_one_per_cent_more():
    finals = REFERENCES * 1.005
    differences = finals - 1.01 * REFERENCES
    t = differences.mean() / (differences.std(ddof=1) / math.sqrt(8))
    assert t < -1.895  # the 5 % quantile of Student's t with 7 degrees of freedom
    assert score.test(finals, REFERENCES) < 0.05
    assert score.test(REFERENCES * 1.0101, REFERENCES) > 0.05
    assert score.test([*finals[:-1], math.inf], REFERENCES) == 1


def test_how_often_a_loss_on_the_edge_is_called_met(seed):
    rng = np.random.default_rng(seed)
    finals = 1.01 * REFERENCES + 0.01 * rng.standard_normal((2000, 8))
    met = sum(score.test(each, REFERENCES) < score.LEVEL for each in finals)
    assert_fraction(met, len(finals), 0.05)
    with assert_fails():
        assert_fraction(met, len(finals), 0.1)


@pytest.mark.parametrize(
    ("factor", "noise", "verdict"), [(1.0, 0.001, "met"), (1.005, 0.05, "mean met"), (1.02, 0.001, "missed")]
)
def test_verdicts(factor, noise, verdict):
    finals = REFERENCES * factor + noise * np.array([1, -1, 1, -1, 1, -1, 1, -1])
    one = score.score("digits", "fp16", 480, found(finals, steps=576, each=100), found(REFERENCES))
    assert one.verdict == verdict
    assert one.gap == pytest.approx(factor - 1)
    assert (one.steps is None) == (verdict == "missed")


def test_bytes_and_steps_of_a_crossing():
    one = score.score("digits", "fp16", 480, found(REFERENCES * 0.9, steps=576, each=10), found(REFERENCES))
    mean, target = 0.9 * REFERENCES.mean(), 1.01 * REFERENCES.mean()
    steps = 8 * math.ceil(576 * (1 - (target - mean) / 2) / 8)
    own = 8 * math.ceil(480 * (1 - 0.01 * REFERENCES.mean() / 2) / 8)
    assert one.steps == steps and one.sent == 10 * steps and one.stretch == steps / 480
    assert one.fewer == pytest.approx(480 * 1000 / (10 * steps))
    assert one.fewer_crossing == pytest.approx(own * 1000 / (10 * steps))
    assert one.stretch_crossing == pytest.approx(steps / own)
    assert one.stretch_crossing >= one.stretch


def test_the_profile_has_the_least_bytes_at_one_and_no_place_for_who_missed():
    cheap, dear = (found(REFERENCES * 0.9, each=each) for each in (10, 40))
    missed = found(REFERENCES * 1.2, each=1)
    rows = [
        score.score("digits", name, 480, each, found(REFERENCES)) for name, each in zip("abc", (cheap, dear, missed))
    ]
    assert score.profile(rows, "abc") == {"a": [1.0], "b": [4.0], "c": [math.inf]}


def test_who_is_far_off_after_three_seeds_saves_the_others():
    seen = []

    def run(cell, entrant):
        seen.append(cell)
        return {"curve": curve(1.2)}

    reference = found(REFERENCES)
    off = protocol.measure(task("digits"), ENTRANTS["fp16"], protocol.FULL, run, reference)
    assert len(off.curves) == 3 and hopeless(off.curves, reference.curves)
    assert {(cell.seed, cell.split) for cell in seen} == {
        (100, "tuning"),
        (1, "scoring"),
        (2, "scoring"),
        (3, "scoring"),
    }
    near = protocol.measure(
        task("digits"), ENTRANTS["fp16"], protocol.FULL, lambda *_: {"curve": curve(1.04)}, reference
    )
    assert len(near.curves) == 8


@pytest.mark.parametrize(
    ("name", "sent"), [("allreduce", 60), ("reduce_scatter_single", 30), ("allgather", 120), ("alltoall_base", 30)]
)
def test_bytes_of_a_collective(name, sent):
    tensor = torch.zeros(10)
    arguments = ([tensor],) if RULES[name][0] == 0 else ([], tensor)
    assert cost(name, 4, arguments) == sent


def test_collectives_without_a_rule_are_refused():
    with pytest.raises(NotImplementedError, match="gather"):
        cost("gather", 4, ())


def dense_bytes(rank, workers, folder):
    ledger = Ledger().watch()
    found = train(task("digits"), ENTRANTS["adamw"], Cell("digits", "adamw", 0.01, 1, 3, "tuning"), ledger)
    parameters = sum(parameter.numel() for parameter in task("digits").start(0).parameters())
    assert found["curve"][-1][2] == ledger.sent == 3 * 4 * parameters * 2 * (workers - 1) / workers


def own_bytes(rank, workers, folder):
    ledger = Ledger().watch()
    sparse = C.TopK(fraction=0.01)
    for compressor in (
        C.RandK(fraction=0.05),
        C.Sign(),
        C.ErrorFeedback(sparse),
        C.Momentum(C.EF21(sparse), beta=0.9),
        C.LowRank(2),
    ):
        model, ledger.sent = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(100, 10)), 0.0
        state = sst.register(model, sst.HookState(compressor))
        with ledger.counting():
            model(torch.randn(4, 100)).square().sum().backward()
        assert ledger.sent == state.telemetry()["bytes_sent"] > 0


def local_bytes(rank, workers, folder):
    ledger = Ledger().watch()
    for exchange in ("two-shot", "all-gather"):
        model = torch.nn.Sequential(torch.nn.Linear(100, 64), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 10))
        steps = sst.LocalSteps(model, torch.optim.SGD(model.parameters(), lr=0.1), every=2, exchange=exchange)
        ledger.sent = 0.0
        with ledger.counting():
            for _ in range(6):
                model(torch.randn(4, 100)).square().sum().backward()
                steps.step()
        assert ledger.sent > 0 and steps.telemetry()["bytes_total"] == pytest.approx(ledger.sent, rel=0.02), exchange


def drifting(rank, workers, folder):
    model = torch.nn.Linear(3, 3)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.fill_(2.0)
    require_one_model(model)
    with torch.no_grad():
        model.bias[0] += 1e-6 * rank
    with pytest.raises(RuntimeError, match="different models"):
        require_one_model(model)


def test_bytes_are_those_of_a_dense_exchange_and_of_the_telemetry_and_drift_is_found():
    together(2, dense_bytes, own_bytes, local_bytes, drifting)
    together(3, local_bytes)


def test_every_entrant_trains_and_gives_its_workers_one_model():
    with Pool(workers=2) as pool:
        for entrant in ENTRANTS.values():
            cell = Cell("digits", entrant.name, entrant.lr, 1, 33, "tuning")
            step, loss, sent = pool.run(cell)["curve"][-1]
            assert step == 33 and math.isfinite(loss) and sent > 0, entrant.name


def test_a_failure_in_a_worker_is_told_and_the_next_cell_runs():
    with Pool(workers=2) as pool:
        with pytest.raises(Failed, match="KeyError"):
            pool.run(Cell("digits", "nobody", 0.1, 1, 2, "tuning"))
        assert pool.run(Cell("digits", "fp16", 0.1, 1, 2, "tuning"))["curve"]


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_learnt_from_other_examples_than_they_are_tested_on(name):
    one = task(name)
    inputs, _ = next(one.batches(0, 1))
    assert not torch.equal(inputs, next(one.batches(1, 1))[0])
    assert torch.equal(inputs, next(one.batches(0, 1))[0])
    tuning, scoring = ({row.numpy().tobytes() for row in one.held_out[name][0]} for name in ("tuning", "scoring"))
    assert len(tuning & scoring) < 0.1 * len(scoring)  # names of which only the ends differ, lines that many files have


def test_the_store_goes_on_after_an_interruption(tmp_path):
    path = tmp_path / "runs.jsonl"
    first = store.Store(path)
    first.put({"a": 1}, {"x": 1})
    with path.open("a") as file:
        file.write('{"key": {"a": 2}, "fou')
    again = store.Store(path)
    assert again.get({"a": 1}) == {"x": 1} and again.get({"a": 2}) is None
    again.put({"a": 2}, {"x": 2})
    assert store.Store(path).get({"a": 2}) == {"x": 2}


def test_a_result_belongs_to_the_code_that_made_it():
    cell = Cell("digits", "a", 0.1, 1, 10, "scoring")
    keys = [store.key(cell, ENTRANTS[name], 4)["code"] for name in ("adamw", "momentum", "ef-topk-1-m", "ef-topk-01-m")]
    assert len(set(keys)) == 4
    assert keys[0] == store.key(cell, ENTRANTS["adamw-longer"], 4)["code"]
    build = partial(ours.hooked, compressor=C.Sign(), make=optimizers.plain)
    assert store.told(build) == store.told(partial(ours.hooked, compressor=C.Sign(), make=optimizers.plain))


def test_the_schedule():
    rates = [shape(step, 200) for step in range(200)]
    assert np.argmax(rates) in (9, 10) and rates[-1] == pytest.approx(0.02)
    assert np.all(np.diff(rates[:10]) > 0) and np.all(np.diff(rates[10:]) < 0)


def test_the_command_writes_a_record(monkeypatch, tmp_path):
    def run(self, cell, entrant):
        size = {"adamw": 1000, "fp16": 500}.get(entrant.name, 20)
        return {"curve": curve(REFERENCES[cell.seed % 8] * (1.3 if entrant.name == "muon" else 0.99), cell.steps, size)}

    monkeypatch.setattr(bench.Bench, "_run", run)
    only = ["--only", "fp16", "--only", "digits", "--only", "muon", "--only", "demo"]
    result = CliRunner().invoke(command.app, ["--store", str(tmp_path / "runs.jsonl"), *only])
    assert result.exit_code == 0, result.output
    assert "| torch's fp16 hook, AdamW | " in result.output and "missed: +3" in result.output
    record = json.loads((tmp_path / "frontier.json").read_text())
    assert [row["entrant"] for row in record["rows"]] == ["adamw", "muon", "fp16", "demo"]
    assert record["command"] == "python -m benchmarks.frontier " + " ".join(only)
    assert (tmp_path / "frontier.csv").read_text().count("\n") == 5
    assert (tmp_path / "frontier.png").stat().st_size > 10_000


def test_an_unknown_name_is_refused():
    result = CliRunner().invoke(command.app, ["--only", "zip"])
    assert result.exit_code == 2 and "zip is none of" in result.output.replace("\n", " ").replace("│", "").replace(
        "  ", " "
    )


def test_a_row_of_the_markdown_table():
    rows = [score.score("digits", "fp16", 480, found(REFERENCES * 0.9, each=10), found(REFERENCES))]
    assert table.markdown(["digits"], rows).splitlines()[-1] == f"| {ENTRANTS['fp16'].title} | {table.brief(rows[0])} |"
    lost = score.score("digits", "fp16", 480, found([np.inf, *REFERENCES[1:]]), found(REFERENCES))
    assert table.brief(lost).startswith("missed: a seed diverged (")
    assert dense.REFERENCE in ENTRANTS and Run(0.1, 0, 1).steps == 1 and dist.is_available()
