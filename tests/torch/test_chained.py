"""Several optimizers as one: what a training, its schedules and its checkpoints rely on."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.optim import LBFGS, SGD, AdamW, Muon
from torch.optim.lr_scheduler import StepLR

import stablestep.compressor as C
import stablestep.torch as sst
from stablestep.errors import InvalidInput
from tests.torch.group import together
from tests.torch.models import arrived


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
        ((sst.ChainedOptimizer(muon), adamw), "give all optimizers to one"),
        (
            (sst.StableStep(muon, sst.HookState(C.Identity()), sst.rule.Constant()), adamw),
            "make StableStep of the chain",
        ),
    ):
        with pytest.raises(InvalidInput, match=words):
            sst.ChainedOptimizer(*wrong)
    with pytest.raises(InvalidInput, match="chain them again"):
        sst.ChainedOptimizer(muon, adamw).add_param_group({"params": [nn.Parameter(torch.zeros(1))]})


@pytest.mark.parametrize("copied", [False, True])
def test_members_are_saved_and_loaded_with_the_chain(copied):
    net = model()
    muon, adamw = parts(net)
    alone = muon.state_dict()
    chain = sst.ChainedOptimizer(muon, adamw)
    train(net, 1, chain)
    if copied:
        net, chain = copy.deepcopy((net, chain))
    with pytest.raises(InvalidInput, match=r"Muon is in a ChainedOptimizer.*save and load the chain"):
        chain.optimizers[0].state_dict()
    with pytest.raises(InvalidInput, match="save and load the chain"):
        chain.optimizers[0].load_state_dict(alone)
    assert chain.optimizers[0].state is chain.state


def test_a_chain_whose_members_went_elsewhere_says_so():
    net = model()
    muon, adamw = parts(net)
    first = sst.ChainedOptimizer(muon, adamw)
    again = sst.ChainedOptimizer(muon, adamw)
    train(net, 1, again)
    for use in (first.step, first.state_dict):
        with pytest.raises(InvalidInput, match="chain them again"):
            use()
    adamw.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
    with pytest.raises(InvalidInput, match="chain them again"):
        again.state_dict()
    assert len(sst.ChainedOptimizer(muon, adamw).state_dict()["param_groups"]) == 3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (None, "state_dict is None"),
        ({}, "lacks param_groups"),
        ({"param_groups": [{}]}, "lacks state"),
        ({"param_groups": [], "state": {}}, "must hold the groups"),
        ({"param_groups": [{}], "state": {}}, "must hold the groups"),
    ],
)
def test_a_state_that_is_none_is_refused(wrong, words):
    chain = sst.ChainedOptimizer(*parts(model()))
    stable = sst.StableStep(SGD(model().parameters(), lr=1.0), sst.HookState(C.Identity()), sst.rule.Constant())
    for optimizer in (chain, stable):
        with pytest.raises(InvalidInput, match=words):
            optimizer.load_state_dict(wrong)


@pytest.mark.parametrize("copied", [False, True])
def test_a_member_does_not_step_past_the_rule(copied):
    net = model()
    stable = sst.StableStep(sst.ChainedOptimizer(*parts(net)), sst.HookState(C.Identity()), sst.rule.Constant())
    if copied:
        net, stable = copy.deepcopy((net, stable))
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    for member in stable.inner.optimizers:
        with pytest.raises(InvalidInput, match="inside StableStep was called"):
            member.step()
    arrived(stable.hook_state, 1.0)
    before = [p.detach().clone() for p in net.parameters()]
    stable.step()
    assert not any(map(torch.equal, before, net.parameters()))


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
    with pytest.raises(InvalidInput, match="state is on other workers"):
        sst.ChainedOptimizer(ZeroRedundancyOptimizer(net.parameters(), SGD, lr=0.1))


def test_local_steps_and_the_hook_take_a_chain():
    together(2, local_and_hooked)
