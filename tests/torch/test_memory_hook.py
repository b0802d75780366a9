"""Memories in real processes: skipped steps, unused parameters, GradScaler, accumulation, bytes, and resuming."""

import copy
import io
import math

import pytest
import torch
from torch import nn

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from tests.torch.group import together
from tests.torch.models import Branches, Mixed, batch, gradients, loss, of_all, perceptron, wrapped
from tests.torch.runs import Run
from tests.torch.test_memory import Torch

CASES = [
    (c.ErrorFeedback(c.TopK(fraction=0.1)), "shared"),
    (c.ErrorFeedback(c.RandK(fraction=0.3, block=16, scaled=False)), "shared"),
    (c.EF21(c.RandomSparsification(3.0, scaled=False)), "own"),
    (c.Momentum(c.EF21(c.TopK(fraction=0.1), warm=True), beta=0.8, warm=True), "own"),
    (c.Momentum(c.Sign(), beta=0.9), "own"),
    (c.ErrorFeedback(c.QSGD(4)), "own"),
]
NORM = 16  # bytes


def same(left, right):
    """Two memories, bit for bit."""
    assert left.keys() == right.keys()
    return all(torch.equal(one[name], right[number][name]) for number, one in left.items() for name in one)


def messages_are_those_of_one_process(rank, workers, folder):
    """Every exchange of the hook against the same memories without processes; several buckets and groups."""
    for compressor, mask in CASES:
        run = Run(compressor, mask, torch.float64)
        parameters = list(run.model.parameters())
        alone = [Torch(compressor, workers, 3, shared=mask == "shared") for _ in parameters]
        for step in range(4):
            run.model.zero_grad()
            x = batch(rank, step)
            own = gradients(run.model.module, x)
            loss(run.model, x).backward()
            for parameter, gradient, memory in zip(parameters, own, alone):
                memory.number = run.state.run.roster.number(parameter)
                wanted = memory.exchange(of_all(gradient, workers))
                torch.testing.assert_close(parameter.grad.flatten(), wanted, rtol=1e-12, atol=1e-13)


def a_skipped_step_changes_no_memory(rank, workers, folder):
    for compressor, mask in CASES:
        for bad in (math.nan, math.inf):
            run = Run(compressor, mask).train(rank, range(3))
            before, there = run.memory(), run.parameters()
            assert len(before) == 6 and any(tensor.any() for one in before.values() for tensor in one.values())
            run.train(rank, [3], bad)
            assert run.state.telemetry()["skipped"] == 1
            assert same(before, run.memory()) and torch.equal(there, run.parameters())
            run.train(rank, [4])
            assert not same(before, run.memory()) and run.parameters().isfinite().all()


def a_skipped_first_step_begins_no_memory(rank, workers, folder):
    for compressor, mask in CASES:
        late = Run(compressor, mask).train(rank, [0], math.nan)
        assert late.memory() == {}
        late.train(rank, range(1, 4))
        whole = Run(compressor, mask)
        whole.state.run.meter.exchanges = 1  # the same randomness
        whole.train(rank, range(1, 4))
        assert same(whole.memory(), late.memory()) and torch.equal(whole.parameters(), late.parameters())


def resuming_is_bit_identical(rank, workers, folder, cases=CASES, options=({}, {"static_graph": True})):
    for number, (compressor, mask) in enumerate(cases):
        given = options[number % len(options)]
        path = folder / f"{number}-{rank}.pt"
        whole = Run(compressor, mask, **given).train(rank, range(6))
        Run(compressor, mask, **given).train(rank, range(3)).save(path)
        resumed = Run(compressor, mask, **given).load(path)
        assert same(resumed.memory(), torch.load(path, weights_only=True)["hook"]["memory"])
        resumed.train(rank, range(3, 6))
        assert torch.equal(whole.parameters(), resumed.parameters()), compressor
        assert same(whole.memory(), resumed.memory())
        assert whole.state.telemetry() == resumed.state.telemetry()
        back = whole.load(path).train(rank, range(3, 6))
        assert same(back.memory(), resumed.memory()) and torch.equal(back.parameters(), resumed.parameters())


def three_resume(rank, workers, folder):
    resuming_is_bit_identical(rank, workers, folder, CASES[1:4])


def memory_is_in_units_of_the_unscaled_gradient(rank, workers, folder):
    for compressor, mask in CASES:
        plain = Run(compressor, mask).train(rank, range(4))
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_factor=4.0, growth_interval=1)
        scaled = Run(compressor, mask, scaler=scaler).train(rank, range(4))
        assert scaler.get_scale() == 2.0**20
        assert same(plain.memory(), scaled.memory()) and torch.equal(plain.parameters(), scaled.parameters())
        assert plain.state.telemetry() == scaled.state.telemetry()
        before = scaled.memory()
        scaled.train(rank, [4], math.inf)
        assert scaler.get_scale() == 2.0**19 and same(before, scaled.memory())


def accumulation_remembers_once(rank, workers, folder):
    """The sum of two gradients is one message."""
    state = sst.HookState(CASES[0][0], seed=3)
    model, alone = wrapped(nn.Linear(6, 1, bias=False).double(), state), Torch(CASES[0][0], workers, 3, shared=True)
    for step in range(3):
        model.zero_grad()
        first, second = (gradients(model.module, batch(rank, 2 * step + part))[0] for part in range(2))
        with model.no_sync():
            loss(model, batch(rank, 2 * step)).backward()
        loss(model, batch(rank, 2 * step + 1)).backward()
        wanted = alone.exchange(of_all(first + second, workers))
        torch.testing.assert_close(model.module.weight.grad.flatten(), wanted, rtol=1e-12, atol=1e-13)


def what_nobody_uses_keeps_its_memory(rank, workers, folder):
    """DDP drops the message of a parameter that no worker used, so nothing may be taken from its memory."""
    for compressor, mask in CASES[:1] + CASES[2:]:  # a block of all six entries leaves no error
        state = sst.HookState(compressor, mask=mask)
        torch.manual_seed(0)
        model = wrapped(Branches().double(), state, find_unused_parameters=True)
        both = model.module.forward = Both(model.module)
        found = []
        # At last one worker uses it, and the memories of all take part.
        for step, used in enumerate((True, True, False, rank == 0)):
            both.used = used
            model.zero_grad()
            loss(model, batch(rank, step)).backward()
            found.append(state.state_dict()["memory"])
            assert (model.module.unused.weight.grad is None) == (step == 2)
        unused, other = (state.run.roster.number(layer.weight) for layer in (model.module.unused, model.module.used))
        assert same({0: found[1][unused]}, {0: found[2][unused]})
        assert not same({0: found[1][other]}, {0: found[2][other]})
        assert not same({0: found[3][unused]}, {0: found[2][unused]})


class Both:
    """A forward that may use both layers."""

    def __init__(self, module):
        self.module, self.used = module, True

    def __call__(self, x):
        return self.module.used(x) + (self.module.unused(x.flip(1)) if self.used else 0)


def a_frozen_parameter_keeps_its_memory(rank, workers, folder):
    state = sst.HookState(CASES[0][0])
    model = wrapped(perceptron(), state, find_unused_parameters=True)
    for step in range(2):
        loss(model, batch(rank, step)).backward()
    frozen = next(model.parameters()).requires_grad_(False)
    number, before = state.run.roster.number(frozen), state.state_dict()["memory"]
    for step in range(2, 4):
        model.zero_grad()
        loss(model, batch(rank, step)).backward()
    after = state.state_dict()["memory"]
    assert torch.equal(before[number]["0.error"], after[number]["0.error"])
    assert frozen.grad is None and not torch.equal(before[1]["0.error"], after[1]["0.error"])


def a_gradient_that_is_zero_everywhere_sends_nothing(rank, workers, folder):
    """A layer that is used, but whose gradient is exactly 0 on all workers."""
    for compressor, mask in CASES:
        state = sst.HookState(compressor, mask=mask)
        model = wrapped(nn.Linear(6, 1, bias=False).double(), state)
        for step in range(2):
            loss(model, batch(rank, step)).backward()
        before = state.state_dict()["memory"]
        model.zero_grad()
        (model(batch(rank, 2)) * 0).sum().backward()
        assert same(before, state.state_dict()["memory"]) and not model.module.weight.grad.any()


def types_may_differ(rank, workers, folder):
    for compressor, mask in CASES[:4]:
        state = sst.HookState(
            compressor if "RandK" not in repr(compressor) else c.EF21(c.TopK(fraction=0.5)), mask=mask
        )
        model = wrapped(Mixed(), state)
        for step in range(3):
            model.zero_grad()
            loss(model, batch(rank, step)).backward()
        kinds = {t.dtype for one in state.state_dict()["memory"].values() for t in one.values()}
        assert kinds == {torch.float32, torch.float64}


def bytes_are_those_of_the_inner_one(rank, workers, folder):
    flags = math.ceil(6 / 8)
    for compressor, mask in CASES:
        if getattr(compressor.inner, "warm", False):
            continue
        inner = compressor.inner if not hasattr(compressor.inner, "inner") else compressor.inner.inner
        runs = [Run(one, mask) for one in (inner, compressor)]
        summed = inner.linear and mask == "shared"
        for step in range(2):
            found = []
            for run in runs:
                loss(run.model, batch(rank, step, torch.float32)).backward()
                found.append(run.state.telemetry())
            more = flags * (4 * workers if summed else 1)
            assert found[1]["bytes_payload"] == found[0]["bytes_payload"] + more
            assert found[1]["bytes_sent"] == pytest.approx(
                found[1]["bytes_payload"] * (2 * (workers - 1) / workers if summed else workers - 1)
            )


def the_error_is_that_of_what_was_compressed(rank, workers, folder):
    """For error feedback ‖e⁺‖²/‖p‖², p = e + g."""
    run = Run(c.ErrorFeedback(c.TopK(fraction=0.1)), "own", torch.float64)
    for step in range(3):
        before = run.memory()
        own = gradients(run.model.module, batch(rank, step))
        run.train(rank, [step])
        wanted = lost = 0.0
        for parameter, gradient in zip(run.model.parameters(), own):
            number = run.state.run.roster.number(parameter)
            wanted += float((gradient + (before[number]["0.error"] if before else 0)).square().sum())
            lost += float(run.memory()[number]["0.error"].square().sum())
        assert run.state.telemetry()["compression_error"] == pytest.approx(lost / wanted, rel=1e-10)


def the_memory_of_another_worker_is_refused(rank, workers, folder):
    for compressor, mask in CASES[:2]:
        run = Run(compressor, mask).train(rank, range(2)).save(folder / f"{rank}.pt")
        torch.distributed.barrier()
        other = torch.load(folder / f"{1 - rank}.pt", weights_only=True)["hook"]
        words = (
            f"is that of worker {1 - rank} of 2, but this is worker {rank} of 2; save the hook's state on every worker"
        )
        late = sst.HookState(compressor, mask=mask, seed=3)
        late.load_state_dict(other)
        with pytest.raises(InvalidInput, match=words):
            sst.register(wrapped(perceptron(torch.float32)), late)
        before = run.memory()
        with pytest.raises(InvalidInput, match=words):
            run.state.load_state_dict(other)
        assert same(before, run.memory())
        torch.distributed.barrier()
    Run(c.RandK(k=1), "own").train(rank, range(2)).save(folder / f"{rank}.pt")
    torch.distributed.barrier()
    Run(c.RandK(k=1), "own").load(folder / "0.pt").train(rank, [2])  # nothing is remembered, so one serves all


def the_memory_of_other_parameters_is_refused(rank, workers, folder):
    run = Run(*CASES[0]).train(rank, range(2))
    late = sst.HookState(CASES[0][0], seed=3)
    late.load_state_dict(run.state.state_dict())
    with pytest.raises(InvalidInput, match="belongs to other parameters"):
        sst.register(wrapped(nn.Linear(6, 1)), late)


def a_copy_remembers_the_same(rank, workers, folder):
    """A deep copy and a pickle go on bit for bit, and nothing that one of them does reaches the other."""
    for compressor, mask in (*CASES[:1], *CASES[3:4], (c.LowRank(rank=2), "own")):
        run = Run(compressor, mask).train(rank, range(3))
        before = run.memory()
        file = io.BytesIO()
        torch.save(run.state, file)
        file.seek(0)
        for copied in (copy.deepcopy(run.state), torch.load(file, weights_only=False)):
            late = Run(compressor, mask)
            late.model.module.load_state_dict(run.model.module.state_dict())
            late.optimizer.load_state_dict(run.optimizer.state_dict())
            other = wrapped(late.model.module)
            sst.register(other, copied)
            assert same(before, copied.state_dict()["memory"])
            loss(other, batch(rank, 3, torch.float32)).backward()
            assert same(before, run.memory()) and not same(before, copied.state_dict()["memory"])
        run.train(rank, [3])
        assert same(run.memory(), copied.state_dict()["memory"])


TWO = (
    messages_are_those_of_one_process,
    a_skipped_step_changes_no_memory,
    a_skipped_first_step_begins_no_memory,
    resuming_is_bit_identical,
    memory_is_in_units_of_the_unscaled_gradient,
    accumulation_remembers_once,
    what_nobody_uses_keeps_its_memory,
    a_frozen_parameter_keeps_its_memory,
    a_gradient_that_is_zero_everywhere_sends_nothing,
    types_may_differ,
    bytes_are_those_of_the_inner_one,
    the_error_is_that_of_what_was_compressed,
    the_memory_of_another_worker_is_refused,
    the_memory_of_other_parameters_is_refused,
    a_copy_remembers_the_same,
)


def test_two_workers():
    together(2, *TWO)


def test_three_workers():
    together(3, messages_are_those_of_one_process, three_resume, bytes_are_those_of_the_inner_one)
