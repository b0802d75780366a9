"""The step rule around real optimizers: what the scalar scales, schedulers, GradScaler, bad gradients, and resuming."""

import copy
import math
import warnings

import pytest
import torch
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.optim import SGD, Adam, AdamW, lr_scheduler

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch import rule
from tests.torch.group import together
from tests.torch.models import arrived, batch, loss, perceptron, wrapped
from tests.torch.runs import Saved

LR, G, X = 0.5, 3.0, 2.0  # then 1/(1 + Ĝ) is 1/4


def stepped(make, steps=1, chosen=None, gradient=G):
    """A coordinate at X after `steps` steps with a constant gradient whose norm is G."""
    x = torch.tensor([X], dtype=torch.float64, requires_grad=True)
    state = sst.HookState(c.Identity())
    optimizer = sst.StableStep(make([x]), state, rule=chosen or rule.LocalNorms())
    for _ in range(steps):
        x.grad = torch.tensor([gradient], dtype=torch.float64)
        arrived(state, G)
        optimizer.step()
    assert optimizer.param_groups[0]["lr"] == LR
    return float(x.detach())


H = LR / (1 + G)


@pytest.mark.parametrize(
    ("make", "steps", "wanted"),
    [
        (lambda p: SGD(p, lr=LR), 2, X - 2 * H * G),
        # v = G, then μG + G: the velocity itself is never scaled.
        (lambda p: SGD(p, lr=LR, momentum=0.9), 2, X - H * G - H * (0.9 * G + G)),
        # The decay is part of the message's place: x − h (G + λx).
        (lambda p: SGD(p, lr=LR, weight_decay=0.1), 1, X - H * (G + 0.1 * X)),
        # Adam's first step is h times the sign, whatever the gradient.
        (lambda p: Adam(p, lr=LR, eps=0.0), 1, X - H),
        # Decoupled: (1 − hλ) x, then the step.
        (lambda p: AdamW(p, lr=LR, eps=0.0, weight_decay=0.1), 1, X * (1 - H * 0.1) - H),
    ],
    ids=["sgd", "momentum", "decay", "adam", "adamw"],
)
def test_what_the_scalar_scales(make, steps, wanted):
    assert stepped(make, steps) == pytest.approx(wanted, rel=1e-12)


def test_rules():
    def sgd(p):
        return SGD(p, lr=LR)

    assert stepped(sgd, chosen=rule.Constant()) == pytest.approx(X - LR * G)
    assert stepped(sgd, chosen=rule.LocalNorms(eta0=0.1)) == pytest.approx(X - 0.1 / (1 + G) * G)
    assert stepped(sgd, chosen=rule.Clip(1.5)) == pytest.approx(X - LR * 1.5)
    assert stepped(sgd, chosen=rule.Clip(30.0)) == pytest.approx(X - LR * G)


def test_a_tensor_rate_is_restored():
    rate = torch.tensor(LR, dtype=torch.float64)
    x = torch.tensor([X], dtype=torch.float64, requires_grad=True)
    state = sst.HookState(c.Identity())
    optimizer = sst.StableStep(SGD([x], lr=rate), state, rule=rule.LocalNorms())
    x.grad = torch.tensor([G], dtype=torch.float64)
    arrived(state, G)
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] is rate and float(rate) == LR
    assert float(x.detach()) == pytest.approx(X - H * G)


@pytest.mark.parametrize("outer", [True, False], ids=["on-the-rule", "on-the-optimizer"])
def test_schedulers_act_on_the_base_rate(outer):
    x = torch.tensor([X], dtype=torch.float64, requires_grad=True)
    state = sst.HookState(c.Identity())
    inner = SGD([x], lr=LR)
    optimizer = sst.StableStep(inner, state, rule=rule.LocalNorms(eta0=LR))
    schedule = lr_scheduler.ExponentialLR(optimizer if outer else inner, gamma=0.5)
    wanted = X
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(3):
            x.grad = torch.tensor([G], dtype=torch.float64)
            arrived(state, G)
            optimizer.step()
            schedule.step()
            wanted -= H * 0.5**step * G
            assert state.telemetry()["step"] == pytest.approx(H * 0.5**step)
    assert float(x.detach()) == pytest.approx(wanted)
    assert inner.param_groups[0]["lr"] == pytest.approx(LR / 8)


def test_groups_keep_their_ratio():
    x, y = (torch.tensor([X], dtype=torch.float64, requires_grad=True) for _ in range(2))
    state = sst.HookState(c.Identity())
    inner = SGD([{"params": [x]}, {"params": [y], "lr": 10 * LR}], lr=LR)
    optimizer = sst.StableStep(inner, state, rule=rule.LocalNorms(eta0=0.1))
    x.grad, y.grad = (torch.tensor([G], dtype=torch.float64) for _ in range(2))
    arrived(state, G)
    optimizer.step()
    assert float(X - y.detach()) == pytest.approx(10 * float(X - x.detach()))


def test_a_closure_is_evaluated_once():
    x = torch.tensor([X], dtype=torch.float64, requires_grad=True)
    state, calls = sst.HookState(c.Identity()), []
    optimizer = sst.StableStep(SGD([x], lr=LR), state, rule=rule.LocalNorms())

    def closure():
        calls.append(1)
        x.grad = torch.tensor([G], dtype=torch.float64)
        arrived(state, G)
        return 7.0

    assert optimizer.step(closure) == 7.0 and len(calls) == 1
    assert float(x.detach()) == pytest.approx(X - H * G)


def test_bad_input():
    x = torch.tensor([X], requires_grad=True)
    state, inner = sst.HookState(c.Identity()), SGD([x], lr=LR)
    optimizer = sst.StableStep(inner, state, rule=rule.Constant())
    with pytest.raises(InvalidInput, match="no gradient went through the hook since the last step"):
        optimizer.step()
    still = sst.StableStep(SGD([x], lr=0.0), state, rule=rule.LocalNorms(eta0=0.1))
    x.grad = torch.ones(1)
    arrived(state, 1.0)
    with pytest.raises(InvalidInput, match="start with lr=eta0"):
        still.step()
    with pytest.raises(InvalidInput, match="StableStep already"):
        sst.StableStep(optimizer, state, rule=rule.Constant())
    with pytest.raises(InvalidInput, match=r"must be a Rule, such as .*; call it: Constant\(…\)"):
        sst.StableStep(inner, state, rule=rule.Constant)
    with pytest.raises(InvalidInput, match='rule is "governor"'):
        sst.StableStep(inner, state, rule="governor")
    with pytest.raises(InvalidInput, match="lacks param_groups; it is not one of an optimizer"):
        optimizer.load_state_dict(state.state_dict())
    with pytest.raises(InvalidInput, match="state_dict is None, but must be a Mapping"):
        optimizer.load_state_dict(None)
    with pytest.raises(InvalidInput, match="LBFGS"):
        sst.StableStep(torch.optim.LBFGS([x]), state, rule=rule.Constant())
    with pytest.raises(InvalidInput, match="must be the hook's HookState"):
        sst.StableStep(inner, c.Identity(), rule=rule.Constant())
    with pytest.raises(InvalidInput, match="must be a torch optimizer"):
        sst.StableStep([x], state, rule=rule.Constant())


def test_a_step_that_goes_past_the_rule_is_refused():
    x, state = torch.tensor([X], dtype=torch.float64, requires_grad=True), sst.HookState(c.Identity())
    chained = sst.ChainedOptimizer(SGD([x], lr=LR))
    for inner in (SGD([x], lr=LR), chained):
        optimizer = copy.deepcopy(sst.StableStep(inner, state, rule=rule.Constant()))
        (parameter,) = optimizer.param_groups[0]["params"]
        parameter.grad = torch.tensor([G], dtype=torch.float64)
        with pytest.raises(InvalidInput, match=r"the (SGD|ChainedOptimizer) inside .* call step\(\) of the StableStep"):
            optimizer.inner.step()
        assert float(parameter.detach()) == X
        arrived(optimizer.hook_state, G)
        optimizer.step()
        assert float(parameter.detach()) < X


def test_an_optimizer_of_another_model_is_noticed_once(recwarn):
    x, state = torch.tensor([X], requires_grad=True), sst.HookState(c.Identity())
    optimizer = sst.StableStep(SGD([x], lr=LR), state, rule=rule.Constant())
    for _ in range(3):
        arrived(state, 1.0)
        optimizer.step()
    assert [str(one.message) for one in recwarn.list if "no parameter of the optimizer has one" in str(one.message)]
    assert len(recwarn.list) == 1


class Run(Saved):
    """A training run with a schedule."""

    def __init__(self, compressor, mask, make=lambda p: SGD(p, lr=0.1, momentum=0.9), chosen=None, **options):
        self.state = sst.HookState(compressor, mask=mask, seed=3, group_bytes=1000)
        self.model = wrapped(perceptron(torch.float32, seed=1), self.state, **options)
        self.optimizer = sst.StableStep(make(self.model.parameters()), self.state, chosen or rule.LocalNorms())
        self.schedule = lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=10)
        self.parts = dict(model=self.model.module, hook=self.state, optimizer=self.optimizer, schedule=self.schedule)

    def train(self, rank, steps):
        for step in steps:
            self.optimizer.zero_grad()
            loss(self.model, batch(rank, step, torch.float32)).backward()
            self.optimizer.step()
            self.schedule.step()
        return self


RESUMED = [
    (c.RandK(fraction=0.3, block=16), "shared", {}),
    (c.Identity(), "shared", {}),
    (c.RandomSparsification(3.0), "own", {"static_graph": True}),
    (c.QSGD(2), "own", {}),
    (c.Sign(), "own", {"find_unused_parameters": True}),
]


def resuming_is_bit_identical(rank, workers, folder, cases=RESUMED, saved=3, steps=6):
    for compressor, mask, options in cases:
        whole = Run(compressor, mask, **options).train(rank, range(steps))
        path = folder / f"{type(compressor).__name__}-{rank}.pt"
        Run(compressor, mask, **options).train(rank, range(saved)).save(path)
        resumed = Run(compressor, mask, **options).load(path).train(rank, range(saved, steps))
        assert torch.equal(whole.parameters(), resumed.parameters()), compressor
        assert whole.state.telemetry() == resumed.state.telemetry()
        assert resumed.state.telemetry()["exchanges"] == steps


def four_resume_after_one_step(rank, workers, folder):
    """Three or more workers: the order of a sum matters, and DDP regroups its buckets after the first step."""
    resuming_is_bit_identical(rank, workers, folder, RESUMED[:2], saved=1, steps=3)


def adam_resumes_too(rank, workers, folder):
    def make(p):
        return AdamW(p, lr=0.01)

    whole = Run(c.RandK(fraction=0.3), "own", make).train(rank, range(6))
    Run(c.RandK(fraction=0.3), "own", make).train(rank, range(3)).save(folder / f"adam-{rank}.pt")
    resumed = Run(c.RandK(fraction=0.3), "own", make).load(folder / f"adam-{rank}.pt").train(rank, range(3, 6))
    assert torch.equal(whole.parameters(), resumed.parameters())
    rolled_back = whole.load(folder / f"adam-{rank}.pt").train(rank, range(3, 6))
    assert torch.equal(rolled_back.parameters(), resumed.parameters())


def a_bad_worker_skips_the_step_of_all(rank, workers, folder):
    for compressor in (c.RandK(k=1), c.Sign(), c.QSGD(2), c.TopK(k=1), c.Identity()):
        for bad in (math.nan, math.inf):
            run = Run(compressor, "own", chosen=rule.LocalNorms()).train(rank, range(2))
            before = run.parameters()
            run.optimizer.zero_grad()
            x = batch(rank, 2, torch.float32)
            if rank == 1:
                x[0, 0] = bad
            loss(run.model, x).backward()
            run.optimizer.step()
            assert torch.equal(before, run.parameters())
            found = run.state.telemetry()
            assert found["skipped"] == 1 and math.isnan(found["mean_norm"]) and found["exchanges"] == 3
            run.train(rank, range(3, 5))
            assert run.parameters().isfinite().all() and not torch.equal(before, run.parameters())
            assert run.state.telemetry()["skipped"] == 1


def a_grad_scaler_changes_nothing(rank, workers, folder):
    own = (c.Identity(), c.RandK(k=1), c.Sign(), c.ScaledSign())
    for compressor, mask in (*((each, "own") for each in own), (c.QSGD(4), "shared")):
        plain = Run(compressor, mask).train(rank, range(3))
        scaled = Run(compressor, mask)
        scaler = scaled.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        for step in range(3):
            scaled.optimizer.zero_grad()
            scaler.scale(loss(scaled.model, batch(rank, step, torch.float32))).backward()
            scaler.step(scaled.optimizer)
            scaler.update()
            scaled.schedule.step()
        assert torch.equal(plain.parameters(), scaled.parameters()), compressor
        assert plain.state.telemetry() == scaled.state.telemetry()


def a_hidden_grad_scaler_is_found(rank, workers, folder):
    for scale in (2.0**10, 1000.0):
        run, scaler = Run(c.RandK(k=1), "own"), torch.amp.GradScaler("cpu", init_scale=scale)
        scaler.scale(loss(run.model, batch(rank, 0, torch.float32))).backward()
        if scale == 1000:
            scaler.unscale_(run.optimizer)
            torch.nn.utils.clip_grad_norm_(run.model.parameters(), 0.1)
        with pytest.raises(InvalidInput, match=r"a GradScaler divides.*scaler=scaler"):
            scaler.step(run.optimizer)


def a_grad_scaler_backs_off_on_all_workers(rank, workers, folder):
    run = Run(c.RandK(k=1), "own")
    scaler = run.state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = run.parameters()
    x = batch(rank, 0, torch.float32)
    x[0, 0] = math.inf if rank == 1 else 0.0
    scaler.scale(loss(run.model, x)).backward()
    scaler.step(run.optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**9 and torch.equal(before, run.parameters())
    assert run.state.telemetry()["skipped"] == 1


def without_the_hook_it_refuses(rank, workers, folder):
    state = sst.HookState(c.Identity())
    model = wrapped(perceptron())
    optimizer = sst.StableStep(SGD(model.parameters(), lr=0.1), state, rule.Constant())
    loss(model, batch(rank, 0)).backward()
    with pytest.raises(InvalidInput, match="register the hook on the DDP model"):
        optimizer.step()
    model = wrapped(perceptron(), state)
    with model.no_sync():
        loss(model, batch(rank, 0)).backward()
    with pytest.raises(InvalidInput, match="outside no_sync"):
        optimizer.step()


def zero_redundancy_is_the_same(rank, workers, folder):
    def make(p):
        return ZeroRedundancyOptimizer(p, optimizer_class=SGD, lr=0.1, momentum=0.9)

    plain = Run(c.RandK(k=1), "shared").train(rank, range(4))
    sharded = Run(c.RandK(k=1), "shared", make).train(rank, range(4))
    assert torch.equal(plain.parameters(), sharded.parameters())


def the_loss_model_agrees_on_all_workers(rank, workers, folder):
    run = Run(c.RandK(fraction=0.5), "own")
    x = batch(rank + 7, 0, torch.float32)
    run.optimizer.rule = rule.LossModel(lambda: loss(run.model.module, x), every=2)
    run.train(rank, range(4))
    steps = [None] * workers
    torch.distributed.all_gather_object(steps, (run.state.telemetry()["step"], run.optimizer.rule.state_dict()))
    assert steps[0] == steps[1] and steps[0][1]["curvature"] > 0


def test_two_workers():
    together(
        2,
        resuming_is_bit_identical,
        adam_resumes_too,
        a_bad_worker_skips_the_step_of_all,
        a_grad_scaler_changes_nothing,
        a_hidden_grad_scaler_is_found,
        a_grad_scaler_backs_off_on_all_workers,
        without_the_hook_it_refuses,
        zero_redundancy_is_the_same,
        the_loss_model_agrees_on_all_workers,
    )


def test_four_workers_resume():
    together(4, four_resume_after_one_step)
