"""The transfer of a tuned step: what is law, how wide it is, and where nothing is known."""

import math

import pytest

from stablestep import compressor
from stablestep.errors import InvalidInput
from stablestep.torch.probe.calibration import row
from stablestep.torch.probe.transfer import HEAVY, Plan, transfer

SPARSE = compressor.RandomSparsification(omega=99)


def width(edge):
    return edge.high / edge.low


def test_nothing_changed_is_nothing_transferred():
    same = transfer(0.1, Plan(), Plan())
    assert (same.low, same.step, same.high) == pytest.approx((0.1, 0.1, 0.1))


def test_noise_lowers_the_step_of_sgd_and_there_and_back_is_the_same_step():
    before, after = Plan(agents=4), Plan(SPARSE, agents=4, mask="own")
    there = transfer(0.1, before, after)
    assert there.step == pytest.approx(0.1 * (1 + 99 / 4) ** row("sgd").known["best"][1])
    assert there.step < 0.1 and transfer(there.step, after, before).step == pytest.approx(0.1)
    # One exponent for all models is off by a factor 3 or more in one case of ten.
    assert width(there) > 3


def test_a_shared_mask_and_fewer_workers_are_more_noise():
    plans = [Plan(SPARSE, 4, "own"), Plan(SPARSE, 4, "shared"), Plan(SPARSE, 1, "own")]
    own, shared, alone = (transfer(0.1, Plan(agents=plan.agents), plan) for plan in plans)
    assert shared.step < own.step and shared.step == pytest.approx(alone.step)


def test_more_workers_widen_the_interval():
    few, many = (transfer(0.1, Plan(agents=4), Plan(agents=agents)) for agents in (4, 16))
    assert many.step == few.step and width(many) > width(few)


def test_the_law_of_momentum_holds_at_strong_noise_only():
    sgd, heavy = (Plan(SPARSE, 4, "own", optimizer=name) for name in ("sgd", "momentum"))
    assert transfer(0.1, sgd, heavy).step == pytest.approx(0.1 * HEAVY * 0.1)
    assert transfer(transfer(0.1, sgd, heavy).step, heavy, sgd).step == pytest.approx(0.1)
    assert width(transfer(0.1, sgd, heavy)) < math.exp(4 * 0.25)
    with pytest.raises(InvalidInput, match="no law leads from"):
        transfer(0.1, Plan(), Plan(optimizer="momentum"))
    with pytest.raises(InvalidInput, match='from "sgd" to "adam"'):
        transfer(0.1, sgd, Plan(SPARSE, 4, "own", optimizer="adam"))


def test_the_law_of_momentum_leads_from_one_beta_to_another():
    light, heavy = (Plan(SPARSE, 4, "own", optimizer="momentum", beta=beta) for beta in (0.9, 0.99))
    there = transfer(0.1, light, heavy)
    assert there.step == pytest.approx(0.01) and transfer(there.step, heavy, light).step == pytest.approx(0.1)
    sgd = Plan(SPARSE, 4, "own")
    assert there.step == pytest.approx(transfer(transfer(0.1, light, sgd).step, sgd, heavy).step)
    assert width(there) > width(transfer(0.1, sgd, heavy)) > 1
    for name in ("momentum", "adam", "sign"):
        with pytest.raises(InvalidInput, match=f'no law leads from "{name}" with β = 0.9 to "{name}" with β = 0.5'):
            transfer(0.1, Plan(optimizer=name), Plan(optimizer=name, beta=0.5))
    assert transfer(0.1, Plan(beta=0.5), Plan()).step == pytest.approx(0.1)


def test_signs_are_a_family_of_their_own():
    signs = Plan(compressor.Sign())
    for before, after in ((Plan(), signs), (signs, Plan())):
        with pytest.raises(InvalidInput, match='"sgd" on signs'):
            transfer(0.1, before, after)
    more = transfer(0.1, signs, Plan(compressor.Sign(), agents=16))
    assert more.step == pytest.approx(0.1) and 1 < width(more) < 3
    # Where nothing was measured the interval says so: signs of a sparse aggregate want larger steps, Signum smaller ones.
    noisy = transfer(0.1, Plan(optimizer="sign"), Plan(SPARSE, 1, "own", optimizer="sign"))
    assert noisy.low < 0.1 * 100**-0.1 and noisy.high > 0.1 * 100**0.66 / 2


def test_another_kind_of_message_leaves_the_step_open():
    top, feedback = compressor.TopK(fraction=0.1), compressor.ErrorFeedback(compressor.TopK(fraction=0.1))
    wide, narrow = (transfer(0.1, Plan(), Plan(one)) for one in (top, feedback))
    assert wide.step == pytest.approx(0.1) and width(wide) > 4 * width(narrow) > 4
    noise = transfer(0.1, Plan(SPARSE), Plan(top))
    assert (
        width(noise) > width(transfer(0.1, Plan(SPARSE), Plan(feedback))) > width(transfer(0.1, Plan(SPARSE), Plan()))
    )


def test_error_feedback_keeps_the_step_with_an_interval():
    top = Plan(compressor.ErrorFeedback(compressor.TopK(fraction=0.01)))
    found = transfer(0.1, Plan(), top)
    assert top.noise == 0 and found.step == pytest.approx(0.1) and 2 < width(found) < 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, Plan(), Plan()), "step is 0"),
        ((0.1, "plain", Plan()), 'before is "plain"'),
        ((0.1, Plan(), None), "after is None"),
        (
            (1e308, Plan(compressor.RandomSparsification(omega=1e12)), Plan()),
            "from a step of 1e.308 these plans lead beyond",
        ),
        ((1e-308, Plan(), Plan(compressor.RandomSparsification(omega=1e12))), "give a step that one would train with"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        transfer(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compressor": 3}, "compressor is 3"),
        ({"agents": 0}, "agents is 0"),
        ({"mask": "common"}, 'mask is "common"'),
        ({"optimizer": "lion"}, 'optimizer is "lion"'),
        ({"beta": 1.0}, "beta is 1"),
    ],
)
def test_bad_plan(options, message):
    with pytest.raises(InvalidInput, match=message):
        Plan(**options)
