"""When compressing pays, and the bytes it rests on, which are those that the hook counts."""

import pytest
import torch

import stablestep.torch as sst
from stablestep import compressor
from stablestep.errors import InvalidInput
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.survey import workers as workers_module
from stablestep.torch.survey.landscape import Landscape
from stablestep.torch.survey.link import StepCost, checked_rate, links, step_cost
from stablestep.torch.survey.workers import Workers
from tests.torch.group import together
from tests.torch.models import batch, loss, perceptron, wrapped

CHOICES = [
    (compressor.Identity(), "own"),
    (compressor.RandK(fraction=0.25), "shared"),
    (compressor.RandK(fraction=0.25), "own"),
    (compressor.QSGD(levels=4), "own"),
    (compressor.Sign(), "shared"),
    (compressor.TopK(fraction=0.25), "own"),
]


def cost(chosen, count, mask="shared") -> StepCost:
    pool = [batch(0, step) for step in range(8)]
    return step_cost(Workers(Landscape(perceptron(), loss, pool), Settings(chosen, mask), count))


def check_bytes(rank, count, folder):
    for chosen, mask in CHOICES:
        state = sst.HookState(chosen, mask=mask)
        ddp = wrapped(perceptron(), state)
        loss(ddp, batch(rank, 0)).backward()
        found = cost(chosen, count, mask)
        # Norms and losses come on top: sixteen numbers of each worker in a sum, sixteen bytes in a row.
        summed = isinstance(chosen, compressor.Identity) or (isinstance(chosen, compressor.RandK) and mask == "shared")
        norms = 8 * 16 * count if summed else 16
        copies = 2 * (count - 1) / count if summed else count - 1
        assert state.telemetry()["bytes_sent"] == found.bytes + copies * norms, (chosen, mask)


def test_bytes_are_those_of_the_hook():
    together(2, check_bytes)


def test_the_arithmetic_of_a_step():
    (found,) = links(StepCost(compute=0.1, coding=0.02, dense_bytes=1e7, bytes=1e5), 1e9)
    assert (found.dense, found.compressed, found.silent) == pytest.approx((0.18, 0.1208, 0.1))
    assert found.speedup == pytest.approx(0.18 / 0.1208) and found.headroom == pytest.approx(1.8) and found.pays


def test_no_compression_beats_sending_nothing():
    for found in links(StepCost(compute=0.1, coding=0.0, dense_bytes=1e8, bytes=1.0), None):
        assert found.speedup <= found.headroom


def test_reading_own_masks_takes_all_plans(monkeypatch):
    """As in the hook: the receivers make every sender's mask again."""
    made = []
    original = workers_module.drawer
    monkeypatch.setattr(workers_module, "drawer", lambda *names: made.append(names[-1]) or original(*names))
    for mask, senders in (("own", {0, 1, 2, 3}), ("shared", {None})):
        made.clear()
        cost(compressor.RandomSparsification(omega=3), 4, mask)
        assert set(made) == senders


def test_one_worker_sends_nothing():
    found = cost(compressor.Sign(), 1)
    assert found.bytes == 0 and found.dense_bytes == 0 and not any(link.pays for link in links(found, None))


@pytest.mark.parametrize("rate", [0.0, -1e9, float("nan"), 1e20])
def test_bad_rates(rate):
    with pytest.raises(InvalidInput, match="link is"):
        checked_rate(rate)


def check_rate(rank, count, folder):
    pool = [batch(0, step) for step in range(8)]
    advice = sst.survey(
        perceptron(torch.float32), lambda model, x: loss(model, x.float()), pool, predictor="theorem", points=6
    )
    assert len(advice.links) == 1 and advice.links[0].rate > 1e3
    assert advice.to_dict()["links"][0]["rate"] == advice.links[0].rate


def test_a_process_group_is_measured():
    together(2, check_rate)
