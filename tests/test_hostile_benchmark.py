"""The hostile runs: faults do what they say, and a run is the same run again."""

import json
import math

import pytest
import torch

from benchmarks.hostile import real
from benchmarks.hostile.cells import ALL_FAULTS, Cell, Runs
from benchmarks.hostile.designs import DESIGNS
from benchmarks.hostile.faults import FAULTS, HEALTHY, Fault
from benchmarks.hostile.figure import draw
from benchmarks.hostile.messages import mean_message
from benchmarks.hostile.optimizers import OPTIMIZERS
from benchmarks.hostile.page import markdown
from benchmarks.hostile.record import recorded, write
from benchmarks.hostile.run import Task, ending, train
from benchmarks.hostile.score import by, scored
from benchmarks.hostile.trainings import TRAININGS
from benchmarks.hostile.tune import tuned
from stablestep.torch import rule
from tests.torch.group import together

GRADIENTS = torch.ones(4, 10)


def test_faults_act_in_their_steps_only():
    worker = Fault("worker", worker=-1.0)
    assert torch.equal(worker.gradients(GRADIENTS, 99, 1.0, 0), GRADIENTS)
    assert worker.gradients(GRADIENTS, 100, 1.0, 0)[:, 0].tolist() == [-1, 1, 1, 1]
    x, y = torch.ones(4, 2, 3), torch.arange(8).view(4, 2)
    spiked, moved = Fault("spike", spike=True).data(x, y, 102)
    assert torch.equal(spiked, 20 * x) and not torch.equal(moved, y)
    assert Fault("spike", spike=True).data(x, y, 105)[0] is x


def task(name="power law", optimizer="SGD-m", lr=0.01, omega=0.0, fault=HEALTHY, seed=1):
    return Task.of(name, OPTIMIZERS[optimizer], lr, omega, fault, seed)


def test_every_training_has_a_loss_and_is_repeated():
    for name, one in TRAININGS.items():
        x, y = one.data()
        model = one.make()
        assert math.isfinite(float(one.loss(model(x[:8]), y[:8]).detach())), name
    runs = [train(task(omega=19.0), rule.Constant(), 30) for _ in range(2)]
    assert runs[0] == runs[1]


def test_masks_are_those_of_the_codec():
    """Of every parameter, own ones, unbiased: the mean over many steps is the mean gradient."""
    gradients, sizes = torch.randn(4, 60, generator=torch.Generator().manual_seed(2)), (40, 20)
    means = torch.stack([mean_message(gradients, sizes, 3.0, 0, step) for step in range(4000)])
    error = (means.mean(0) - gradients.mean(0)).norm() ** 2
    assert error < 2 * 3.0 * gradients.square().sum() / 16 / 4000, "E‖mean − g‖² = ω Σ‖g_i‖²/(N² steps)"
    assert int((mean_message(gradients[:1], sizes, 3.0, 0, 0) != 0).sum()) == 15
    assert torch.equal(mean_message(gradients, sizes, 0.0, 0, 0), gradients.mean(0))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_governor_survives_what_nothing_does_not(optimizer):
    (hot,) = (fault for fault in FAULTS if fault.hot == 30)
    lr = 0.3 if optimizer == "SGD-m" else 0.1
    alone, _ = train(task("digits", optimizer, lr, fault=hot), rule.Constant())
    governed, _ = train(task("digits", optimizer, lr, fault=hot), rule.Governor())
    assert not ending(alone) < alone[0], "the run is not hostile"
    assert ending(governed) < 0.5 * governed[0]


def test_a_probe_is_asked_where_it_is_too_hot():
    (hot,) = (fault for fault in FAULTS if fault.hot == 30)
    one = task("digits", "SGD-m", 0.1, fault=hot)
    losses, _ = train(one, DESIGNS["Governor, quick probe"].rule(one, 1.0), 60)
    assert one.spent > 0 and losses[-1] < losses[0]


def test_designs_can_be_made():
    for name, design in DESIGNS.items():
        assert isinstance(design.rule(task(), 1.0), rule.Rule), name


def test_the_best_rate_is_never_at_the_edge(tmp_path, monkeypatch):
    """A parabola in log lr far from the first rates, with its bottom between two of the coarse ones."""
    bottom = 2.0**7.5
    monkeypatch.setattr(Runs, "fill", lambda self, cells, what: [self.put(cell, fake(cell)) for cell in cells])

    def fake(cell):
        return {"first": 1.0, "last": math.log(cell.lr / bottom) ** 2, "norm": cell.lr}

    case = ("digits", "AdamW", 0.0)
    rate, norm = tuned(Runs(tmp_path / "runs.jsonl"), [case])[case]
    assert rate == norm == pytest.approx(bottom, rel=1e-5)


def put(runs, last, **changes):
    cell = Cell(
        **{
            **dict(training="bytes", optimizer="AdamW", omega=0.0, design="nothing", fault="healthy", seed=0, lr=0.1),
            **changes,
        }
    )
    runs.put(cell, {"first": 2.0, "last": last, "norm": 1.0, "spent": 0, "paid": last})
    return cell


def test_shares_are_held_against_the_tuned_run(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    lasts = {"nothing": 1.0, "Governor": 1.02, "LocalNorms": 2.5, "Prodigy": math.inf}
    cells = [put(runs, last, design=design) for design, last in lasts.items()]
    cells = [put(runs, lasts[cell.design], design=cell.design, fault=fault) for fault in ALL_FAULTS for cell in cells]
    again = Runs(tmp_path / "runs.jsonl")
    assert again.missing(cells) == []
    table = by(scored(cells, again), "design")
    assert [table[name]["diverged"] for name in lasts] == [0, 0, len(FAULTS), len(FAULTS)]
    assert table["Governor"]["healthy"]["mean"] == pytest.approx(2.0) and table["Governor"]["hot"]["3"] == 100
    assert table["LocalNorms"]["hot"]["10"] == 0 and table["LocalNorms"]["median"]["hot 3"] == pytest.approx(-0.5)


def test_the_page_says_what_was_found(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl")
    cells = [
        put(runs, 1.0, design=design, fault=fault, training=training, optimizer=optimizer)
        for design in ("nothing", "Governor")
        for training in ("bytes", "conv", "digits")
        for optimizer in OPTIMIZERS
        for fault in ALL_FAULTS
    ]
    found = recorded(cells, 500, runs, None)
    text = markdown(found)
    assert f"{len(cells)} of 500 runs" in text and "| Governor | 0 of 54 | 100 / 100 / 100 |" in text
    assert {held for _, _, held in found["goals"]} == {"yes"}
    draw(found["shares"], tmp_path / "hostile.png")
    write(found, tmp_path / "hostile.json")
    assert json.loads((tmp_path / "hostile.json").read_text())["runs"] == len(cells)
    assert (tmp_path / "hostile.png").stat().st_size > 0
    assert "0 of 500 runs" in markdown(recorded([], 500, runs, None)), "also before anything was run"


def alike(rank, workers, folder):
    """The real hook under DDP makes the trajectory that one process makes."""
    faults = {fault.name: fault for fault in FAULTS}
    cases = [("SGD-m", 0.1, 19.0, "worker × 10⁴"), ("AdamW", 0.01, 0.0, "hot 30"), ("Muon", 0.01, 19.0, "worker NaN")]
    for optimizer, lr, omega, fault in cases:
        one, other = (task("digits", optimizer, lr, omega, faults[fault]) for _ in range(2))
        real_losses, real_norm = real.train(one, rule.Governor(), 107)
        losses, norm = train(other, rule.Governor(), 107)
        assert real_losses == pytest.approx(losses, rel=1e-3), (optimizer, fault)
        assert real_losses[:10] == pytest.approx(losses[:10], rel=1e-5), (optimizer, fault)
        assert real_norm == pytest.approx(norm, rel=1e-3)


def test_real_processes_train_alike():
    together(4, alike)
