"""A worker that dies or is stopped: the others are told in one sentence, in time, and nothing of theirs is lost."""

import os
import signal
from contextlib import suppress

import pytest
import torch
from torch.optim import SGD

import stablestep.torch as sst
from stablestep import compressor as c
from tests.torch.group import patience, together
from tests.torch.models import batch, loss, perceptron, wrapped

SUMMED, GATHERED = (c.RandK(fraction=0.3), "shared"), (c.QSGD(2), "own")


def dies():
    os._exit(9)


def stops():
    """It keeps its connections, so that only the group's own limit of time helps."""
    os.kill(os.getpid(), signal.SIGSTOP)


def the_other_is_told(rank, folder, hook, end):
    model = wrapped(perceptron(torch.float32))
    state = sst.register(model, sst.HookState(hook[0], mask=hook[1]))
    optimizer = sst.StableStep(SGD(model.parameters(), lr=0.1), state, sst.rule.LocalNorms())
    for step in range(3):
        optimizer.zero_grad()
        loss(model, batch(rank, step, torch.float32)).backward()
        optimizer.step()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    if rank == 1:
        (folder / "pid").write_text(str(os.getpid()))
        end()
    patience(3)
    with pytest.raises(RuntimeError, match="a worker is gone or the network is down") as caught:
        loss(model, batch(rank, 3, torch.float32)).backward()
    assert "restart all workers from the last checkpoint" in str(caught.value)
    assert all(map(torch.equal, before, model.parameters())) and state.state_dict()["exchanges"] == 3
    with suppress(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)


def one_dies_in_a_gathering(rank, workers, folder):
    the_other_is_told(rank, folder, GATHERED, dies)


def one_stops_in_a_sum(rank, workers, folder):
    the_other_is_told(rank, folder, SUMMED, stops)


def one_stops_in_a_gathering(rank, workers, folder):
    the_other_is_told(rank, folder, GATHERED, stops)


@pytest.mark.parametrize("check", [one_dies_in_a_gathering, one_stops_in_a_sum, one_stops_in_a_gathering])
def test_the_other_worker_is_told(check):
    together(2, check)
