"""Gradients at the ends of a type's range: norms that do not overflow, and messages that do are skipped by all workers alike."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.torch import rule
from stablestep.torch.wire.codec import norm
from tests.statistics import assert_fails, assert_mean
from tests.torch.group import together
from tests.torch.models import wrapped
from tests.torch.test_codecs import ALL, message


@pytest.mark.parametrize("scale", [1e-40, 1e-24, 1.0, 1e20, 3e37])
def test_the_norm_of_a_vector(scale):
    values = scale * torch.tensor([1.0, -2.0, 2.0, 4.0])
    assert float(norm(values)) == pytest.approx(5 * scale, rel=1e-4)  # subnormal numbers have few digits
    assert float(norm(torch.zeros(3))) == 0 and math.isinf(norm(torch.tensor([1.0, math.inf])))
    assert math.isnan(norm(torch.tensor([1.0, math.nan])))


@pytest.mark.parametrize("scale", [1e-24, 1e20, 1e-150, 1e150])
@pytest.mark.parametrize("name", ["qsgd-3", "terngrad", "natural", "rand-k"])
def test_unbiased_at_every_scale(name, scale, seed):
    dtype = torch.float64 if abs(math.log10(scale)) > 38 else torch.float32
    gradient = scale * torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=dtype)
    messages = torch.stack([message(ALL[name], gradient, seed, step) for step in range(2000)])
    found, wanted = messages.double().numpy() / scale, gradient.double().numpy() / scale
    assert_mean(found, wanted)
    with assert_fails("messages of 1.1 times"):
        assert_mean(1.1 * found, wanted)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e25])
def test_clipping_at_every_scale(scale):
    x = torch.ones(4, requires_grad=True)
    x.grad = scale * torch.tensor([1.0, -2.0, 2.0, 4.0])
    chosen = rule.Clip(threshold=2.5 * scale)
    assert chosen.factor(rule.Seen(mean_norm=1.0, lr=1.0, initial_lr=1.0, parameters=[x])) == 1
    np.testing.assert_allclose(x.grad.numpy() / scale, [0.5, -1.0, 1.0, 2.0], rtol=1e-6)


HOOKS = [
    (c.Identity(), "shared"),
    (c.TernGrad(), "own"),
    (c.QSGD(4), "own"),
    (c.Sign(), "own"),
    (c.ScaledSign(), "own"),
    (c.NaturalCompression(), "own"),
    (c.TopK(k=1), "own"),
    (c.RandK(k=2), "shared"),
    (c.RandK(k=2), "own"),
]


def train(compressor, mask, dtype, large):
    """Three steps, the second one with large gradients on one worker: the parameters, whether they moved, and the state."""
    torch.manual_seed(0)
    model = wrapped(nn.Linear(8, 1, bias=False).to(dtype))
    state = sst.register(model, sst.HookState(compressor, mask=mask))
    optimizer = sst.StableStep(SGD(model.parameters(), lr=0.1), state, rule.LocalNorms(eta0=0.1))
    moved = []
    for step in range(3):
        optimizer.zero_grad()
        (model(torch.ones(4, 8, dtype=dtype)).mean() * (large if step == 1 else 1)).backward()
        before = model.module.weight.detach().clone()
        optimizer.step()
        moved.append(not torch.equal(before, model.module.weight))
    return model.module.weight.detach(), moved, state.telemetry()


def large_gradients_are_no_trouble(rank, workers, folder):
    """Their squares overflow, they themselves do not."""
    for compressor, mask in HOOKS:
        for dtype, large in (
            (torch.float32, 1e20),
            (torch.float32, 1e30),
            (torch.bfloat16, 1e30),
            (torch.float16, 1e3),
        ):
            weight, _, found = train(compressor, mask, dtype, large if rank == 1 else 1.0)
            assert weight.isfinite().all() and found["skipped"] == 0 and math.isfinite(found["mean_norm"]), compressor


def messages_beyond_the_range_are_skipped(rank, workers, folder):
    """d/k times a value, or the sum of the workers' messages, is more than the type can hold."""
    for compressor, mask, dtype, large in (
        (c.RandK(k=2), "shared", torch.float16, 3e4),
        (c.RandK(k=2), "own", torch.float16, 6e4),
        (c.RandK(k=2), "shared", torch.float32, 3e38),
        (c.RandK(k=2), "own", torch.bfloat16, 3e38),
        (c.QSGD(4), "own", torch.float32, 3e38),
    ):
        weight, moved, found = train(compressor, mask, dtype, large)
        assert weight.isfinite().all() and moved == [True, False, True] and found["skipped"] == 1, (compressor, dtype)


def test_two_workers():
    together(2, large_gradients_are_no_trouble, messages_beyond_the_range_are_skipped)
