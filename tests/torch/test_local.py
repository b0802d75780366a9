"""Local steps among real processes: what is exchanged, that nothing is lost, that all agree, and what happens when something breaks."""

import math
import os

import pytest
import torch
import torch.distributed as dist
from torch import nn

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch.local import shot
from stablestep.torch.local.vector import shards
from tests.torch.group import together
from tests.torch.models import batch, loss, of_all, perceptron

BLOCK = 64
Q2 = c.ErrorFeedback(c.Blockwise(bits=2, block=BLOCK))
NOTHING = torch.zeros(0)


def vector(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def plain(model, lr=1.0):
    return torch.optim.SGD(model.parameters(), lr=lr)


def adam(model):
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def train(model, local, rank, first, last):
    for step in range(first, last):
        local.optimizer.zero_grad()
        loss(model, batch(rank, step)).backward()
        local.step()


def assert_same_everywhere(values, workers):
    for other in of_all(values, workers):
        assert torch.equal(other, values)


# What an exchange is


def two_shots(wanted, kept, workers):
    """The formulas, in one process: M, what each worker loses, what the owners keep."""
    sizes = shards(len(wanted[0]), workers, BLOCK)
    parts = [vector.split(sizes) for vector in wanted]
    sent = [torch.cat([sst.compress(Q2.inner, NOTHING, part) for part in own]) for own in parts]
    target = torch.stack(sent).mean(0) + kept
    mean = torch.cat([sst.compress(Q2.inner, NOTHING, part) for part in target.split(sizes)])
    return mean, [p - message for p, message in zip(wanted, sent)], target - mean


def one_shot(wanted, kept, workers):
    sent = [sst.compress(Q2.inner, NOTHING, vector) for vector in wanted]
    return torch.stack(sent).mean(0), [p - message for p, message in zip(wanted, sent)], kept


def _follows(exchange, formula, rank, workers):
    model = perceptron(seed=rank)
    local = sst.LocalSteps(model, adam(model), every=3, compressor=Q2, exchange=exchange)
    assert_same_everywhere(vector(model), workers)
    point = vector(model)
    velocity, memory, kept = 0, [torch.zeros_like(point)] * workers, torch.zeros_like(point)
    for turn in range(4):
        train(model, local, rank, 3 * turn, 3 * turn + 2)
        optimizer_step_without_exchange(model, local, rank, 3 * turn + 2)
        wanted = [e + point - end for e, end in zip(memory, of_all(vector(model), workers))]
        mean, memory, kept = formula(wanted, kept, workers)
        velocity = 0.6 * velocity + mean
        point = point - 0.7 * (mean + 0.6 * velocity)
        local.synchronize()
        torch.testing.assert_close(vector(model), point, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(local.memory, memory[rank], rtol=1e-9, atol=1e-12)
        assert_same_everywhere(vector(model), workers)
        lost, square = memory[rank].square().sum(), wanted[rank].square().sum()
        assert local.telemetry()["compression_error"] == pytest.approx(float(lost / square))


def optimizer_step_without_exchange(model, local, rank, step):
    """The last inner step of a round, so that the end of the worker's own way can be seen."""
    local.optimizer.zero_grad()
    loss(model, batch(rank, step)).backward()
    local.optimizer.step()


def two_shots_follow_the_formulas(rank, workers, folder):
    _follows("two-shot", two_shots, rank, workers)


def one_shot_follows_the_formulas(rank, workers, folder):
    _follows("all-gather", one_shot, rank, workers)


KINDS = [
    c.ErrorFeedback(c.Blockwise(bits=4, block=32)),
    c.ErrorFeedback(c.Blockwise(bits=1), step="outside"),
    c.ErrorFeedback(c.TopK(fraction=0.05)),
    c.ErrorFeedback(c.RandK(fraction=0.1, scaled=False)),
    c.ErrorFeedback(c.RandomSparsification(4.0, scaled=False)),
    c.ErrorFeedback(c.QSGD(4)),
    c.ErrorFeedback(c.NaturalCompression()),
    c.ErrorFeedback(c.ScaledSign()),
    c.ErrorFeedback(c.Identity()),
]


def nothing_is_lost(rank, workers, folder):
    """Σ mean difference = Σ M + mean e + r, whatever the codec: with an outer SGD of rate 1 the point moves by −M."""
    for compressor in KINDS:
        for exchange in ("two-shot", "all-gather"):
            model = perceptron()
            local = sst.LocalSteps(model, adam(model), 2, compressor, plain(model), exchange)
            begin, given = vector(model), 0
            for turn in range(3):
                before = vector(model)
                train(model, local, rank, 2 * turn, 2 * turn + 1)
                optimizer_step_without_exchange(model, local, rank, 2 * turn + 1)
                given = given + torch.stack(of_all(before - vector(model), workers)).mean(0)
                local.synchronize()
                assert_same_everywhere(vector(model), workers)
            left = torch.stack(of_all(local.memory, workers)).mean(0)
            left = left + torch.cat(_kept(local, workers)) if exchange == "two-shot" else left
            torch.testing.assert_close(begin - vector(model) + left, given, rtol=1e-9, atol=1e-12)


def _kept(local, workers):
    found = [None] * workers
    dist.all_gather_object(found, local.kept)
    return found


def with_dense_messages_it_is_data_parallel_descent(rank, workers, folder):
    model, reference = perceptron(), perceptron()
    local = sst.LocalSteps(model, plain(model, 0.1), 1, c.Identity(), plain(model))
    for step in range(5):
        train(model, local, rank, step, step + 1)
        gradients = torch.autograd.grad(
            sum(loss(reference, batch(worker, step)) for worker in range(workers)) / workers, reference.parameters()
        )
        with torch.no_grad():
            for parameter, gradient in zip(reference.parameters(), gradients):
                parameter -= 0.1 * gradient
    torch.testing.assert_close(vector(model), vector(reference), rtol=1e-10, atol=1e-12)


def the_bytes_are_those_of_the_messages(rank, workers, folder):
    model = nn.Linear(640, 256, bias=False)
    for exchange, copies in (("two-shot", 2 * (workers - 1) / workers), ("all-gather", workers - 1)):
        local = sst.LocalSteps(model, plain(model), 1, c.ErrorFeedback(c.Blockwise(2)), exchange=exchange)
        model(torch.ones(1, 640)).sum().backward()
        local.step()
        message = c.Blockwise(2).bits(640 * 256) / 8
        found = local.telemetry()
        assert found["bytes_sent"] == pytest.approx(copies * message, rel=0.02)
        assert found["bytes_total"] == found["bytes_sent"] and found["bytes_payload"] > 0


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_exchange(workers):
    together(
        workers,
        two_shots_follow_the_formulas,
        one_shot_follows_the_formulas,
        with_dense_messages_it_is_data_parallel_descent,
        the_bytes_are_those_of_the_messages,
    )


def test_nothing_is_lost():
    together(3, nothing_is_lost)


# Rounds, and what is not exchanged


def rounds_grow(rank, workers, folder):
    model = perceptron()
    local = sst.LocalSteps(model, adam(model), every=(2, 6), compressor=Q2, total=16)
    ends = []
    for step in range(24):
        before = local.telemetry()["rounds"]
        train(model, local, rank, step, step + 1)
        if local.telemetry()["rounds"] > before:
            ends.append(step + 1)
    assert ends == [2, 4, 7, 11, 16, 22]
    assert local.every == 6
    local.synchronize()
    assert local.telemetry()["rounds"] == 7 and local.telemetry()["steps"] == 24
    local.synchronize()  # nothing to do
    assert local.telemetry()["rounds"] == 7


class Normed(nn.Module):
    """With a buffer that is averaged, one that is not, and a parameter that is frozen."""

    def __init__(self):
        super().__init__()
        self.body, self.norm = perceptron(torch.float32)[:2], nn.BatchNorm1d(40)
        self.head, self.frozen = nn.Linear(40, 1), nn.Linear(6, 1)
        self.register_buffer("mask", torch.ones(3))
        self.frozen.requires_grad_(False)

    def forward(self, x):
        return self.head(self.norm(self.body(x))) + self.frozen(x)


def normed(rank, every=3, compressor=Q2, **options):
    torch.manual_seed(rank)
    model = Normed()
    optimizer = adam(model)
    return model, sst.LocalSteps(model, optimizer, every, compressor, **options)


def train_single(model, local, rank, first, last):
    for step in range(first, last):
        local.optimizer.zero_grad()
        loss(model, batch(rank, step, torch.float32)).backward()
        local.step()


def buffers_are_averaged(rank, workers, folder):
    model, local = normed(rank)
    begin = model.frozen.weight.clone()
    assert_same_everywhere(begin, workers)
    train_single(model, local, rank, 0, 2)
    optimizer_only(model, local, rank, 2)
    means = torch.stack(of_all(model.norm.running_mean, workers)).mean(0)
    assert not torch.allclose(means, model.norm.running_mean)
    sent = local.telemetry()["bytes_total"]
    local.synchronize()
    torch.testing.assert_close(model.norm.running_mean, means)
    assert_same_everywhere(model.norm.running_var, workers)
    assert int(model.norm.num_batches_tracked) == 3 and torch.equal(model.frozen.weight, begin)
    assert local.telemetry()["bytes_total"] > sent + 2 * 40 * 8 * 2 * (workers - 1) / workers


def optimizer_only(model, local, rank, step):
    local.optimizer.zero_grad()
    loss(model, batch(rank, step, torch.float32)).backward()
    local.optimizer.step()


def schedulers_and_scalers_work(rank, workers, folder):
    model = perceptron(torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    local = sst.LocalSteps(model, optimizer, 4, Q2, scaler=scaler)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    for step in range(8):
        optimizer.zero_grad()
        scaler.scale(loss(model, batch(rank, step, torch.float32))).backward()
        if rank == 1 and step == 1:
            next(model.parameters()).grad[0] = math.inf  # this worker alone leaves out a step
        local.step()
        scaler.update()
        schedule.step()
    assert local.telemetry()["rounds"] == 2 and local.telemetry()["skipped"] == 0
    assert scaler.get_scale() == (2.0**9 if rank == 1 else 2.0**10)
    assert_same_everywhere(vector(model), workers)


def half_precision_starts_from_a_point_in_single(rank, workers, folder):
    model = perceptron(torch.bfloat16)
    local = sst.LocalSteps(model, plain(model, 1e-4), 1, c.ErrorFeedback(c.Identity()), plain(model))
    begin = local.anchor.point.clone()
    assert begin.dtype == torch.float32
    local.meter.since = 1
    local.synchronize()  # nobody moved: rounding is no difference
    assert torch.equal(local.anchor.point, begin)
    train_half(model, local, rank)
    assert_same_everywhere(vector(model).float(), workers)
    assert torch.equal(vector(model), local.anchor.point.bfloat16())


def train_half(model, local, rank):
    for step in range(3):
        local.optimizer.zero_grad()
        loss(model, batch(rank, step, torch.bfloat16)).backward()
        local.step()


def an_outer_optimizer_is_taken_over(rank, workers, folder):
    model = perceptron()
    body, head = list(model.parameters())[:-1], list(model.parameters())[-1:]
    outer = torch.optim.SGD([{"params": body}, {"params": head, "lr": 0.0}], lr=1.0)
    local = sst.LocalSteps(model, adam(model), 2, Q2, outer)
    begin = head[0].detach().clone()
    train(model, local, rank, 0, 4)
    assert torch.equal(head[0], begin) and local.outer is outer
    assert_same_everywhere(vector(model), workers)


def test_rounds():
    together(
        2,
        rounds_grow,
        buffers_are_averaged,
        schedulers_and_scalers_work,
        half_precision_starts_from_a_point_in_single,
        an_outer_optimizer_is_taken_over,
    )


# What breaks


def a_bad_worker_makes_all_go_back(rank, workers, folder):
    model, local = normed(rank)
    train_single(model, local, rank, 0, 3)
    begin, memory, kept = vector(model), local.memory.clone(), local.kept.clone()
    mean, outer = model.norm.running_mean.clone(), local.outer.state_dict()["state"][0]["momentum_buffer"].clone()
    train_single(model, local, rank, 3, 5)
    if rank == 1:
        with torch.no_grad():
            model.norm.running_mean[0] = math.nan
    optimizer = local.optimizer
    optimizer.zero_grad()
    loss(model, batch(rank, 5, torch.float32)).backward()
    if rank == 1:
        model.head.weight.grad[0, 0] = math.nan
    local.step()
    assert torch.equal(vector(model), begin) and torch.equal(model.norm.running_mean, mean)
    assert torch.equal(local.memory, memory) and torch.equal(local.kept, kept)
    assert torch.equal(local.outer.state_dict()["state"][0]["momentum_buffer"], outer)
    assert (model.head.weight in optimizer.state) == (rank != 1) and model.norm.weight in optimizer.state
    assert local.telemetry()["skipped"] == 1 and local.telemetry()["rounds"] == 2
    train_single(model, local, rank, 6, 9)
    assert local.telemetry()["skipped"] == 1 and vector(model).isfinite().all()
    assert_same_everywhere(vector(model), workers)


def too_many_skips_raise(rank, workers, folder):
    model = perceptron()
    local = sst.LocalSteps(model, plain(model, math.inf), 1, Q2, max_consecutive_skips=3)
    begin = vector(model)
    with pytest.warns(UserWarning, match="1 of 1 rounds were skipped") if rank == 0 else _nothing():
        train(model, local, rank, 0, 2)
    with pytest.raises(InvalidInput, match=r"3 rounds in a row were skipped \(3 of 3 rounds of this run\)"):
        train(model, local, rank, 2, 3)
    assert torch.equal(vector(model), begin)


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def overflowing_means_are_skipped_alike(rank, workers, folder):
    """Every difference is finite, but their sum is not."""
    model = nn.Linear(40, 4, bias=False)
    local = sst.LocalSteps(model, plain(model), 1, Q2)
    begin = vector(model)
    with torch.no_grad():
        model.weight.fill_(-3e38)
    local.meter.steps = local.meter.since = 1
    local.synchronize()
    assert local.telemetry()["skipped"] == 1 and torch.equal(vector(model), begin)


def workers_that_were_told_different_things_refuse(rank, workers, folder):
    model = perceptron()
    with pytest.raises(InvalidInput, match="the workers differ: every is 2 on worker 0, but 3 on worker 1"):
        sst.LocalSteps(model, adam(model), every=2 + (rank == 1), compressor=Q2)
    with pytest.raises(InvalidInput, match=r"the workers differ: outer is .*0\.7.* on worker 1"):
        sst.LocalSteps(model, adam(model), 2, Q2, torch.optim.SGD(model.parameters(), lr=0.5 + 0.2 * rank))


def other_parameters_are_refused(rank, workers, folder):
    model = perceptron()
    local = sst.LocalSteps(model, adam(model), 2, Q2)
    train(model, local, rank, 0, 1)
    model[0].weight.requires_grad_(False)
    with pytest.raises(InvalidInput, match="are others than when LocalSteps was made; call synchronize"):
        train(model, local, rank, 1, 2)


def workers_at_different_steps_are_refused(rank, workers, folder):
    model = perceptron()
    local = sst.LocalSteps(model, adam(model), 2, Q2)
    train(model, local, rank, 0, 1)
    local.meter.steps += 2 * rank
    with pytest.raises(InvalidInput, match="the workers are at different steps, 2, 4, 6"):
        train(model, local, rank, 1, 2)


def a_dying_worker_is_noticed(rank, workers, folder):
    model = perceptron()
    local = sst.LocalSteps(model, adam(model), 2, Q2)
    train(model, local, rank, 0, 3)
    memory = local.memory.clone()
    if rank == 1:
        os._exit(9)
    with pytest.raises(RuntimeError, match="The exchange of differences failed because a worker is gone") as caught:
        train(model, local, rank, 3, 4)
    assert str(caught.value).endswith("restart all workers from the last checkpoint.")
    assert torch.equal(local.memory, memory) and vector(model).isfinite().all()


def test_what_breaks():
    together(
        3,
        a_bad_worker_makes_all_go_back,
        too_many_skips_raise,
        overflowing_means_are_skipped_alike,
        workers_that_were_told_different_things_refuse,
        other_parameters_are_refused,
        workers_at_different_steps_are_refused,
        a_dying_worker_is_noticed,
    )


def a_worker_dies_between_the_shots(rank, workers, folder):
    model = perceptron()
    local = sst.LocalSteps(model, adam(model), 2, Q2)
    train(model, local, rank, 0, 3)
    memory, point = local.memory.clone(), local.anchor.point.clone()
    if rank == 1:
        shot.gathered = lambda *_: os._exit(9)
    with pytest.raises(RuntimeError, match="The exchange of differences failed because a worker is gone"):
        train(model, local, rank, 3, 4)
    assert torch.equal(local.memory, memory) and torch.equal(local.anchor.point, point)


def test_a_death_between_the_shots():
    together(3, a_worker_dies_between_the_shots)


# Checkpoints


RESUMED = {
    "blockwise": dict(compressor=Q2),
    "random": dict(compressor=c.ErrorFeedback(c.QSGD(4)), seed=5),
    "gathered": dict(compressor=c.ErrorFeedback(c.Blockwise(bits=4)), exchange="all-gather"),
    "growing": dict(every=(2, 8), total=14),
    "plain": dict(compressor=c.Blockwise(bits=4)),
}


def resumed_in_the_middle_of_a_round(rank, workers, folder):
    for name, options in RESUMED.items():
        model, local = normed(rank, **options)
        train_single(model, local, rank, 0, 7)
        assert local.meter.since > 0
        torch.save(
            {"local": local.state_dict(), "optimizer": local.optimizer.state_dict()}, folder / f"{name}{rank}.pt"
        )
        train_single(model, local, rank, 7, 14)
        fresh, again = normed(rank + 10, **options)
        saved = torch.load(folder / f"{name}{rank}.pt", weights_only=True)
        again.load_state_dict(saved["local"])
        again.optimizer.load_state_dict(saved["optimizer"])
        train_single(fresh, again, rank, 7, 14)
        for key, value in model.state_dict().items():
            assert torch.equal(fresh.state_dict()[key], value), (name, key)
        assert torch.equal(again.memory, local.memory) and torch.equal(again.kept, local.kept)
        found, wanted = again.telemetry(), local.telemetry()
        assert found == wanted


def a_state_of_another_run_is_refused(rank, workers, folder):
    model, local = normed(rank)
    state = local.state_dict()
    begin = vector(model)
    for options, message in [
        (
            dict(compressor=c.ErrorFeedback(c.Blockwise(4))),
            "compressor is .*bits=4.*, but the saved run has .*block=64",
        ),
        (dict(every=4), "every is 4, but the saved run has 3; resume with that one"),
        (dict(exchange="all-gather"), 'exchange is "all-gather", but the saved run has "two-shot"'),
        (dict(seed=1), "seed is 1, but"),
        (dict(outer=torch.optim.Adagrad(model.parameters())), 'outer is "Adagrad", but the saved run has "SGD"'),
    ]:
        arguments = dict(every=3, compressor=Q2) | options
        other = sst.LocalSteps(model, adam(model), **arguments)
        with pytest.raises(InvalidInput, match=message) as caught:
            other.load_state_dict(state)
        assert "\n" not in str(caught.value)
    for change, message in [
        (dict(rank=rank + 1), "each worker saves and loads its own"),
        (dict(workers=9), f"there are {workers} workers, but the saved run has 9"),
        (
            dict(settings=local.settings | {"sizes": [3, 4]}),
            "other parameters: 2 with 7 entries as torch.float32, but the model has 6",
        ),
        (dict(buffers={}), "other buffers"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            local.load_state_dict({**state, **change})
    with pytest.raises(InvalidInput, match="the saved state lacks before, buffers"):
        local.load_state_dict({"settings": {}})
    assert torch.equal(vector(model), begin)


def test_checkpoints():
    together(3, resumed_in_the_middle_of_a_round, a_state_of_another_run_is_refused)


# Learning


def it_learns_like_the_dense_optimizer(rank, workers, folder):
    """The same batches and rate: the loss that AdamW on the mean gradient reaches, with a hundredth of the bytes."""
    model, reference = perceptron(torch.float32), perceptron(torch.float32)
    local = sst.LocalSteps(model, adam(model), every=8, compressor=Q2)
    optimizer = adam(reference)
    for step in range(240):
        train_single(model, local, rank, step, step + 1)
        optimizer.zero_grad()
        (sum(loss(reference, batch(worker, step, torch.float32)) for worker in range(workers)) / workers).backward()
        optimizer.step()
    held = torch.cat([batch(worker, 10_000 + k, torch.float32) for worker in range(4) for k in range(20)])
    begin, dense, ours = (float(loss(m, held)) for m in (perceptron(torch.float32), reference, model))
    assert dense < begin / 20 and ours < 2 * dense
    assert local.telemetry()["bytes_total"] < 240 * 4 * len(vector(model)) * 2 * (workers - 1) / workers / 80


def test_learning():
    together(2, it_learns_like_the_dense_optimizer)
