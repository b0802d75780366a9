"""FSDP2: shards inside a replica, compressed messages across replicas, on a 2×2 mesh of gloo workers."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.utils.checkpoint
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.optim import SGD, AdamW

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch import rule
from tests.torch.group import together
from tests.torch.models import Branches, batch, gradients, loss, of_all, perceptron, wrapped
from tests.torch.test_memory_hook import same

METHODS = [
    (c.ErrorFeedback(c.TopK(fraction=0.1)), "shared"),
    (c.EF21(c.RandomSparsification(3.0, scaled=False)), "own"),
    (c.Momentum(c.EF21(c.TopK(fraction=0.1), warm=True), beta=0.8, warm=True), "own"),
    (c.ErrorFeedback(c.QSGD(4)), "own"),
    (c.Momentum(c.Sign(), beta=0.9), "own"),
    (c.RandK(fraction=0.2), "shared"),
    (c.LowRank(rank=2), "own"),
]


def meshes(workers, shards):
    return init_device_mesh("cpu", (workers // shards, shards), mesh_dim_names=("rep", "shard"))


def sharded(mesh, module=None, units=True, **options):
    model = perceptron() if module is None else module
    if units:
        for layer in (model[0], model[2]):
            fully_shard(layer, mesh=mesh, **options)
    return fully_shard(model, mesh=mesh, **options)


def whole(tensor):
    return tensor.full_tensor().detach()


class Run:
    """A training run of a sharded model that can be saved and resumed."""

    def __init__(
        self, mesh, compressor, mask="shared", make=lambda p: SGD(p, lr=0.1, momentum=0.9), scaler=None, **options
    ):
        self.model = sharded(mesh["shard"], **options)
        self.state = sst.HookState(compressor, mask=mask, seed=3, scaler=scaler)
        sst.register(self.model, self.state, replicas=mesh.get_group("rep"))
        self.optimizer = sst.StableStep(make(self.model.parameters()), self.state, rule.LocalNorms(eta0=0.1))

    def train(self, rank, steps, bad=None):
        for step in steps:
            self.optimizer.zero_grad()
            x = batch(rank, step)
            if bad is not None and rank == 3:
                x[0, 0] = bad
            loss(self.model, x).backward()
            self.optimizer.step()
        return self

    def parameters(self):
        return torch.cat([whole(parameter).flatten() for parameter in self.model.parameters()])

    def memory(self):
        return self.state.state_dict()["memory"]


def identity_is_native(rank, workers, folder):
    """Bit for bit, so FSDP's own division by the size of a replica and ours by the number of replicas are the right ones."""
    mesh = meshes(workers, 2)
    for units in (True, False):
        for policy in (MixedPrecisionPolicy(), MixedPrecisionPolicy(reduce_dtype=torch.bfloat16)):
            native = sharded(mesh, units=units, mp_policy=policy)
            ours = sharded(mesh["shard"], units=units, mp_policy=policy)
            sst.register(ours, sst.HookState(c.Identity()), replicas=mesh.get_group("rep"))
            for step in range(3):
                for model in (native, ours):
                    model.zero_grad()
                    for accumulated in range(2):
                        model.set_requires_gradient_sync(bool(accumulated))
                        loss(model, batch(rank, 2 * step + accumulated)).backward()
                for left, right in zip(native.parameters(), ours.parameters()):
                    torch.testing.assert_close(whole(left.grad), whole(right.grad), rtol=1e-12, atol=1e-14)


def norms_are_those_of_whole_gradients(rank, workers, folder):
    mesh = meshes(workers, 2)
    run, plain = Run(mesh, c.Identity()), perceptron()
    for step in range(2):
        plain.load_state_dict({name: whole(value) for name, value in run.model.state_dict().items()})
        own = torch.cat(gradients(plain, batch(rank, step)))
        everyone = of_all(own, workers)
        wanted = [float((everyone[2 * replica] + everyone[2 * replica + 1]).norm() / 2) for replica in range(2)]
        run.train(rank, [step])
        found = run.state.telemetry()
        assert run.state.run.meter.norms == pytest.approx(wanted, rel=1e-12)
        assert found["mean_norm"] == pytest.approx(sum(wanted) / 2, rel=1e-12)
        assert found["step"] == pytest.approx(0.1 / (1 + sum(wanted) / 2), rel=1e-12)
        if step == 0:
            mean = sum(everyone) / workers
            before = torch.cat([value.flatten() for value in plain.state_dict().values()])
            torch.testing.assert_close(run.parameters(), before - found["step"] * mean, rtol=1e-11, atol=1e-13)


def one_shard_is_the_hook_of_ddp(rank, workers, folder):
    """A mesh of replicas only: messages, memories, norms and steps are those of DDP, whatever the units."""
    mesh = meshes(workers, 1)
    for number, (compressor, mask) in enumerate(METHODS):
        ours, state = Run(mesh, compressor, mask, units=bool(number % 2)), sst.HookState(compressor, mask=mask, seed=3)
        ddp = wrapped(perceptron(), state)
        optimizer = sst.StableStep(SGD(ddp.parameters(), lr=0.1, momentum=0.9), state, rule.LocalNorms(eta0=0.1))
        for step in range(4):
            optimizer.zero_grad()
            loss(ddp, batch(rank, step)).backward()
            optimizer.step()
            ours.train(rank, [step])
            there = torch.cat([parameter.detach().flatten() for parameter in ddp.parameters()])
            torch.testing.assert_close(ours.parameters(), there, rtol=1e-10, atol=1e-12)
            left, right = ours.state.telemetry(), state.telemetry()
            for name in ("mean_norm", "local_norm", "compression_error", "step", "exchanges"):
                assert left[name] == pytest.approx(right[name], rel=1e-8), (compressor, name)
        memory = state.state_dict()["memory"]
        assert memory.keys() == ours.memory().keys()
        for key, kept in memory.items():
            for name, tensor in kept.items():
                torch.testing.assert_close(ours.memory()[key][name], tensor, rtol=1e-9, atol=1e-11)


def every_shard_is_compressed_by_itself(rank, workers, folder):
    """Error feedback across replicas: what arrived and what is left in the memories is the sum of all gradients."""
    mesh = meshes(workers, 2)
    for compressor, mask in METHODS[:1] + METHODS[3:4] + METHODS[6:]:
        model, state = sharded(mesh["shard"]), sst.HookState(compressor, mask=mask)
        sst.register(model, state, replicas=mesh.get_group("rep"))
        plain = perceptron()
        arrived = [torch.zeros_like(p) for p in plain.parameters()]
        wanted = [torch.zeros_like(p).flatten() for p in plain.parameters()]
        for step in range(3):
            model.zero_grad()
            loss(model, batch(rank, step)).backward()
            for total, parameter in zip(arrived, model.parameters()):
                total += whole(parameter.grad)
            for total, gradient in zip(wanted, gradients(plain, batch(rank, step))):
                total += sum(of_all(gradient, workers)) / workers
        for number, (parameter, got, sent) in enumerate(zip(model.parameters(), arrived, wanted)):
            kept = state.state_dict()["memory"].get(number, {})
            error = kept.get("0.error", torch.zeros(parameter.to_local().numel(), dtype=torch.float64)).clone()
            dist.all_reduce(error, group=mesh.get_group("rep"))
            parameter.grad.to_local().copy_(error.view_as(parameter.grad.to_local()) / 2)
            torch.testing.assert_close(got.flatten() + whole(parameter.grad).flatten(), sent, rtol=1e-9, atol=1e-11)


def shards_have_masks_of_their_own(rank, workers, folder):
    mesh = meshes(workers, 2)
    model = fully_shard(nn.Linear(6, 40, bias=False), mesh=mesh["shard"])
    sst.register(model, sst.HookState(c.RandK(fraction=0.5)), replicas=mesh.get_group("rep"))
    model(torch.ones(1, 6)).sum().backward()
    kept = whole(model.weight.grad).view(2, -1) != 0
    assert kept.sum(1).tolist() == [60, 60] and not torch.equal(*kept)


def a_skipped_step_changes_no_memory(rank, workers, folder):
    """The bad gradient is that of one worker of one replica, and not in every shard."""
    mesh = meshes(workers, 2)
    for compressor, mask in METHODS:
        for bad in (math.nan, math.inf):
            run = Run(mesh, compressor, mask).train(rank, range(3))
            before, there = run.memory(), run.parameters()
            run.train(rank, [3], bad)
            assert run.state.telemetry()["skipped"] == 1 and math.isnan(run.state.telemetry()["mean_norm"])
            assert same(before, run.memory()) and torch.equal(there, run.parameters())
            run.train(rank, [4])
            assert run.parameters().isfinite().all() and run.state.telemetry()["exchanges"] == 5


def rules_act_on_shards(rank, workers, folder):
    mesh = meshes(workers, 2)
    for threshold, size in ((0.01, 0.01), (1e9, None)):
        run = Run(mesh, c.Identity(), make=lambda p: SGD(p, lr=1.0))
        run.optimizer.rule = rule.Clip(threshold)
        before = run.parameters()
        run.train(rank, [0])
        norm = sum(float(whole(p.grad).square().sum()) for p in run.model.parameters()) ** 0.5
        assert float((run.parameters() - before).norm()) == pytest.approx(size or norm, rel=1e-9)
    run.optimizer.rule = rule.LossModel(lambda: loss(run.model, batch(rank, 1)))
    with pytest.raises(
        InvalidInput, match=r"the model is sharded, and FSDP gives no second derivatives.*use another rule"
    ):
        run.train(rank, [1])


def checkpoints_resume_bit_for_bit(rank, workers, folder):
    """Model and optimizer through torch.distributed.checkpoint, the hook's state of every worker by itself."""
    mesh = meshes(workers, 2)
    for make in (lambda p: SGD(p, lr=0.1, momentum=0.9), lambda p: AdamW(p, lr=0.01)):
        for compressor, mask in METHODS[:3] + METHODS[6:]:
            through = Run(mesh, compressor, mask, make).train(rank, range(6))
            first = Run(mesh, compressor, mask, make).train(rank, range(3))
            model, optimizer = get_state_dict(first.model, first.optimizer)
            folder_of_all = (
                folder / "dcp" / f"{first.state.settings.compressor.name}-{make.__code__.co_firstlineno}-{mask}"
            )
            dist.checkpoint.save({"model": model, "optimizer": optimizer}, checkpoint_id=folder_of_all)
            torch.save(first.state.state_dict(), folder / f"{rank}.pt")
            resumed = Run(mesh, compressor, mask, make)
            model, optimizer = get_state_dict(resumed.model, resumed.optimizer)
            dist.checkpoint.load({"model": model, "optimizer": optimizer}, checkpoint_id=folder_of_all)
            set_state_dict(resumed.model, resumed.optimizer, model_state_dict=model, optim_state_dict=optimizer)
            resumed.state.load_state_dict(torch.load(folder / f"{rank}.pt", weights_only=True))
            resumed.train(rank, range(3, 6))
            assert torch.equal(through.parameters(), resumed.parameters()), compressor
            assert same(through.memory(), resumed.memory())
            assert through.state.telemetry() == resumed.state.telemetry()


def bytes_are_those_across_replicas(rank, workers, folder):
    mesh = meshes(workers, 2)
    run = Run(mesh, c.ErrorFeedback(c.TopK(k=1)), units=True)
    run.train(rank, range(2))
    shards = sum(parameter.to_local().numel() > 0 for parameter in run.model.parameters())
    found = run.state.telemetry()
    assert found["bytes_payload"] == shards * (4 + 8) + 16 and found["bytes_sent"] == found["bytes_payload"]
    run = Run(mesh, c.RandK(fraction=0.5))
    run.train(rank, range(2))
    numbers = sum(max(1, round(p.to_local().numel() / 2)) for p in run.model.parameters() if p.to_local().numel())
    found = run.state.telemetry()
    assert found["bytes_payload"] == 8 * numbers + 16 and found["bytes_sent"] == 8 * numbers + 16


def a_grad_scaler_backs_off_everywhere(rank, workers, folder):
    mesh = meshes(workers, 2)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    plain = Run(mesh, METHODS[0][0]).train(rank, range(3))
    run = Run(mesh, METHODS[0][0], scaler=scaler)
    for step in range(3):
        run.optimizer.zero_grad()
        scaler.scale(loss(run.model, batch(rank, step))).backward()
        scaler.step(run.optimizer)
        scaler.update()
    torch.testing.assert_close(plain.parameters(), run.parameters(), rtol=1e-12, atol=1e-14)
    before = run.parameters()
    run.optimizer.zero_grad()
    x = batch(rank, 3)
    x[0, 0] = math.inf if rank == 2 else 0.0
    scaler.scale(loss(run.model, x)).backward()
    scaler.step(run.optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**9 and torch.equal(before, run.parameters())


def half_gradients_are_remembered_in_full(rank, workers, folder):
    mesh = meshes(workers, 2)
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.bfloat16)
    run = Run(mesh, METHODS[0][0], mp_policy=policy).train(rank, range(3))
    assert {t.dtype for kept in run.memory().values() for t in kept.values()} == {torch.float32}
    halves = MixedPrecisionPolicy(param_dtype=torch.float16, reduce_dtype=torch.float16)
    with pytest.raises(InvalidInput, match=r"FSDP divides these gradients again.*reduce_dtype=torch.float32"):
        Run(mesh, METHODS[0][0], mp_policy=halves).train(rank, [0])


def unused_and_frozen_parameters(rank, workers, folder):
    mesh = meshes(workers, 2)
    torch.manual_seed(0)
    model, state = Branches().double(), sst.HookState(METHODS[0][0])
    sst.register(sharded(mesh["shard"], model, units=False), state, replicas=mesh.get_group("rep"))
    with pytest.raises(
        InvalidInput, match=r"gradients of . entries came.*some were not used; call model.set_reduce_scatter"
    ):
        loss(model, batch(rank, 0)).backward()
    torch.manual_seed(0)
    model, state = Branches().double(), sst.HookState(METHODS[0][0])
    sst.register(sharded(mesh["shard"], model, units=False), state, replicas=mesh.get_group("rep"))
    model.set_reduce_scatter_unused_params(True)
    for step in range(2):
        model.zero_grad()
        loss(model, batch(rank, step)).backward()
        assert not whole(model.unused.weight.grad).any() and whole(model.used.weight.grad).any()
    run = Run(mesh, METHODS[0][0])
    run.train(rank, range(2))
    before = run.memory()
    run.model[0].weight.requires_grad_(False)
    run.train(rank, range(2, 4))
    after = run.memory()
    assert torch.equal(before[0]["0.error"], after[0]["0.error"])
    assert not torch.equal(before[2]["0.error"], after[2]["0.error"])


def what_cannot_be_is_refused(rank, workers, folder):
    mesh = meshes(workers, 2)
    state, group = sst.HookState(c.RandK(k=1)), mesh.get_group("rep")
    with pytest.raises(
        InvalidInput, match=r"sharded over 2 workers and no replicas are given.*could be compressed; use fully_shard"
    ):
        sst.register(sharded(mesh["shard"]), state)
    with pytest.raises(
        InvalidInput, match=r"dense all-reduce across replicas comes before any hook; use fully_shard\(model, mesh=mesh"
    ):
        sst.register(sharded(mesh), state, replicas=group)
    with pytest.raises(
        InvalidInput, match=r"replicas is DeviceMesh.*but must be a process group, such as mesh.get_group"
    ):
        sst.register(sharded(mesh["shard"]), state, replicas=mesh["rep"])
    with pytest.raises(InvalidInput, match="have 2 workers in common, but must have one"):
        sst.register(sharded(mesh["shard"]), state, replicas=mesh.get_group("shard"))
    with pytest.raises(InvalidInput, match="replicas are those of a model of fully_shard"):
        sst.register(wrapped(perceptron()), state, replicas=group)
    with pytest.raises(InvalidInput, match=r"A parameter of shape \(20, 6\).*min_numel"):
        sst.register(sharded(mesh["shard"]), sst.HookState(c.TopK(k=130)), replicas=group)
    model = sharded(mesh["shard"])
    sst.register(model, state, replicas=group)
    with pytest.raises(InvalidInput, match="all-reduce hook already"):
        sst.register(model, sst.HookState(c.RandK(k=1)), replicas=group)
    with pytest.raises(InvalidInput, match="serves another model"):
        sst.register(sharded(mesh["shard"]), state, replicas=group)
    with pytest.raises(InvalidInput, match="no gradient has passed through the hook"):
        sst.verify(state)
    loss(model, batch(rank, 0)).backward()
    sst.verify(state)
    assert state.telemetry()["exchanges"] == 1
    model.set_requires_all_reduce(False)
    with pytest.raises(InvalidInput, match=r"use set_requires_gradient_sync\(False\)"):
        loss(model, batch(rank, 0)).backward()


def the_memory_of_another_shard_is_refused(rank, workers, folder):
    mesh = meshes(workers, 2)
    run = Run(mesh, METHODS[0][0]).train(rank, range(2))
    torch.save(run.state.state_dict(), folder / f"of-{rank}.pt")
    dist.barrier()
    late = sst.HookState(METHODS[0][0], seed=3)
    late.load_state_dict(torch.load(folder / f"of-{rank ^ 1}.pt", weights_only=True))
    with pytest.raises(
        InvalidInput, match=f"(that of worker {rank ^ 1} of 4, but this is worker {rank})|belongs to other parameters"
    ):
        sst.register(sharded(mesh["shard"]), late, replicas=mesh.get_group("rep"))
    dist.barrier()


class Layers(nn.Module):
    """A layer that runs twice and is a unit of its own, one in a checkpoint, and one that may be left out."""

    def __init__(self, mesh=None, reentrant=False):
        super().__init__()
        torch.manual_seed(0)
        self.twice, self.inner, self.maybe, self.last = (nn.Linear(6, size).double() for size in (6, 6, 6, 1))
        self.leave_out, self.reentrant = False, reentrant
        for layer in (self.twice, self.inner, self.maybe) if mesh is not None else ():
            fully_shard(layer, mesh=mesh)
        if mesh is not None:
            fully_shard(self, mesh=mesh)

    def forward(self, x):
        x = self.twice(torch.tanh(self.twice(x)))
        x = torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=self.reentrant)
        return self.last(x if self.leave_out else self.maybe(x))


def units_may_run_twice_or_in_checkpoints_or_not_at_all(rank, workers, folder):
    """A backward is one exchange, whatever autograd makes of it: equal to DDP on a mesh of replicas."""
    mesh, compressor = meshes(workers, 1), METHODS[0][0]
    for reentrant in (False, True):
        model, state, there = Layers(mesh["shard"], reentrant), sst.HookState(compressor), sst.HookState(compressor)
        sst.register(model, state, replicas=mesh.get_group("rep"))
        ddp = wrapped(Layers(), there, find_unused_parameters=True)
        for step, left_out in enumerate((False, True, True, False)):
            for one in (model, ddp.module):
                one.leave_out = left_out
            for one in (model, ddp):
                one.zero_grad()
                loss(one, batch(rank, step)).backward()
            for left, right in zip(model.parameters(), ddp.parameters()):
                assert (left.grad is None) == (right.grad is None)
                if left.grad is not None:
                    torch.testing.assert_close(whole(left.grad), right.grad, rtol=1e-10, atol=1e-12)
            found = state.telemetry()
            assert found["exchanges"] == step + 1
            assert found["mean_norm"] == pytest.approx(there.telemetry()["mean_norm"], rel=1e-10)


def a_backward_that_broke_off_is_forgotten(rank, workers, folder):
    """A unit had sent its message already; the next backward, after FSDP's own reset, begins anew."""
    mesh, alone = meshes(workers, 1), sst.HookState(METHODS[0][0])
    model, state = perceptron(), sst.HookState(METHODS[0][0])
    fully_shard(model[4], mesh=mesh["shard"])  # the gradient of a unit that has not reduced it survives the reset
    sst.register(sharded(mesh["shard"], model), state, replicas=mesh.get_group("rep"))
    ddp = wrapped(perceptron(), alone)
    out = model[1].register_forward_hook(
        lambda module, given, found: found.register_hook(lambda gradient: 1 / 0) and None
    )
    with pytest.raises(ZeroDivisionError):
        loss(model, batch(rank, 9)).backward()
    out.remove()
    model.reset_iter_state()
    for step in range(2):
        for one in (model, ddp):
            one.zero_grad()
            loss(one, batch(rank, step)).backward()
        for left, right in zip(model.parameters(), ddp.parameters()):
            torch.testing.assert_close(whole(left.grad), right.grad, rtol=1e-10, atol=1e-12)
        assert state.telemetry()["exchanges"] == step + 1
        assert state.telemetry()["mean_norm"] == pytest.approx(alone.telemetry()["mean_norm"], rel=1e-10)


def test_two_by_two():
    together(
        4,
        identity_is_native,
        norms_are_those_of_whole_gradients,
        every_shard_is_compressed_by_itself,
        shards_have_masks_of_their_own,
        a_skipped_step_changes_no_memory,
        bytes_are_those_across_replicas,
        a_grad_scaler_backs_off_everywhere,
        rules_act_on_shards,
        half_gradients_are_remembered_in_full,
        the_memory_of_another_shard_is_refused,
        limit=180,
    )


def test_checkpoints():
    together(4, checkpoints_resume_bit_for_bit, limit=180)


def test_replicas_only():
    together(2, one_shard_is_the_hook_of_ddp, units_may_run_twice_or_in_checkpoints_or_not_at_all)


def test_a_backward_that_breaks_off():
    together(2, a_backward_that_broke_off_is_forgotten)


def test_bad_input():
    together(4, what_cannot_be_is_refused)


def test_what_is_not_used():
    together(4, unused_and_frozen_parameters)
