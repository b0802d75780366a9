"""The hostile runs: faults do what they say, and a run is the same run again."""

import math

import pytest
import torch

from benchmarks.hostile.designs import DESIGNS
from benchmarks.hostile.faults import FAULTS, HEALTHY, Fault
from benchmarks.hostile.optimizers import OPTIMIZERS
from benchmarks.hostile.run import ending, train
from benchmarks.hostile.trainings import TRAININGS
from stablestep.torch import rule

GRADIENTS = torch.ones(4, 10)


def test_faults_act_in_their_steps_only():
    worker = Fault("worker", worker=-1.0)
    assert torch.equal(worker.gradients(GRADIENTS, 99, 1.0, 0), GRADIENTS)
    assert worker.gradients(GRADIENTS, 100, 1.0, 0)[:, 0].tolist() == [-1, 1, 1, 1]
    x, y = torch.ones(4, 2, 3), torch.arange(8).view(4, 2)
    spiked, moved = Fault("spike", spike=True).data(x, y, 102)
    assert torch.equal(spiked, 20 * x) and not torch.equal(moved, y)
    assert Fault("spike", spike=True).data(x, y, 105)[0] is x


def test_every_training_has_a_loss_and_is_repeated():
    for name, one in TRAININGS.items():
        x, y = one.data()
        model = one.make()
        assert math.isfinite(float(one.loss(model(x[:8]), y[:8]).detach())), name
    runs = [train("power law", OPTIMIZERS["SGD-m"], 0.01, rule.Constant(), 19.0, HEALTHY, 1) for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_governor_survives_what_nothing_does_not(optimizer):
    (hot,) = (fault for fault in FAULTS if fault.hot == 30)
    lr = 0.3 if optimizer == "SGD-m" else 0.1
    alone, _ = train("digits", OPTIMIZERS[optimizer], lr, rule.Constant(), 0.0, hot, 0)
    governed, _ = train("digits", OPTIMIZERS[optimizer], lr, rule.Governor(), 0.0, hot, 0)
    assert not ending(alone) < alone[0], "the run is not hostile"
    assert ending(governed) < 0.5 * governed[0]


def test_designs_can_be_made():
    for name, design in DESIGNS.items():
        assert isinstance(design.rule(1.0), rule.Rule), name
