"""A training engineer's day: steps that are skipped without end, schedules beyond eta0, rates of 0, scalers real and imagined."""

import math
import warnings

import pytest
import torch
from torch.optim import SGD, lr_scheduler

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch import rule
from tests.torch.group import together
from tests.torch.models import arrived, batch, loss, perceptron, wrapped


class Toy:
    """One coordinate, and exchanges that are made up."""

    def __init__(self, lr=0.5, chosen=None, groups=None, **options):
        self.x = torch.ones(1, dtype=torch.float64, requires_grad=True)
        self.state = sst.HookState(c.Identity())
        inner = SGD(groups(self.x) if groups else [self.x], lr=lr)
        self.optimizer = sst.StableStep(inner, self.state, chosen or rule.LocalNorms(), **options)

    def step(self, gradient=1.0):
        """How far one step goes."""
        before = float(self.x.detach())
        self.x.grad = torch.full_like(self.x, gradient)
        arrived(self.state, gradient)
        self.optimizer.step()
        return before - float(self.x.detach())


def test_skips_are_said_rarely():
    toy, said = Toy(max_consecutive_skips=None), []
    for step in range(1, 121):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            toy.step(math.nan)
        said += [(step, str(one.message)) for one in caught]
    assert [step for step, _ in said] == [1, 10, 100]
    assert said[1][1].startswith("10 of 10 steps skipped so far on all workers") and "\n" not in said[1][1]


@pytest.mark.filterwarnings("ignore:.*skipped so far")
def test_too_many_in_a_row_raise():
    toy = Toy(max_consecutive_skips=3)
    for gradient in (1.0, math.inf, math.nan, 1.0, math.inf, math.inf):
        toy.step(gradient)
    with pytest.raises(
        InvalidInput, match=r"^3 steps in a row were skipped \(5 of 7 steps of this run\).*lower the learning rate"
    ):
        toy.step(math.nan)
    assert toy.x.isfinite().all()
    with pytest.raises(InvalidInput, match="max_consecutive_skips is 0, but must be a whole number of at least 1"):
        Toy(max_consecutive_skips=0)


def a_run_that_is_lost_says_so(rank, workers, folder):
    """With a learning rate that is far too large, on all workers at the same step."""
    model = wrapped(perceptron(torch.float32))
    state = sst.register(model, sst.HookState(c.RandK(fraction=0.3)))
    optimizer = sst.StableStep(SGD(model.parameters(), lr=1e6), state, rule.Constant())
    made, steps = [], [None] * workers

    def train():
        for step in range(80):
            optimizer.zero_grad()
            loss(model, batch(rank, step, torch.float32)).backward()
            optimizer.step()
            made.append(step)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(InvalidInput, match="20 steps in a row were skipped"):
            train()
    torch.distributed.all_gather_object(steps, len(made))
    assert len(set(steps)) == 1 and steps[0] < 79
    spoken = sum("skipped so far" in str(one.message) for one in caught)
    assert spoken >= 1 if rank == 0 else spoken == 0  # one worker speaks for all


@pytest.mark.parametrize("early", [True, False], ids=["before", "after"])
def test_one_cycle_never_goes_beyond_eta0(early):
    """Its initial rate is 1/25 of its peak, and eta0 belongs to the peak, whichever of the two is made first."""

    def cycle(optimizer):
        return lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=20, cycle_momentum=False)

    toy = Toy(lr=0.1, chosen=rule.LocalNorms(eta0=0.2))
    if early:
        inner = SGD([toy.x], lr=0.1)
        schedule = cycle(inner)
        toy.optimizer = sst.StableStep(inner, toy.state, rule.LocalNorms(eta0=0.2))
    else:
        schedule = cycle(toy.optimizer)
    steps = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            steps.append(2 * toy.step())  # Ĝ = 1 halves it
            schedule.step() if len(steps) < 20 else None
    assert max(steps) == pytest.approx(0.2, rel=1e-2) and steps[0] == pytest.approx(0.2 / 25)


def test_a_schedule_beyond_eta0_is_said_once():
    toy = Toy(lr=0.1, chosen=rule.LocalNorms(eta0=0.2))
    schedule = lr_scheduler.LambdaLR(toy.optimizer, lambda step: 1 + step)
    assert 2 * toy.step() == pytest.approx(0.2)
    schedule.step()
    with pytest.warns(UserWarning, match=r"is 2 times the one that eta0 = 0.2 belongs to, so the step's limit is 0.4"):
        assert 2 * toy.step() == pytest.approx(0.4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.step()
        toy.step()


def test_other_groups_are_in_proportion_without_a_word():
    def groups(x):
        return [{"params": [torch.ones(1, requires_grad=True)], "lr": 0.1}, {"params": [x], "lr": 0.5}]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 2 * Toy(chosen=rule.LocalNorms(eta0=0.2), groups=groups).step() == pytest.approx(1.0)


def test_a_first_group_with_rate_0():
    """The proportion is that of the first group that moves."""

    def groups(x):
        return [{"params": [torch.ones(1, requires_grad=True)], "lr": 0.0}, {"params": [x], "lr": 0.5}]

    toy = Toy(chosen=rule.LocalNorms(eta0=0.2), groups=groups)
    assert 2 * toy.step() == pytest.approx(0.2) and toy.state.telemetry()["step"] == pytest.approx(0.1)


def test_a_warm_up_from_0():
    toy = Toy(lr=0.5, chosen=rule.LocalNorms(eta0=0.2))
    schedule = lr_scheduler.LambdaLR(toy.optimizer, lambda step: step / 4)
    steps = []
    for _ in range(5):
        steps.append(2 * toy.step())
        schedule.step()
    assert steps == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2]) and toy.state.telemetry()["exchanges"] == 5


def nothing_but_a_scaler_raises_the_alarm(rank, workers, folder):
    """Gradients that shrink between the exchange and the step by a power of two, and several optimizers for one model."""
    for compressor in (c.Sign(), c.Identity()):
        model = wrapped(perceptron())
        state = sst.register(model, sst.HookState(compressor))
        first, *others = model.parameters()
        optimizers = [
            sst.StableStep(SGD(part, lr=0.1, weight_decay=0.5), state, rule.LocalNorms()) for part in ([first], others)
        ]
        loss(model, batch(rank, 0)).backward()
        for parameter in model.parameters():
            parameter.grad.mul_(1 / 1024)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0**-10)
        for optimizer in optimizers:
            optimizer.step()


def scalers_are_found(rank, workers, folder):
    """Of any scale, with clipping between, and one that the hook does not know."""
    for scale in (1000.0, 2.0**10):
        for clipped in (True, False):
            for other in (True, False):
                model = wrapped(perceptron(torch.float32))
                state = sst.register(model, sst.HookState(c.QSGD(4)))
                scaler = torch.amp.GradScaler("cpu", init_scale=scale)
                state.scaler = torch.amp.GradScaler("cpu") if other else None
                optimizer = sst.StableStep(SGD(model.parameters(), lr=0.1, weight_decay=0.1), state, rule.LocalNorms())
                schedule = lr_scheduler.ConstantLR(optimizer)
                scaler.scale(loss(model, batch(rank, 0, torch.float32))).backward()
                if clipped:
                    scaler.unscale_(optimizer)
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                with pytest.raises(InvalidInput, match=r"a GradScaler divides the gradients.*scaler=scaler"):
                    scaler.step(optimizer)
                del schedule
    for idle in (torch.amp.GradScaler("cpu", enabled=False), torch.amp.GradScaler("cpu", init_scale=1.0)):
        model = wrapped(perceptron(torch.float32))
        state = sst.register(model, sst.HookState(c.QSGD(4)))
        optimizer = sst.StableStep(SGD(model.parameters(), lr=0.1), state, rule.LocalNorms())
        idle.scale(loss(model, batch(rank, 0, torch.float32))).backward()
        idle.step(optimizer)


def test_two_workers():
    together(2, a_run_that_is_lost_says_so, nothing_but_a_scaler_raises_the_alarm, scalers_are_found)
