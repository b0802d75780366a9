"""Which parameters there are and how they are numbered: DDP's buckets, ignored and frozen parameters, other models, wrappers."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parallel.distributed import _MixedPrecision
from torch.optim import SGD

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from tests.torch.group import together
from tests.torch.models import Branches, Mixed, batch, loss, perceptron


class Sum(nn.Module):
    """Layers of two types, in turn."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([Mixed(), perceptron(torch.float32), Mixed()])

    def forward(self, x):
        first, second, third = self.parts
        return first(x) + second(x.float()).double() + third(x)


WRAPPED = [
    {"bucket_cap_mb": 25},
    {"bucket_cap_mb": 1e-4},
    {"bucket_cap_mb": 2e-3, "find_unused_parameters": True},
    {"bucket_cap_mb": 1e-4, "find_unused_parameters": True, "gradient_as_bucket_view": True},
]


class Run:
    """A training that can go on in a model that is wrapped in another way."""

    def __init__(self, compressor, mask, options, by_register):
        self.model = DistributedDataParallel(Sum(), **options)
        self.state = sst.HookState(compressor, mask=mask, seed=3, group_bytes=2000)
        if not by_register:
            self.model.register_comm_hook(self.state, sst.hook)
        self.optimizer = SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.by_register = by_register

    def train(self, rank, steps):
        if self.by_register and not self.state.registered:
            sst.register(self.model, self.state)
        for step in steps:
            self.optimizer.zero_grad()
            loss(self.model, batch(rank, step)).backward()
            self.optimizer.step()
        return torch.cat([parameter.detach().double().flatten() for parameter in self.model.parameters()])

    def go_on(self, other):
        self.model.module.load_state_dict(other.model.module.state_dict())
        self.optimizer.load_state_dict(other.optimizer.state_dict())
        self.state.load_state_dict(other.state.state_dict())


def numbers_do_not_depend_on_buckets(rank, workers, folder):
    for compressor, mask in ((c.RandK(fraction=0.3), "own"), (c.RandK(fraction=0.3), "shared"), (c.QSGD(2), "own")):
        ends = []
        for number, options in enumerate(WRAPPED):
            before, after = Run(compressor, mask, WRAPPED[0], True), Run(compressor, mask, options, number % 2 == 0)
            before.train(rank, range(2))
            after.go_on(before)
            ends.append(after.train(rank, range(2, 4)))
        assert all(torch.equal(ends[0], end) for end in ends), compressor
        assert torch.equal(ends[0], Run(compressor, mask, WRAPPED[1], False).train(rank, range(4)))


def ignoring():
    model = nn.Sequential(nn.Linear(6, 20), nn.Linear(20, 1)).double()
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, ["1.weight", "1.bias"])
    return DistributedDataParallel(model)


def frozen_later():
    model = DistributedDataParallel(
        nn.Sequential(nn.Linear(6, 20), nn.Linear(20, 1)).double(), find_unused_parameters=True
    )
    model.module[0].requires_grad_(False)
    return model


def frozen_before():
    model = nn.Sequential(nn.Linear(6, 20), nn.Linear(20, 1)).double()
    model[0].requires_grad_(False)
    return DistributedDataParallel(model)


def exchange(model, state, rank):
    sst.register(model, state)
    loss(model, batch(rank, 0)).backward()


def what_ddp_reduces_counts(rank, workers, folder):
    for build, k in ((ignoring, 20), (frozen_later, 1), (frozen_before, 1)):
        model, state = build(), sst.HookState(c.RandK(k=k))
        sst.register(model, state)
        loss(model, batch(rank, 0)).backward()
        again = sst.HookState(c.RandK(k=k))
        again.load_state_dict(state.state_dict())
        resumed = build()
        sst.register(resumed, again)
        loss(resumed, batch(rank, 1)).backward()
        assert again.telemetry()["exchanges"] == 2
    for build, other in ((ignoring, frozen_later), (frozen_before, ignoring)):
        model, again = build(), sst.HookState(c.Sign())
        state = sst.register(model, sst.HookState(c.Sign()))
        loss(model, batch(rank, 0)).backward()
        again.load_state_dict(state.state_dict())
        with pytest.raises(InvalidInput, match="belongs to other parameters"):
            exchange(other(), again, rank)
    late = frozen_before()
    late.module[0].requires_grad_(True)
    with pytest.raises(
        InvalidInput, match=r"2 parameters were frozen when.*never exchanges them; wrap the model after"
    ):
        sst.register(late, sst.HookState(c.Sign()))


def one_state_serves_one_model(rank, workers, folder):
    state = sst.HookState(c.Sign())
    sst.register(DistributedDataParallel(perceptron()), state)
    with pytest.raises(InvalidInput, match="serves another model already"):
        sst.register(DistributedDataParallel(perceptron()), state)
    bare = sst.HookState(c.Sign())
    models = [DistributedDataParallel(perceptron()) for _ in range(2)]
    for model in models:
        model.register_comm_hook(bare, sst.hook)
    loss(models[0], batch(rank, 0)).backward()
    with pytest.raises(InvalidInput, match="a new HookState for each DDP model"):
        loss(models[1], batch(rank, 0)).backward()


class Fabric(nn.Module):
    """A framework's wrapper."""

    def __init__(self, inside):
        super().__init__()
        self._forward_module = inside

    def forward(self, x):
        return self._forward_module(x)


def wrappers_are_looked_through(rank, workers, folder):
    def ddp(module=None):
        return DistributedDataParallel(module or perceptron())

    for make in (
        lambda: torch.compile(ddp(), backend="eager"),
        lambda: ddp(torch.compile(perceptron(), backend="eager")),
        lambda: Fabric(ddp()),
        lambda: Fabric(torch.compile(ddp(), backend="eager")),
    ):
        model = make()
        state = sst.register(model, sst.HookState(c.Sign()))
        loss(model, batch(rank, 0)).backward()
        sst.verify(state)
        assert {abs(value) for p in model.parameters() for value in p.grad.flatten().tolist()} <= {0.0, 1.0}


def advice_is_right(rank, workers, folder):
    with pytest.raises(InvalidInput, match="with 2 DistributedDataParallel models inside; register each"):
        sst.register(nn.ModuleList([DistributedDataParallel(perceptron()) for _ in range(2)]), sst.HookState(c.Sign()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = DistributedDataParallel(nn.Linear(6, 1), mixed_precision=_MixedPrecision(param_dtype=torch.bfloat16))
    with pytest.raises(InvalidInput, match=r"mixed_precision=….*hook of its own.*use torch\.autocast"):
        sst.register(model, sst.HookState(c.Sign()))


def a_static_graph_of_several_types_is_refused(rank, workers, folder):
    """In the first backward DDP gives all its buckets the number 0, and calls none the last."""
    model = DistributedDataParallel(Mixed(), static_graph=True)
    sst.register(model, sst.HookState(c.Sign()))
    with pytest.raises(InvalidInput, match="leave static_graph out"):
        loss(model, batch(rank, 0)).backward()


def unused_parameters_are_named(rank, workers, folder):
    for options in ({}, {"bucket_cap_mb": 1e-4}):
        model = DistributedDataParallel(Branches().double(), **options)
        state = sst.register(model, sst.HookState(c.Sign()))
        optimizer = sst.StableStep(SGD(model.parameters(), lr=0.1), state, sst.rule.Constant())
        loss(model, batch(rank, 0)).backward()
        with pytest.raises(InvalidInput, match=r"2 of 4 parameters have no gradient.*find_unused_parameters=True"):
            optimizer.step()


def test_two_workers():
    together(
        2,
        numbers_do_not_depend_on_buckets,
        what_ddp_reduces_counts,
        one_state_serves_one_model,
        wrappers_are_looked_through,
        advice_is_right,
        a_static_graph_of_several_types_is_refused,
        unused_parameters_are_named,
    )
