"""Low rank: equal to JAX for one worker and to dense algebra for several, at sizes that no number of workers divides."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch.exchange.matrix import sent_matrix
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.wire.low_rank import LowRankCodec, orthonormal
from stablestep.torch.wire.masks import DenseCodec
from stablestep.torch.wire.randomness import drawer
from stablestep.torch.wire.transmit import Channel
from tests.torch.group import together
from tests.torch.models import batch, gradients, loss, of_all, perceptron, wrapped
from tests.torch.runs import Run
from tests.torch.test_memory import normal
from tests.torch.test_memory_hook import same

RANKS = (1, 2, 4)
SHAPES = [(40, 6), (40,), (20, 40), (20,), (1, 20), (1,)]  # of the perceptron
NORM = 16  # bytes


class Matrices:
    """The workers of one matrix without processes."""

    def __init__(self, compressor, shape, workers, seed, scale=1.0):
        self.settings, self.shape, self.workers = Settings(compressor, "own", seed), shape, workers
        self.kept, self.step, self.scale = [None] * workers, 0, scale

    def exchange(self, gradients):
        flats = [gradient.flatten() * self.scale for gradient in gradients]
        codec, chain = self.settings.coding_for(torch.nn.Parameter(gradients[0]), begun=self.kept[0] is not None)

        def draw(worker):
            return drawer(gradients[0], self.settings.seed, self.step, 0, worker)

        channel = Channel(codec, self.workers, False, draw)
        both = zip(flats, self.kept)
        going = [sent_matrix(channel, codec, flat, 0, self.scale, chain, kept) for flat, kept in both]
        self._sum(going)
        self._sum([one.second for one in going])
        self.kept, self.step = [one.sending.after for one in going], self.step + 1
        return flats[0].view(self.shape) / self.scale

    def _sum(self, going):
        mean = sum(one.payload for one in going) / self.workers
        for one in going:
            one.from_sum(mean)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("dtype", "scale"), [(torch.float64, 1.0), (torch.float32, 256.0)])
@pytest.mark.parametrize("momentum", [False, True])
def test_one_worker_is_one_agent_of_the_library(rank, dtype, scale, momentum, seed):
    shape, low = (13, 11), c.LowRank(rank=rank, shape=(13, 11))
    agent, hooked = low, c.LowRank(rank=rank)
    if momentum:
        agent, hooked = (c.Momentum(one, beta=0.6) for one in (agent, hooked))
    matrices = normal(seed, 6, *shape, dtype=dtype)
    workers, send = Matrices(hooked, shape, 1, seed, scale), eqx.filter_jit(agent.send)
    memory = agent.memory(*2 * [jnp.asarray(matrices[0].flatten().numpy())])
    for step, gradient in enumerate(matrices):
        uniform = jnp.asarray(drawer(gradient, seed, step, 0)(agent.draws(143)).numpy())
        message, memory = send(uniform, jnp.asarray(gradient.flatten().numpy()), memory, jnp.nan)
        tolerance = 1e-10 if dtype == torch.float64 else 2e-3
        found = workers.exchange([gradient]).flatten().numpy()
        np.testing.assert_allclose(found, message, rtol=tolerance, atol=tolerance)


def test_a_matrix_of_low_rank_goes_through(seed):
    for rank in RANKS:
        one = normal(seed, 17, rank) @ normal(seed + 1, rank, 13)
        torch.testing.assert_close(Matrices(c.LowRank(rank=rank), (17, 13), 1, seed).exchange([one]), one)


def test_a_lost_column_comes_back(seed):
    """After a gradient of rank 1, and one of 0, both columns are there again."""
    first, other = normal(seed, 9, 1) @ normal(seed + 1, 1, 8), normal(seed + 2, 9, 2) @ normal(seed + 3, 2, 8)
    workers = Matrices(c.LowRank(rank=2), (9, 8), 1, seed)
    for gradient in (first, torch.zeros(9, 8, dtype=torch.float64), other):
        torch.testing.assert_close(workers.exchange([gradient]), gradient)


def test_nothing_is_lost(seed):
    workers, matrices = Matrices(c.LowRank(rank=2), (9, 8), 3, seed), normal(seed, 5, 3, 9, 8)
    arrived = sum(workers.exchange(now.unbind()) for now in matrices)
    left = sum(kept[-1]["error"] for kept in workers.kept).view(9, 8) / 3
    torch.testing.assert_close(arrived + left, matrices.mean(1).sum(0), rtol=1e-11, atol=1e-11)


def test_the_warm_start_finds_the_best_matrix(seed):
    """The same gradient again and again without its error: a power iteration."""
    matrix = normal(seed, 30, 20)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    best = (left[:, :2] * values[:2]) @ right[:2]
    workers = Matrices(c.LowRank(rank=2), (30, 20), 1, seed)
    errors = []
    for _ in range(200):
        errors.append(float((workers.exchange([matrix]) - matrix).norm()))
        workers.kept[0][-1]["error"].zero_()
    assert errors[-1] == pytest.approx(float((best - matrix).norm()), rel=1e-3) and errors[0] > 1.01 * errors[-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_orthonormal(dtype, seed):
    matrix = normal(seed, 50, 5, dtype=dtype) * torch.tensor([1.0, 1e-20, 1e20, 1.0, 1.0], dtype=dtype)
    matrix[:, 3] = 2 * matrix[:, 0] - matrix[:, 4]
    found = orthonormal(matrix[:, :4])
    torch.testing.assert_close(
        found.T @ found, torch.eye(4, dtype=dtype), rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-13
    )
    assert not orthonormal(matrix[:, [0, 4, 3]])[:, 2].any() and not orthonormal(torch.zeros(3, 2)).any()


def test_what_is_sent_as_a_matrix():
    codec = LowRankCodec(c.LowRank(rank=2))
    for shape, matrix in (
        ((40, 6), (40, 6)),
        ((8, 3, 2, 2), (8, 12)),
        ((40,), None),
        ((), None),
        ((4, 4), None),
        ((1, 50), None),
    ):
        found = codec.shaped(shape)
        assert isinstance(found, DenseCodec if matrix is None else LowRankCodec) and codec.shaped(shape) is found
        assert matrix is None or found.shape == matrix


def test_the_library_states_what_is_true():
    assert c.LowRank(rank=2).matrix(12) == (3, 4) and c.LowRank(rank=2).dense(12) and not c.LowRank(rank=1).dense(12)
    assert c.LowRank(rank=1).bits(13) == 32 * 13 and c.LowRank(rank=1, shape=(2, 9)).bits(18) == 32 * 11
    with pytest.raises(InvalidInput, match=r"shape is \(2, 9\), with 18 entries, but the gradient has 12;"):
        c.LowRank(rank=1, shape=(2, 9)).check(12)
    with pytest.raises(InvalidInput, match=r"shape is \(2, 9\), but in the hook every parameter has its own"):
        sst.HookState(c.LowRank(rank=1, shape=(2, 9)))
    for wrong in (dict(rank=0), dict(rank=1.5), dict(shape=(3,)), dict(shape=(3, 0)), dict(shape=7)):
        with pytest.raises(InvalidInput):
            c.LowRank(**wrong)
    for wrapper in (c.ErrorFeedback, c.EF21):
        with pytest.raises(InvalidInput, match="LowRank remembers its error itself; use it without"):
            sst.HookState(wrapper(c.LowRank()))
    with pytest.raises(InvalidInput, match="LowRank remembers"):
        sst.compress(c.LowRank(), torch.rand(9), torch.ones(9))
    with pytest.raises(InvalidInput, match="does not send signs"):
        sst.HookState(c.LowRank(), vote="majority")


# Real processes


def run_of(rank, dtype=torch.float32, scaler=None, **options):
    return Run(c.LowRank(rank=rank), dtype=dtype, scaler=scaler, group_bytes=2000, **options)


class Dense:
    """The method by dense algebra in one process, from all workers' gradients."""

    def __init__(self, shape, rank, workers):
        self.saves = len(shape) == 2 and rank * sum(shape) < math.prod(shape)
        self.error, self.right, self.rank = torch.zeros(workers, *shape, dtype=torch.float64), None, rank

    def message(self, gradients, draw):
        wanted = self.error + gradients
        mean = wanted.mean(0)
        if not self.saves:
            return mean
        if self.right is None:
            self.right = 2 * draw(mean.shape[1] * self.rank).view(-1, self.rank) - 1
        left = torch.linalg.qr(mean @ self.right).Q
        self.right, self.error = mean.T @ left, wanted - left @ (left.T @ wanted)
        return left @ (left.T @ mean)


def equal_to_dense_algebra(rank, workers, folder):
    for low in RANKS:
        for options in ({}, {"static_graph": True}, {"gradient_as_bucket_view": True}):
            state = sst.HookState(c.LowRank(rank=low), seed=3, group_bytes=2000, mask="own")
            model = wrapped(perceptron(), state, **options)
            dense = [Dense(shape, low, workers) for shape in SHAPES]
            for step in range(4):
                model.zero_grad()
                x = batch(rank, step)
                own = gradients(model.module, x)
                loss(model, x).backward()
                for parameter, gradient, one in zip(model.parameters(), own, dense):
                    number = state.run.roster.number(parameter)
                    both = torch.stack(of_all(gradient, workers)).view(workers, *parameter.shape)
                    wanted = one.message(both, drawer(gradient, 3, step, number))
                    torch.testing.assert_close(parameter.grad, wanted, rtol=1e-9, atol=1e-10)
                    if one.saves and step == 3:
                        error = state.state_dict()["memory"][number]["0.error"].view_as(parameter)
                        torch.testing.assert_close(error, one.error[rank], rtol=1e-9, atol=1e-10)
                        with pytest.raises(AssertionError):  # the mean without its projection
                            torch.testing.assert_close(parameter.grad, both.mean(0), rtol=1e-2, atol=1e-2)


def bytes_are_counted(rank, workers, folder):
    for low in RANKS:
        run = run_of(low).train(rank, range(2))
        numbers = sum(
            low * sum(shape) if len(shape) == 2 and low * sum(shape) < math.prod(shape) else math.prod(shape)
            for shape in SHAPES
        )
        tail = workers * (NORM + 1)
        found = run.state.telemetry()
        assert found["bytes_payload"] == 4 * (numbers + tail)
        assert found["bytes_sent"] == pytest.approx(found["bytes_payload"] * 2 * (workers - 1) / workers)
        assert 0 < found["compression_error"] < 1


def a_skipped_step_changes_no_memory(rank, workers, folder):
    for bad in (math.nan, math.inf):
        run = run_of(2).train(rank, range(3))
        before, there = run.memory(), run.parameters()
        run.train(rank, [3], bad)
        assert run.state.telemetry()["skipped"] == 1
        assert same(before, run.memory()) and torch.equal(there, run.parameters())
        run.train(rank, [4])
        assert not same(before, run.memory()) and run.parameters().isfinite().all()


def resuming_is_bit_identical(rank, workers, folder):
    for compressor in (c.LowRank(rank=2), c.Momentum(c.LowRank(rank=1), beta=0.7)):
        path = folder / f"{rank}.pt"
        whole = Run(compressor, group_bytes=2000).train(rank, range(6))
        first = Run(compressor, group_bytes=2000).train(rank, range(3))
        torch.save({name: part.state_dict() for name, part in first.parts.items()}, path)
        saved, resumed = torch.load(path, weights_only=True), Run(compressor, group_bytes=2000)
        for name, part in resumed.parts.items():
            part.load_state_dict(saved[name])
        resumed.train(rank, range(3, 6))
        assert torch.equal(whole.parameters(), resumed.parameters()) and same(whole.memory(), resumed.memory())
        assert whole.state.telemetry() == resumed.state.telemetry()


def a_grad_scaler_changes_nothing(rank, workers, folder):
    plain = run_of(2).train(rank, range(4))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_factor=4.0, growth_interval=1)
    scaled = run_of(2, scaler=scaler).train(rank, range(4))
    assert same(plain.memory(), scaled.memory()) and torch.equal(plain.parameters(), scaled.parameters())


def half_gradients_are_sent_as_halves(rank, workers, folder):
    run = run_of(2, torch.bfloat16).train(rank, range(3))
    assert {t.dtype for one in run.memory().values() for t in one.values()} == {torch.float32}
    full = run_of(2).train(rank, range(3))
    assert run.state.telemetry()["bytes_payload"] == full.state.telemetry()["bytes_payload"] / 2
    assert run.parameters().isfinite().all()


def all_workers_remember_the_same_factor(rank, workers, folder):
    for name, tensor in ((n, t) for one in run_of(2).train(rank, range(3)).memory().values() for n, t in one.items()):
        everyone = of_all(tensor, workers)
        assert name.endswith("error") or all(torch.equal(tensor, other) for other in everyone)


def a_dying_worker_is_noticed(rank, workers, folder):
    run = run_of(2).train(rank, range(2))
    if rank == 1:
        import os

        os._exit(9)
    with pytest.raises(RuntimeError, match="a worker is gone or the network is down"):
        run.train(rank, [2])


def one_matrix_of_other_columns(rank, workers, folder):
    first = wrapped(nn.Linear(12, 20, bias=False), state := sst.HookState(c.LowRank(rank=1)))
    first(batch(rank, 0, torch.float32).repeat(1, 2)).sum().backward()
    late = sst.HookState(c.LowRank(rank=1))
    late.load_state_dict(state.state_dict())
    other = wrapped(nn.Linear(20, 12, bias=False), late)
    with pytest.raises(InvalidInput, match="memory is of a matrix with 12 columns, but the parameter has 20"):
        other(torch.ones(1, 20)).sum().backward()


CHECKS = (
    equal_to_dense_algebra,
    bytes_are_counted,
    a_skipped_step_changes_no_memory,
    resuming_is_bit_identical,
    all_workers_remember_the_same_factor,
)


def test_two_workers():
    together(2, *CHECKS, a_grad_scaler_changes_nothing, half_gradients_are_sent_as_halves, one_matrix_of_other_columns)


def test_three_workers():
    together(3, *CHECKS)


def test_a_worker_dies():
    together(2, a_dying_worker_is_noticed, limit=45)
