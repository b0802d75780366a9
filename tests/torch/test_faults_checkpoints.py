"""Every way to save an optimizer: torch.distributed.checkpoint, hooks of state_dict, ZeroRedundancyOptimizer; and another rule's state."""

import io

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.optim import SGD, Adam, AdamW, lr_scheduler

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch import rule
from tests.torch.group import together
from tests.torch.models import arrived, batch, loss, perceptron, wrapped

MAKERS = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adamw": lambda p: AdamW(p, lr=0.01),
}


class Run:
    """A training with a rule that remembers."""

    def __init__(self, make):
        self.model = wrapped(perceptron(torch.float32))
        self.state = sst.register(self.model, sst.HookState(c.RandK(fraction=0.3), mask="own"))
        first, *others = self.model.parameters()
        groups = [{"params": [first], "lr": 0.02}, {"params": others}]
        chosen = rule.LossModel(lambda: (first**2).sum(), every=2)
        self.optimizer = sst.StableStep(make(groups), self.state, chosen)
        self.schedule = lr_scheduler.LinearLR(self.optimizer, 0.5, total_iters=6)

    def train(self, rank, steps):
        for step in steps:
            self.optimizer.zero_grad()
            loss(self.model, batch(rank, step, torch.float32)).backward()
            self.optimizer.step()
            self.schedule.step()
        return torch.cat([parameter.detach().flatten() for parameter in self.model.parameters()])


OPTIONS = {
    "plain": StateDictOptions(),
    "flat": StateDictOptions(flatten_optimizer_state_dict=True),
    "full": StateDictOptions(full_state_dict=True),
}


def checkpoints_are_whole(rank, workers, folder):
    for name, make in MAKERS.items():
        whole = Run(make).train(rank, range(6))
        for kind, options in OPTIONS.items():
            if kind != "plain" and name == "sgd":
                continue  # torch wants an optimizer with tensors in its state here
            before = Run(make)
            before.train(rank, range(3))
            before.optimizer.zero_grad()
            model, optimizer = get_state_dict(before.model, before.optimizer, options=options)
            dcp.save({"model": model, "optimizer": optimizer}, checkpoint_id=folder / f"{name}-{kind}")
            after = Run(make)
            model, optimizer = get_state_dict(after.model, after.optimizer, options=options)
            saved = {"model": model, "optimizer": optimizer}
            dcp.load(saved, checkpoint_id=folder / f"{name}-{kind}")
            after.schedule.load_state_dict(before.schedule.state_dict())
            after.state.load_state_dict(before.state.state_dict())
            set_state_dict(
                after.model,
                after.optimizer,
                model_state_dict=saved["model"],
                optim_state_dict=saved["optimizer"],
                options=options,
            )
            assert after.optimizer.rule.state_dict() == before.optimizer.rule.state_dict(), (name, kind)
            assert after.optimizer.rule.steps == 3 and after.optimizer.initial_lr == before.optimizer.initial_lr
            assert torch.equal(whole, after.train(rank, range(3, 6))), (name, kind)


def the_first_worker_tells_the_others(rank, workers, folder):
    make, options = MAKERS["adamw"], StateDictOptions(full_state_dict=True, cpu_offload=True, broadcast_from_rank0=True)
    before, after = Run(make), Run(make)
    before.train(rank, range(3))
    saved = get_optimizer_state_dict(before.model, before.optimizer, options=options)
    assert bool(saved) == (rank == 0)
    set_optimizer_state_dict(after.model, after.optimizer, saved, options=options)
    assert after.optimizer.rule.state_dict() == before.optimizer.rule.state_dict()


def asking_changes_nothing(rank, workers, folder):
    """A fresh optimizer is asked for its state, before and after an exchange whose gradients were cleared."""
    for make in MAKERS.values():
        run = Run(make)
        before = [p.detach().clone() for p in run.model.parameters()]
        get_optimizer_state_dict(run.model, run.optimizer)
        loss(run.model, batch(rank, 0, torch.float32)).backward()
        gradients = [p.grad for p in run.model.parameters()]
        run.optimizer.zero_grad()
        rates = [group["lr"] for group in run.optimizer.param_groups]
        set_optimizer_state_dict(run.model, run.optimizer, get_optimizer_state_dict(run.model, run.optimizer))
        assert all(map(torch.equal, before, run.model.parameters()))
        assert run.optimizer.rule.steps == 0 and run.state.telemetry()["exchanges"] == 1
        assert [group["lr"] for group in run.optimizer.param_groups] == rates
        for parameter, gradient in zip(run.model.parameters(), gradients):
            parameter.grad = gradient
        run.optimizer.step()  # the exchange is still there to be used
        assert run.optimizer.rule.steps == 1
        with pytest.raises(InvalidInput, match="no gradient went through the hook"):
            run.optimizer.step()


def shards_are_consolidated(rank, workers, folder):
    def make(p):
        return ZeroRedundancyOptimizer(p, optimizer_class=Adam, lr=0.01)

    whole = Run(make).train(rank, range(6))
    before, after = Run(make), Run(make)
    before.train(rank, range(3))
    for to in range(workers):
        before.optimizer.consolidate_state_dict(to=to)
        if rank == to:
            saved = before.optimizer.state_dict()
    after.model.module.load_state_dict(before.model.module.state_dict())
    after.schedule.load_state_dict(before.schedule.state_dict())
    after.state.load_state_dict(before.state.state_dict())
    after.optimizer.load_state_dict(saved)
    assert torch.equal(whole, after.train(rank, range(3, 6)))


def test_two_workers():
    together(
        2, checkpoints_are_whole, the_first_worker_tells_the_others, asking_changes_nothing, shards_are_consolidated
    )


def optimizer(chosen=None, lr=0.5):
    x = torch.ones(2, requires_grad=True)
    return sst.StableStep(Adam([x], lr=lr), sst.HookState(c.Identity()), chosen or rule.LocalNorms())


def test_a_plain_optimizer_has_nothing_to_consolidate():
    with pytest.raises(InvalidInput, match="is of type Adam, whose state is whole on every worker"):
        optimizer().consolidate_state_dict()


def test_hooks_of_the_state_are_called():
    made, called = optimizer(), []
    made.register_state_dict_pre_hook(lambda it: called.append(it))
    made.register_state_dict_post_hook(lambda it, state: {**state, "note": 7})
    assert made.state_dict()["note"] == 7 and called == [made]
    other = optimizer()
    other.register_load_state_dict_pre_hook(lambda it, state: {k: v for k, v in state.items() if k != "note"})
    other.register_load_state_dict_post_hook(lambda it: called.append(it))
    other.load_state_dict(made.state_dict())
    assert called == [made, made, other]
    made.register_step_pre_hook(lambda it, args, kwargs: called.append("before"))
    made.register_step_post_hook(lambda it, args, kwargs: called.append("after"))
    made.param_groups[0]["params"][0].grad = torch.ones(2)
    arrived(made.hook_state, 1.0)
    made.step()
    assert called[3:] == ["before", "after"]


def test_a_hook_may_replace_the_state():
    made = optimizer()
    made.register_state_dict_post_hook(lambda it, state: state.update(extra=1))  # in place, as torch allows
    assert made.state_dict()["extra"] == 1


def test_another_rule_is_refused_and_changes_nothing():
    file = io.BytesIO()
    torch.save(optimizer(lr=0.25).state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = optimizer(rule.Constant())
    with pytest.raises(InvalidInput, match="rule is Constant, but the saved run has LocalNorms; resume with that one"):
        other.load_state_dict(saved)
    assert other.param_groups[0]["lr"] == 0.5
    other.inner.load_state_dict(saved)  # on purpose
    assert other.param_groups[0]["lr"] == 0.25
    same = optimizer()
    same.load_state_dict(saved)
    assert same.initial_lr == 0.25


def test_the_inner_state_alone_can_be_loaded():
    made = optimizer()
    made.load_state_dict(Adam([torch.ones(2, requires_grad=True)], lr=0.125).state_dict())
    assert made.param_groups[0]["lr"] == 0.125 and made.initial_lr == 0.5
    assert made.state_dict()["param_groups"][0]["stablestep"]["rule"] == "LocalNorms"
