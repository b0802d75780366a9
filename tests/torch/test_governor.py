"""The governor: what it leaves out, when it goes back, what it remembers."""

import math

import pytest
import torch
import torch.distributed as dist

import stablestep.torch as sst
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch.step.governor.direction import SignTest
from stablestep.torch.step.governor.governor import MessageNorm
from stablestep.torch.step.governor.loss import LossWatch, Verdict
from stablestep.torch.step.governor.norms import PATIENCE, NormWatch
from tests.torch.group import together
from tests.torch.models import arrived, batch, loss, perceptron, wrapped

NORMS = (1.0, 1.1, 0.9, 1.0)


class Training:
    """Four workers' noisy gradients of ½‖x − 3‖² in one process; `hot` multiplies the step."""

    def __init__(self, rule, hot=1.0, optimizer=torch.optim.SGD, seed=0, **arguments):
        self.x = torch.full((50,), 4.0, requires_grad=True)
        self.state = sst.HookState(c.Identity())
        self.stable = sst.StableStep(optimizer([self.x], lr=0.05 * hot, **arguments), self.state, rule)
        self.generator = torch.Generator().manual_seed(seed)

    def step(self, factor=1.0, losses=None):
        noise = 0.3 * torch.randn(4, 50, generator=self.generator)
        gradients = self.x.detach() - 3 + noise
        gradients[0] *= factor
        self.x.grad = gradients.mean(0)
        value = float((self.x.detach() - 3).square().sum() / 2)
        arrived(self.state, *gradients.norm(dim=1).tolist(), losses=losses or [value] * 4)
        self.stable.step()
        return value


def test_a_worker_out_of_proportion_leaves_the_optimizer_untouched():
    training = Training(sst.rule.Governor(), momentum=0.9)
    for _ in range(10):
        training.step()
    before, buffer = training.x.detach().clone(), training.stable.state[training.x]["momentum_buffer"].clone()
    training.step(factor=1e4)
    assert torch.equal(training.x, before) and torch.equal(training.stable.state[training.x]["momentum_buffer"], buffer)
    training.step()
    assert not torch.equal(training.x, before)


def test_norms_are_believed_in_the_end():
    watch = NormWatch()
    assert not any(watch.stands_out(NORMS) for _ in range(5))
    high = [watch.stands_out((1.0, 1.0, 1.0, 1e4)) for _ in range(PATIENCE + 1)]
    assert high == [True] * PATIENCE + [False]
    assert not any(NormWatch().stands_out((1.0, 1.0, 1.0, 1e4)) for _ in range(1)), "the first steps have no reference"


def test_two_workers_are_told_apart_by_the_reference():
    watch = NormWatch()
    for _ in range(5):
        watch.stands_out((1.0, 1.0))
    assert watch.stands_out((1.0, 500.0)) and not watch.stands_out((30.0, 1.0))


def heard(watch, *losses):
    return [watch.hear(loss) for loss in losses]


def test_an_alarm_sends_back_and_lowers():
    watch = LossWatch()
    assert heard(watch, 10.0)[0] is Verdict.KEEP
    heard(watch, *[10 - 0.5 * k for k in range(12)])
    assert heard(watch, 30.0, 5.0) == [Verdict.BACK, Verdict.GO] and watch.factor == 0.35
    assert heard(watch, *[5.0] * 60)[-1] is not Verdict.BACK and 0.35 < watch.factor < 1


def test_bad_data_cost_no_factor():
    watch = LossWatch()
    heard(watch, *[10 - 0.5 * k for k in range(13)])
    before = watch.factor
    verdicts = heard(watch, 90.0, 90.0, 90.0, 4.0)
    assert verdicts[0] is Verdict.BACK and verdicts[1:3] == [Verdict.SKIP] * 2 and verdicts[3] is not Verdict.SKIP
    assert watch.factor == pytest.approx(before, rel=0.02)


@pytest.mark.parametrize("shift", [0.0, -100.0])
def test_losses_may_be_negative(shift):
    watch = LossWatch()
    verdicts = heard(watch, *[shift + 10 - 0.5 * k for k in range(13)], shift + 60, shift + 80)
    assert Verdict.BACK in verdicts


def test_the_sign_test():
    """Under fair signs it lowers in 7 of 100 windows: 2000 windows, off by four deviations in 1 of 16000 tests."""
    generator = torch.Generator().manual_seed(3)
    signs = (2 * torch.randint(2, (2000, 12), generator=generator) - 1).tolist()
    test = SignTest()
    lowered = sum(test.lowers(float(one)) < 1 for row in signs for one in row)
    share = sum(math.comb(12, k) for k in range(13) if 2 * k - 12 < -1.5 * math.sqrt(12)) / 2**12
    assert abs(lowered / 2000 - share) < 4 * math.sqrt(share * (1 - share) / 2000)
    assert not any(test.lowers(0.1) < 1 for _ in range(24)) and sum(test.lowers(-0.1) < 1 for _ in range(24)) == 2


def test_what_the_signs_lower_does_not_recover():
    watch = LossWatch()
    heard(watch, *[10 - 0.1 * k for k in range(10)])
    watch.lower(0.6)
    heard(watch, *[9 - 0.1 * k for k in range(60)])
    assert watch.factor == watch.ceiling == 0.6


def test_bad_data_do_not_undo_the_probe():
    watch = LossWatch()
    watch.lower(0.2)
    heard(watch, *[10 - 0.5 * k for k in range(13)])
    assert heard(watch, 90.0) == [Verdict.BACK] and watch.factor < 0.2
    assert heard(watch, 90.0) == [Verdict.SKIP] and watch.factor == 0.2
    heard(watch, *[4.0] * 200)
    assert watch.factor == 0.2


def test_a_long_message_is_cut():
    message = MessageNorm()
    assert [message.share(1.0) for _ in range(3)] == [1.0] * 3 and message.share(30.0) == pytest.approx(0.1)


def test_an_update_is_at_most_a_tenth_of_x():
    for optimizer, arguments in ((torch.optim.SGD, {}), (torch.optim.AdamW, {"weight_decay": 0.0})):
        training = Training(sst.rule.Governor(), hot=30.0, optimizer=optimizer, **arguments)
        before = training.x.detach().clone()
        training.step()
        assert float((training.x - before).norm() / before.norm()) == pytest.approx(0.1, rel=1e-5)
    free = Training(sst.rule.Governor(cap=0), hot=30.0)
    free.step()
    assert float((free.x - 4).detach().norm()) > 0.2 * 4 * 50**0.5


def test_a_model_at_zero_can_start():
    training = Training(sst.rule.Governor())
    training.x.data.zero_()
    training.step()
    assert training.x.detach().norm() > 0


@pytest.mark.parametrize("cap", [0, 0.1])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_a_run_that_diverges_survives(optimizer, cap):
    def end(rule, steps):
        training = Training(rule, hot=60.0 if optimizer is torch.optim.SGD else 2000.0, optimizer=optimizer)
        return [training.step() for _ in range(steps)]

    start, alone, governed = 25.0, end(sst.rule.Constant(), 50), end(sst.rule.Governor(cap=cap), 150)
    assert max(alone) > 4 * start, "the test's run is not hostile"
    assert max(governed[-20:]) < start / 5


@pytest.mark.parametrize("bad", [5, 30])
def test_parameters_without_gradients_are_left(bad):
    """Five bad batches are skipped; where it goes on the parameters are at fault, and the good copy comes back."""
    training = Training(sst.rule.Governor())
    for _ in range(20):
        training.step()
    good = training.x.detach().clone()
    training.x.data.fill_(1e19)  # as if one step had overflowed
    for _ in range(bad):
        norms = [math.nan] * 4 if float(training.x.detach().norm()) > 1e18 else [1.0] * 4
        training.x.grad = torch.zeros(50)
        arrived(training.state, *norms, losses=[1.0] * 4)
        training.stable.step()
    near = float((training.x - good).detach().norm()) < 10
    assert near == (bad > 10) and (training.stable.rule.factor_now < 1) == near


def test_nothing_wrong_costs_nothing():
    plain, governed = Training(sst.rule.Constant()), Training(sst.rule.Governor())
    for _ in range(100):
        plain.step()
        governed.step()
    assert governed.step() < 1.1 * plain.step()


def run(training, *steps):
    for k in steps:
        training.step(factor=1e4 if k == 12 else 1.0, losses=[300.0] * 4 if k in (20, 21) else None)


@pytest.mark.parametrize("copy", [True, False])
def test_it_resumes_bit_for_bit(copy, tmp_path):
    whole = Training(sst.rule.Governor(copy=copy, cap=0), hot=30.0, momentum=0.9)
    run(whole, *range(40))
    first = Training(sst.rule.Governor(copy=copy, cap=0), hot=30.0, momentum=0.9)
    run(first, *range(21))
    torch.save([first.stable.state_dict(), first.x.detach(), first.generator.get_state()], tmp_path / "saved.pt")
    second = Training(sst.rule.Governor(copy=copy, cap=0), hot=30.0, momentum=0.9)
    stable, x, generator = torch.load(tmp_path / "saved.pt", weights_only=True)
    second.x.data.copy_(x)
    second.stable.load_state_dict(stable)
    second.generator.set_state(generator)
    run(second, *range(21, 40))
    assert torch.equal(whole.x, second.x) and whole.stable.rule.factor_now == second.stable.rule.factor_now < 1


def test_memory_is_as_stated():
    for copy, copies in ((True, 2), (False, 1)):
        training = Training(sst.rule.Governor(copy=copy))
        for _ in range(8):
            training.step()
        saved = training.stable.rule.state_dict()["copies"]
        assert sum(tensor.numel() for tensors in saved.values() for tensor in tensors) == copies * 50


def test_without_losses_nothing_goes_back_which_is_said_once(recwarn):
    training = Training(sst.rule.Governor(), hot=10.0)
    for _ in range(30):
        training.step(losses=[math.nan] * 4)
    (said,) = recwarn.list
    assert "no loss was noted" in str(said.message) and "call state.note(loss) before backward" in str(said.message)
    assert training.stable.rule.state_dict()["copies"]["good"] == []


def test_a_loss_now_and_then_is_enough(recwarn):
    training = Training(sst.rule.Governor())
    for k in range(30):
        training.step(losses=[math.nan] * 4 if k % 5 else None)
    assert not recwarn.list


def test_a_probe_is_asked_once_before_the_first_step():
    asked = []
    training = Training(
        sst.rule.Governor(probe=lambda: asked.append(training.x.detach().clone()) or 0.05, cap=0), hot=60.0
    )
    before = training.x.detach().clone()
    values = [training.step() for _ in range(100)]
    assert len(asked) == 1 and torch.equal(asked[0], before)
    assert max(values) == values[0] and values[-1] < 2.0 and training.stable.rule.factor_now <= 1 / 60 + 1e-9


@pytest.mark.parametrize(("hot", "factor"), [(1.9, 1.0), (2.1, 1 / 2.1), (0.1, 1.0)])
def test_a_rate_near_what_the_probe_says_stays(hot, factor):
    training = Training(sst.rule.Governor(probe=lambda: 0.05), hot=hot)
    training.step()
    assert training.stable.rule.factor_now == pytest.approx(factor)


def test_a_probe_is_held_against_the_rate_behind_a_warm_up():
    training = Training(sst.rule.Governor(probe=lambda: 0.05), hot=10.0)
    schedule = torch.optim.lr_scheduler.LinearLR(training.stable, start_factor=0.01, total_iters=50)
    training.step()
    schedule.step()
    assert training.stable.rule.factor_now == pytest.approx(0.1)


def test_a_resumed_training_asks_no_more():
    training = Training(sst.rule.Governor(probe=lambda: 0.05), hot=10.0)
    training.step()
    again = Training(sst.rule.Governor(probe=lambda: pytest.fail("asked again")), hot=10.0)
    again.stable.rule.load_state_dict(training.stable.rule.state_dict())
    again.step()
    assert again.stable.rule.factor_now == pytest.approx(0.1)


def test_a_probe_that_refuses_ends_no_training():
    def refuse():
        raise InvalidInput("the loss has no edge.")

    training, alone = (Training(sst.rule.Governor(probe=probe, cap=0), hot=60.0) for probe in (refuse, None))
    with pytest.warns(UserWarning, match=r"names no step, so that it goes on without one: the loss has no edge\."):
        values = [training.step() for _ in range(100)]
    assert training.stable.rule.asked and values == [alone.step() for _ in range(100)]


def test_a_probe_that_failed_is_asked_again():
    asked = []

    def probe():
        asked.append(1)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return 0.05

    training = Training(sst.rule.Governor(probe=probe), hot=10.0)
    with pytest.raises(KeyboardInterrupt):
        training.step()
    assert not training.stable.rule.state_dict()["asked"]
    training.step()
    assert training.stable.rule.factor_now == pytest.approx(0.1) and len(asked) == 2


@pytest.mark.parametrize(("said", "factor"), [(0.3, 0.5), (0.2, 0.2)])
def test_the_answer_is_held_against_the_rate_in_use(said, factor):
    """A run that has been lowered to half, and gets a probe when it is resumed."""
    training = Training(sst.rule.Governor(probe=lambda: said), hot=20.0)
    training.stable.rule.losses.lower(0.5)
    training.step()
    assert training.stable.rule.factor_now == pytest.approx(factor)


def test_a_rate_of_0_waits_with_the_question():
    asked = []
    training = Training(sst.rule.Governor(probe=lambda: asked.append(1) or 0.05), hot=0.0)
    training.step()
    assert not asked
    training.stable.param_groups[0]["lr"] = 0.5
    training.step()
    assert asked == [1] and training.stable.rule.factor_now == pytest.approx(0.1)


@pytest.mark.parametrize("said", [math.nan, 0.0, -1.0, "0.1", None, [0.1], torch.ones(2), 1j, 10**400])
def test_a_probe_must_give_a_step(said):
    training = Training(sst.rule.Governor(probe=lambda: said, cap=0), hot=60.0)
    with pytest.raises(InvalidInput, match="the probe's step"):
        run(training, *range(100))


def test_copies_of_another_model_are_refused():
    training = Training(sst.rule.Governor())
    training.step()
    other = sst.rule.Governor()
    other.load_state_dict(training.stable.rule.state_dict())
    x = torch.ones(3, requires_grad=True)
    state = sst.HookState(c.Identity())
    stable = sst.StableStep(torch.optim.SGD([x], lr=0.1), state, other)
    x.grad = torch.ones(3)
    arrived(state, 1.0, 1.0, losses=[1.0, 1.0])
    with pytest.raises(InvalidInput, match="copies are of parameters of shapes"):
        stable.step()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(dict(copy=1), "copy"), (dict(probe=0.1), "probe is 0.1"), (dict(cap=-1.0), "cap"), (dict(cap=math.inf), "cap")],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        sst.rule.Governor(**arguments)


def governed_alike(rank, workers, folder):
    """Too hot by far, with signs of own randomness: all workers go back together, with no collective of its own."""
    counted = []
    for name in ("all_reduce", "broadcast", "all_gather_into_tensor"):
        original = getattr(dist, name)
        setattr(dist, name, lambda *a, original=original, **k: counted.append(1) or original(*a, **k))
    state = sst.HookState(c.RandK(fraction=0.3), mask="shared")
    model = wrapped(perceptron(), state)
    governor = sst.rule.Governor(cap=0)
    stable = sst.StableStep(torch.optim.SGD(model.parameters(), lr=30.0), state, governor)
    for step in range(40):
        stable.zero_grad()
        value = loss(model, batch(rank, step))
        state.note(value)
        value.backward()
        before = len(counted)
        stable.step()
        assert len(counted) == before
    assert governor.losses.alarms > 0 and governor.factor_now < 1
    own = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    rows = [torch.empty_like(own) for _ in range(workers)]
    dist.all_gather(rows, own)
    assert all(torch.equal(own, row) for row in rows) and own.isfinite().all()


def test_workers_agree():
    together(2, governed_alike)
