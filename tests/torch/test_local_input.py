"""Local steps: what is refused, each in one sentence, and the small parts that need no other worker."""

import copy
import pickle
import warnings

import pytest
import torch
import torch.distributed as dist
from torch import nn

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch.local.lengths import Lengths
from stablestep.torch.local.vector import Vector, shards
from tests.torch.models import loss, perceptron

Q2 = c.ErrorFeedback(c.Blockwise(bits=2, block=64))


@pytest.fixture
def alone():
    """A process group of one worker."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    dist.destroy_process_group()


def local(model=None, optimizer=None, **options):
    model = perceptron() if model is None else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01) if optimizer is None else optimizer
    return sst.LocalSteps(model, optimizer, **({"every": 2, "compressor": Q2} | options))


class FSDPModule(nn.Linear):
    def __init__(self):
        super().__init__(2, 1)


def stable_step():
    optimizer = torch.optim.SGD(perceptron().parameters(), lr=0.1)
    return sst.StableStep(optimizer, sst.HookState(c.Identity()), sst.rule.Constant())


def sgd(*parameters):
    return torch.optim.SGD([{"params": parameter} for parameter in parameters], lr=0.1)


def frozen():
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.requires_grad_(False)
    return local(model, optimizer)


def held_in_part():
    model = perceptron()
    return local(model, outer=sgd(*list(model.parameters())[1:]))


def the_same_twice():
    model = perceptron()
    optimizer = sgd(*model.parameters())
    return local(model, optimizer, outer=optimizer)


BAD = [
    (lambda: local(model=3.0, optimizer=sgd(torch.ones(1))), "model is a float, but must be a torch.nn.Module"),
    (lambda: local(FSDPModule()), "model is a FSDPModule whose parameters are sharded"),
    (lambda: local(nn.LazyLinear(3), sgd(torch.ones(1))), "weight has no shape yet; run the model once"),
    (lambda: local(optimizer="Adam"), "optimizer is a str, but must be a torch optimizer"),
    (lambda: local(optimizer=torch.optim.LBFGS([torch.ones(1)])), "LBFGS chooses its own steps"),
    (lambda: local(optimizer=stable_step()), "optimizer is a StableStep.*give LocalSteps the optimizer inside"),
    (lambda: local(optimizer=sgd(torch.ones(1))), "1 of the optimizer's parameters are not the model's"),
    (frozen, "the optimizer holds no parameter that needs gradients"),
    (lambda: local(nn.Linear(2, 1).to(torch.complex64)), "parameters are complex"),
    (lambda: local(every=0), "every is 0"),
    (
        lambda: local(every=(8, 24)),
        r"every is \(8, 24\) and total None, but rounds that change need the number of steps",
    ),
    (lambda: local(every=8, total=100), "every is 8 and total 100"),
    (
        lambda: local(every=(8, 24, 3), total=100),
        r"every is \(8, 24, 3\), but must be a number of steps, such as 16, or two",
    ),
    (lambda: local(every=(8, 0.5), total=100), r"every\[1\] is 0\.5"),
    (lambda: local(exchange="ring"), 'exchange is "ring", but must be "two-shot" or "all-gather"'),
    (lambda: local(seed=-1), "seed is -1"),
    (lambda: local(scaler=2.0), "scaler is 2.0, but must be a torch.amp.GradScaler"),
    (lambda: local(max_consecutive_skips=0), "max_consecutive_skips is 0"),
    (lambda: local(compressor="q2"), 'compressor is "q2", but must be a Compressor, such as ErrorFeedback'),
    (
        lambda: local(compressor=c.EF21(c.TopK(k=1))),
        r"compressor is EF21.*local steps remember by ErrorFeedback around",
    ),
    (
        lambda: local(compressor=c.ErrorFeedback(c.ErrorFeedback(c.TopK(k=1)))),
        "compressor is ErrorFeedback.*without memory",
    ),
    (lambda: local(compressor=c.Sign()), r"Sign sends no lengths.*use Blockwise\(bits=1\)"),
    (lambda: local(compressor=c.TopK(k=5000)), "A worker's part of 1121 parameters: TopK: k is 5000"),
    (lambda: local(outer="SGD"), "outer is a str, but must be a torch optimizer"),
    (the_same_twice, "outer is the inner optimizer, but must be another one"),
    (held_in_part, "outer holds 5 of the 6 parameters that the inner optimizer changes, but must hold all"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_arguments(alone, wrong, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_wrapped_model_is_refused(alone):
    ddp = nn.parallel.DistributedDataParallel(perceptron())
    with pytest.raises(InvalidInput, match=r"give LocalSteps the model inside: ddp\.module"):
        local(ddp)


def test_without_a_process_group():
    with pytest.raises(InvalidInput, match=r"call torch\.distributed\.init_process_group first"):
        local()


def test_it_is_neither_copied_nor_pickled_but_its_model_is(alone):
    model = perceptron()
    steps = local(model)
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(InvalidInput, match=r"cannot be copied or pickled; save local\.state_dict\(\)"):
            copied(steps)
    loss(model, torch.ones(3, 6, dtype=torch.float64)).backward()
    steps.step()
    twin = copy.deepcopy(model)
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), model.parameters()))
    pickle.loads(pickle.dumps(model))
    torch.optim.swa_utils.AveragedModel(model)


def test_defaults(alone):
    model = perceptron()
    steps = sst.LocalSteps(model, torch.optim.AdamW(model.parameters()))
    (group,) = steps.outer.param_groups
    assert (group["lr"], group["momentum"], group["nesterov"], steps.every) == (0.7, 0.6, True, 16)
    assert steps.remembers and steps.settings["compressor"] == "ErrorFeedback(Blockwise())"


def test_parameters_that_are_not_trained_stay(alone):
    """Frozen ones, those that the optimizer does not hold, and those without entries."""
    model = perceptron()
    model.empty = nn.Parameter(torch.zeros(0))
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p is not model[2].bias], lr=0.1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    steps = local(model, optimizer, every=1, compressor=c.ErrorFeedback(c.Blockwise(bits=1)))
    for _ in range(2):
        loss(model, torch.ones(3, 6, dtype=torch.float64)).backward()
        steps.step()
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters()) if old.numel()]
    names = [name for name, value in model.named_parameters() if value.numel()]
    assert [name for name, changed in zip(names, moved) if not changed] == ["0.weight", "2.bias"]


@pytest.mark.parametrize(
    ("dim", "workers", "block"), [(1000, 4, 64), (63, 4, 64), (129, 2, 64), (4096, 3, 1024), (1, 5, 1)]
)
def test_shards_are_whole_blocks_and_nearly_equal(dim, workers, block):
    sizes = shards(dim, workers, block)
    assert sum(sizes) == dim and len(sizes) == workers and sizes[0] == max(sizes)
    ends = torch.tensor(sizes).cumsum(0).tolist()
    assert all(end % block == 0 or end == dim for end in ends)
    assert max(sizes) - min(sizes) < 2 * block


def test_lengths_grow_in_proportion():
    growing = Lengths((8, 24), total=480)
    steps, found = 0, []
    while steps < 480:
        found.append(growing.at(steps))
        steps += found[-1]
    assert found[0] == 8 and found == sorted(found) and 22 <= found[-1] <= 24 and 30 <= len(found) <= 36
    assert Lengths((24, 8), total=480).at(10**9) == 8


def test_the_vector_of_mixed_types():
    parameters = [torch.ones(2, dtype=torch.bfloat16), torch.zeros(1, 2).t(), torch.full((1,), 2.0)]
    vector = Vector(parameters)
    assert vector.read().tolist() == [1, 1, 0, 0, 2] and vector.dtype == torch.float32
    point = vector.read() + 2.0**-10
    vector.write(point)
    assert vector.read().tolist() == vector.rounded(point).tolist() != point.tolist()
    assert Vector([*parameters, torch.zeros(1, dtype=torch.float64)]).dtype == torch.float64
