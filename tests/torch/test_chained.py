"""Several optimizers as one: what a training, its schedules and its checkpoints rely on."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, AdamW, Muon
from torch.optim.lr_scheduler import StepLR

import stablestep.compressor as C
import stablestep.torch as sst
from stablestep.errors import InvalidInput
from tests.torch.group import together


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


def parts(net):
    matrices, vectors = ([p for p in net.parameters() if p.ndim == n] for n in (2, 1))
    return Muon(matrices, lr=0.02, weight_decay=0.0), AdamW(vectors, lr=0.01)


def train(net, steps, *optimizers, start=0):
    for k in range(start, start + steps):
        for one in optimizers:
            one.zero_grad()
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(k))
        (net(x) ** 2).mean().backward()
        for one in optimizers:
            one.step()
    return [p.detach().clone() for p in net.parameters()]


def test_a_chain_steps_as_its_optimizers_do():
    one, other = model(), model()
    apart, chained = train(one, 5, *parts(one)), train(other, 5, sst.ChainedOptimizer(*parts(other)))
    assert all(map(torch.equal, apart, chained))


def test_state_that_is_there_already_is_kept():
    one, other = model(), model()
    optimizers = parts(one)
    train(one, 3, *optimizers)
    train(other, 3, *(others := parts(other)))
    found = train(one, 3, sst.ChainedOptimizer(*optimizers), start=3)
    assert all(map(torch.equal, found, train(other, 3, *others, start=3)))


def test_a_schedule_reaches_every_optimizer_also_after_loading():
    net = model()
    optimizers = parts(net)
    chain = sst.ChainedOptimizer(*optimizers)
    chain.load_state_dict(chain.state_dict())
    StepLR(chain, 1, gamma=0.5)
    train(net, 1, chain)
    for group in chain.param_groups:
        group["lr"] = 0.125
    assert [group["lr"] for one in optimizers for group in one.param_groups] == [0.125, 0.125]
    assert all(one.state is chain.state for one in optimizers)


@pytest.mark.parametrize("way", ["state_dict", "saved", "copied"])
def test_what_is_resumed_goes_on_bit_for_bit(way):
    straight = model()
    expected = train(straight, 6, sst.ChainedOptimizer(*parts(straight)))
    net = model()
    chain = sst.ChainedOptimizer(*parts(net))
    train(net, 3, chain)
    if way == "copied":
        net, chain = copy.deepcopy((net, chain))
    elif way == "saved":
        file = io.BytesIO()
        torch.save((net, chain), file)
        file.seek(0)
        net, chain = torch.load(file, weights_only=False)
    else:
        weights, kept = copy.deepcopy((net.state_dict(), chain.state_dict()))
        net = model()
        net.load_state_dict(weights)
        chain = sst.ChainedOptimizer(*parts(net))
        chain.load_state_dict(kept)
    assert all(map(torch.equal, train(net, 3, chain, start=3), expected))


def test_a_closure_is_evaluated_once():
    net, calls = model(), []
    chain = sst.ChainedOptimizer(*parts(net))

    def closure():
        calls.append(1)
        loss = (net(torch.ones(1, 4)) ** 2).mean()
        loss.backward()
        return loss

    assert chain.step(closure).requires_grad and len(calls) == 1


def test_what_cannot_be_chained():
    net = model()
    muon, adamw = parts(net)
    for wrong, words in (
        ((), "empty"),
        ((muon, 3), "holds a int"),
        ((muon, SGD(net.parameters(), lr=1.0)), "2 parameters are in more than one"),
        ((LBFGS(net.parameters()),), "LBFGS"),
    ):
        with pytest.raises(InvalidInput, match=words):
            sst.ChainedOptimizer(*wrong)
    with pytest.raises(InvalidInput, match="chain them again"):
        sst.ChainedOptimizer(muon, adamw).add_param_group({"params": [nn.Parameter(torch.zeros(1))]})


def local_and_hooked(rank, workers, folder):
    net = model()
    local = sst.LocalSteps(net, sst.ChainedOptimizer(*parts(net)), every=2, compressor=C.ErrorFeedback(C.Blockwise()))
    before = [p.detach().clone() for p in net.parameters()]
    for k in range(4):
        local.optimizer.zero_grad()
        (net(torch.randn(8, 4, generator=torch.Generator().manual_seed(8 * k + rank))) ** 2).mean().backward()
        local.step()
    assert not any(map(torch.equal, before, net.parameters()))
    ddp = nn.parallel.DistributedDataParallel(model())
    state = sst.register(ddp, sst.HookState(C.ErrorFeedback(C.TopK(fraction=0.5))))
    stable = sst.StableStep(sst.ChainedOptimizer(*parts(ddp.module)), state, sst.rule.Governor())
    train(ddp, 4, stable)
    restored = sst.StableStep(sst.ChainedOptimizer(*parts(ddp.module)), state, sst.rule.Governor())
    restored.load_state_dict(stable.state_dict())
    assert len(restored.state) == 4


def test_local_steps_and_the_hook_take_a_chain():
    together(2, local_and_hooked)
