"""Workers in one process: their messages are those of the hook, their curvature is the Hessian's, and nobody else's state changes."""

import numpy as np
import pytest
import torch
from torch import nn

import stablestep.torch as sst
from stablestep import compressor
from stablestep.errors import InvalidInput
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.survey.landscape import Landscape
from stablestep.torch.survey.workers import Workers
from tests.statistics import assert_fails, assert_mean
from tests.torch.group import together
from tests.torch.models import batch, gradients, loss, of_all, perceptron, wrapped

POOL = [batch(rank, 0) for rank in range(8)]


def workers(chosen, agents=2, model=None, loss_fn=loss, pool=POOL, **options) -> Workers:
    landscape = Landscape(perceptron() if model is None else model, loss_fn, pool)
    return Workers(landscape, Settings(chosen, **options), agents)


class Scalar(nn.Module):
    """One parameter, x."""

    def __init__(self, x: float):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(float(x), dtype=torch.float64))


REMEMBERING = (
    compressor.ErrorFeedback(compressor.TopK(fraction=0.2)),
    compressor.EF21(compressor.TopK(fraction=0.2), warm=True),
    compressor.Momentum(compressor.ScaledSign(), beta=0.5),
)


def check_messages(rank, count, folder):
    """Three exchanges, so that memories have something to remember."""
    for chosen in (compressor.Identity(), compressor.Sign(), compressor.TopK(fraction=0.2), *REMEMBERING):
        ddp, memory = wrapped(perceptron(), sst.HookState(chosen)), {}
        for step in range(3):
            own = batch(rank, step)
            ddp.zero_grad()
            loss(ddp, own).backward()
            arrived = torch.cat([parameter.grad.reshape(-1) for parameter in ddp.parameters()])
            single = of_all(torch.cat(gradients(perceptron(), own)), count)
            torch.testing.assert_close(workers(chosen, count).exchange(single, memory, step), arrived)


def test_messages_are_those_of_the_hook():
    together(2, check_messages)


@pytest.mark.parametrize("mask", ["own", "shared"])
def test_random_masks_are_unbiased_and_have_the_stated_omega(seed, mask):
    both = workers(compressor.RandomSparsification(omega=3.0), mask=mask, seed=seed % 1000)
    _, single = both.gradients(0)
    mean = torch.stack(single).mean(0)
    messages = np.stack([both.message(single, number).numpy() for number in range(400)])
    assert_mean(messages, mean.numpy())
    errors = np.array([both.error(single[0], number) for number in range(400)])
    assert_mean(errors, 3.0)
    with assert_fails("ω smaller by 1.3"):
        assert_mean(errors, 3.0 / 1.3)
    # One mask for both workers is common noise: it does not average.
    spread = ((messages - mean.numpy()) ** 2).sum(1)
    own = 3.0 * sum(float(one @ one) for one in single) / 4
    assert_mean(spread, own if mask == "own" else 3.0 * float(mean @ mean))


def test_curvature_is_the_hessian():
    both = workers(compressor.Identity())
    direction = torch.randn(both.landscape.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    names = [name for name, _ in both.landscape.model.named_parameters()]
    shapes = [parameter.shape for parameter in both.landscape.parameters]

    def value(flat):
        pieces = {name: p.view(shape) for name, p, shape in zip(names, flat.split(both.landscape.sizes), shapes)}
        x = POOL[0]
        return ((torch.func.functional_call(both.landscape.model, pieces, (x,)).squeeze(1) - x.sum(1)) ** 2).mean()

    expected = torch.autograd.functional.hvp(value, both.landscape.point(), direction)[1]
    torch.testing.assert_close(both.landscape.curvature(POOL[:1], direction), expected)
    both.landscape.double_backward = False
    torch.testing.assert_close(both.landscape.curvature(POOL[:1], direction), expected, rtol=1e-5, atol=1e-6)


class Fused(nn.Module):
    """A kernel without second derivatives on the CPU."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.maps = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.maps(x).view(2, 1, 4, 24).chunk(3, -1)
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def test_a_model_without_second_derivatives_is_differenced():
    pool = [torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(number)) for number in range(8)]
    both = workers(compressor.Identity(), model=Fused(), loss_fn=lambda model, x: model(x).square().mean(), pool=pool)
    here, direction = both.landscape.point(), torch.ones(both.landscape.dim)
    found = both.landscape.curvature(pool[:2], direction)
    assert not both.landscape.double_backward and torch.equal(both.landscape.point(), here)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        exact = workers(
            compressor.Identity(), model=Fused(), loss_fn=both.landscape.loss, pool=pool
        ).landscape.curvature(pool[:2], direction)
    torch.testing.assert_close(found, exact, rtol=0.05, atol=1e-3)


class Once(torch.autograd.Function):
    """x² with a backward that cannot be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


def test_a_backward_without_a_graph_is_differenced():
    """Its double backward would be 0, and every step safe."""
    pool = [torch.ones(1, dtype=torch.float64)] * 8
    both = workers(compressor.Identity(), model=Scalar(3.0), loss_fn=lambda m, x: Once.apply(m.x) * x.sum(), pool=pool)
    assert float(both.landscape.curvature(pool[:1], torch.ones(1, dtype=torch.float64))) == pytest.approx(2.0, rel=1e-6)


def test_differences_cancel_dropout():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 30), nn.Tanh(), nn.Dropout(0.5), nn.Linear(30, 1)).double()
    both, v = workers(compressor.Identity(), model=model), torch.ones(241, dtype=torch.float64)
    found = []
    for both.landscape.double_backward in (True, False):
        torch.manual_seed(2)
        found.append(both.landscape.curvature(POOL[:1], v[: both.landscape.dim]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


def test_buffers_begin_anew():
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).double()
    both = workers(compressor.Identity(), model=model)
    start = both.landscape.point()
    both.landscape.value(POOL)
    assert not torch.equal(both.landscape.model[1].running_mean, model[1].running_mean)
    both.landscape.restart(start)
    assert torch.equal(both.landscape.model[1].running_mean, model[1].running_mean)


def test_the_model_given_stays_as_it_is():
    model = perceptron()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    both = workers(compressor.Identity(), model=model)
    both.landscape.move(both.landscape.point() + 1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_same_names_give_the_same_message():
    both, again = (workers(compressor.RandK(fraction=0.3), seed=5) for _ in range(2))
    _, single = both.gradients(1, 2)
    assert torch.equal(both.message(single, 1, 2), again.message(again.gradients(1, 2)[1], 1, 2))
    assert not torch.equal(both.message(single, 1, 2), both.message(single, 1, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "linear"}, "model is a str"),
        ({"model": nn.ReLU()}, "no parameters to train"),
        ({"loss_fn": 3}, "loss is 3"),
        ({"loss_fn": lambda model, x: model(x)}, r"loss gave a tensor of shape \(8, 1\)"),
        ({"loss_fn": lambda model, x: 3.0}, "loss gave a float"),
        ({"loss_fn": lambda model, x: x.sum()}, "does not depend on the model's parameters"),
        ({"loss_fn": lambda model, x: model(x).sum() * float("nan")}, "loss is nan at the start"),
        ({"pool": POOL[:3]}, "batches has 3 of them.*at least 8"),
        ({"pool": 3}, "batches is a int"),
        ({"model": type("FSDPModule", (nn.Linear,), {})(6, 1)}, "which is sharded"),
        ({"agents": 0}, "agents is 0"),
        ({"chosen": compressor.RandK(k=100)}, "k is 100"),
        ({"mask": "common"}, 'mask is "common"'),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        workers(**({"chosen": compressor.Identity()} | arguments))
