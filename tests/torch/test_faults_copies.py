"""Copies of what is hooked: deepcopy, AveragedModel, torch.save and pickle of models, states, optimizers and rules."""

import copy
import io
import pickle

import pytest
import torch
from torch.optim import SGD, AdamW, swa_utils

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch.wire.registry import codec
from tests.torch.group import together
from tests.torch.models import batch, loss, perceptron, wrapped
from tests.torch.test_codecs import ALL
from tests.torch.test_step_rules import RULES


def saved(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


WAYS = {"deepcopy": copy.deepcopy, "torch.save": saved, "pickle": pickled}
HOOKS = [(c.RandK(fraction=0.5), "shared"), (c.QSGD(2), "own"), (c.Sign(), "own"), (c.TopK(k=1), "own")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ALL)
def test_every_codec_can_be_copied(name, way):
    made, again = codec(ALL[name]), WAYS[way](codec(ALL[name]))
    gradient, uniform = torch.linspace(-1, 2, 40), torch.linspace(0, 0.99, 40)
    sent = [one.encode(gradient, one.plan(lambda count: uniform[:count], 40)) for one in (made, again)]
    assert torch.equal(*sent)


@pytest.mark.parametrize("way", WAYS)
def test_a_state_alone(way):
    state = sst.HookState(
        c.QSGD(3), mask="own", seed=7, min_numel=5, group_bytes=99, scaler=torch.amp.GradScaler("cpu")
    )
    again = WAYS[way](state)
    for name in ("seed", "shared", "min_numel", "group_bytes"):
        assert getattr(again.settings, name) == getattr(state.settings, name)
    assert again.scaler is None and again.state_dict() == state.state_dict()


@pytest.mark.parametrize("name", [name for name in RULES if name != "loss-model"])
@pytest.mark.parametrize("way", WAYS)
def test_an_optimizer_alone(name, way):
    x = torch.ones(3, requires_grad=True)
    again = WAYS[way](
        sst.StableStep(AdamW([x], lr=0.3), sst.HookState(c.Sign()), RULES[name](), max_consecutive_skips=7)
    )
    assert type(again.rule) is type(RULES[name]()) and again.max_consecutive_skips == 7
    assert again.param_groups[0]["lr"] == 0.3 and torch.equal(again.param_groups[0]["params"][0], x)


def copies_are_whole(rank, workers, folder):
    """In the middle of a training, for both ways to register; the copy has the values, and trains on when it is registered."""
    for compressor, mask in HOOKS:
        for way in (copy.deepcopy, saved):
            state = sst.HookState(compressor, mask=mask)
            model = wrapped(perceptron())
            model.register_comm_hook(state, sst.hook) if mask == "own" else sst.register(model, state)
            loss(model, batch(rank, 0)).backward()
            optimizer = sst.StableStep(SGD(model.parameters(), lr=0.1), state, sst.rule.LocalNorms())
            again, average = way(model), swa_utils.AveragedModel(model)
            average.update_parameters(model)
            for twin in (again, average):
                assert all(torch.equal(*pair) for pair in zip(model.parameters(), twin.parameters()))
            fresh = sst.HookState(compressor, mask=mask)
            fresh.load_state_dict(state.state_dict())
            sst.register(again, fresh)
            for each in (model, again):
                each.zero_grad()
                loss(each, batch(rank, 1)).backward()
            assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), again.parameters()))
            assert (
                fresh.telemetry() == state.telemetry()
                and copy.deepcopy(optimizer).hook_state.telemetry()["exchanges"] == 2
            )


def a_copy_that_nobody_registered_says_so(rank, workers, folder):
    model = wrapped(perceptron())
    state = sst.register(model, sst.HookState(c.Sign()))
    twin, optimizer = copy.deepcopy(
        (model, sst.StableStep(SGD(model.parameters(), lr=0.1), state, sst.rule.Constant()))
    )
    loss(twin, batch(rank, 0)).backward()
    with pytest.raises(InvalidInput, match="register the hook on the DDP model"):
        optimizer.step()
    ((_, kept),) = twin._comm_hooks
    sst.register(twin, kept)
    loss(twin, batch(rank, 1)).backward()
    optimizer.step()
    with pytest.raises(InvalidInput, match="has a communication hook already"):
        sst.register(twin, sst.HookState(c.Sign()))


def test_two_workers():
    together(2, copies_are_whole, a_copy_that_nobody_registered_says_so)
