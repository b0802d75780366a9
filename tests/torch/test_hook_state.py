"""What the hook remembers: arguments, counters, parameters, and its state on disk."""

import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import stablestep
from stablestep import compressor as c
from stablestep.errors import InvalidInput
from stablestep.torch import HookState, register, rule
from stablestep.torch.exchange import norms
from stablestep.torch.exchange.layout import layout
from stablestep.torch.exchange.roster import Roster
from stablestep.torch.wire.randomness import drawer, smallest
from tests.torch.models import arrived


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(mask="both"), 'mask is "both", but must be "own" or "shared"'),
        (dict(seed=-1), "seed is -1"),
        (dict(seed=0.5), "seed is 0.5"),
        (dict(min_numel=-3), "min_numel is -3"),
        (dict(scaler=2.0), "scaler is 2.0, but must be a torch.amp.GradScaler"),
        (dict(vote="majority"), "does not send signs"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InvalidInput, match=message):
        HookState(c.QSGD(2), **arguments)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: HookState("topk"), r'compressor is "topk", but must be a Compressor, such as TopK.*; known: Identity'),
        (lambda: HookState(0.01), r"compressor is 0\.01, but must be a Compressor"),
        (lambda: HookState(c.Sign()).load_state_dict(None), "saved is None, but must be a Mapping"),
        (lambda: HookState(c.Sign()).load_state_dict([1]), r"saved is \[1\], but must be a Mapping"),
        (lambda: register(HookState(c.Sign()), torch.nn.Linear(1, 1)), "model is .*HookState.*, but must be a Module"),
    ],
)
def test_something_else(wrong, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_signs_are_not_mixed_with_raw_gradients():
    with pytest.raises(InvalidInput, match="min_numel=0 with Sign"):
        HookState(c.Sign(), min_numel=10)


def test_numbers_of_numpy_are_taken():
    state = HookState(c.QSGD(2), seed=np.int64(3), min_numel=np.int32(5))
    assert type(state.state_dict()["seed"]) is int and state.settings.min_numel == 5


def test_telemetry_is_a_dict_of_floats():
    state = HookState(c.Identity())
    assert math.isnan(state.telemetry()["mean_norm"])
    arrived(state, 1.0, 3.0)
    found = state.telemetry()
    assert all(type(value) is float for value in found.values())
    assert (found["mean_norm"], found["local_norm"], found["exchanges"], found["skipped"]) == (2.0, 1.0, 1.0, 0.0)
    arrived(state, 1.0, math.inf)
    assert state.telemetry()["skipped"] == 1.0


def test_the_state_on_disk():
    state, file = HookState(c.Identity(), seed=4), io.BytesIO()
    arrived(state, 1.0, 3.0)
    state.run.roster.number(torch.zeros(5))
    torch.save(state.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    fresh = HookState(c.Identity(), seed=4)
    fresh.load_state_dict(saved)
    assert fresh.state_dict()["exchanges"] == 1
    with pytest.raises(InvalidInput, match="it has 1 of 5 entries, but the model has 1 of 6"):
        fresh.run.roster.number(torch.zeros(6))
    with pytest.raises(InvalidInput, match="seed is 0, but the saved run has 4"):
        HookState(c.Identity()).load_state_dict(saved)
    with pytest.raises(InvalidInput, match="lacks bytes_total, compressor, exchanges"):
        HookState(c.Identity()).load_state_dict({"seed": 0})


def test_roster():
    roster, first, second = Roster(), torch.zeros(3), torch.zeros(4)
    assert [roster.number(p) for p in (first, second, first)] == [0, 1, 0] and roster.sizes == [3, 4]
    with pytest.raises(InvalidInput, match="belongs to other parameters"):
        roster.expect([3, 5])
    late = Roster()
    late.expect([3, 4])
    late.check([second], [second, first])
    late.number(first)
    with pytest.raises(InvalidInput, match="it has 2 of 3, 4 entries, but the model has 1 of 3"):
        late.complete()


def test_layout_groups_alike():
    parameters = [torch.zeros(4), torch.zeros(4, dtype=torch.float64), torch.zeros(100), torch.zeros(2), torch.zeros(2)]
    groups = layout(parameters, most_bytes=64)
    assert [[p.numel() for p in group] for group in groups] == [[2, 2], [100], [4], [4]]


def test_ties_go_to_the_lower_index():
    values = torch.tensor([0.5, 0.1, 0.5, 0.5, 0.0])
    for count in range(1, 6):
        assert smallest(values, count).tolist() == sorted(values.argsort(stable=True)[:count].tolist())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_norms_are_exact_in_any_type(dtype):
    sent, losses = [math.pi, 1e300, 5e-324, math.inf], [0.1, -3.0, 1e300, 0.0]
    riders = torch.tensor([sent, losses], dtype=torch.float64).T
    own = [norms.tail(one, torch.arange(9) == place) for place, one in enumerate(riders)]
    tails = norms.from_slots(sum(norms.slots(one, rank, 4, dtype) for rank, one in enumerate(own)), workers=4)
    assert norms.norms(tails).tolist() == sent and norms.losses(tails).tolist() == losses
    assert norms.used(tails, 9).tolist() == 4 * [True] + 5 * [False]


@pytest.mark.parametrize("loss", ["1", None, torch.ones(2), [1.0], True])
def test_a_noted_loss_is_one_number(loss):
    with pytest.raises(InvalidInput, match="the noted loss is"):
        HookState(c.Sign()).note(loss)


def test_streams_differ():
    like = torch.zeros(1)
    streams = [
        drawer(like, *numbers)(4).tolist()
        for numbers in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0, 0), (0, 0, 0, 1)]
    ]
    assert len({tuple(stream) for stream in streams}) == 6
    assert drawer(torch.zeros(1, dtype=torch.float64), 0, 0, 0)(2).dtype == torch.float64


def test_other_wrappers_are_refused():
    class FSDPModule(torch.nn.Module):
        pass

    with pytest.raises(InvalidInput, match="shards gradients by reduce-scatter"):
        register(FSDPModule(), HookState(c.Identity()))


def test_nothing_else_imports_torch():
    """The core must work without it."""
    package = Path(stablestep.__file__).parent
    for path in package.rglob("*.py"):
        if (package / "torch") not in path.parents:
            assert not re.search(r"^\s*(import|from) (torch|stablestep\.torch)\b", path.read_text(), re.M), path


def test_rule_arguments():
    for wrong in (
        lambda: rule.LocalNorms(eta0=0.0),
        lambda: rule.Clip(-1.0),
        lambda: rule.LossModel(3.0),
        lambda: rule.LossModel(torch.zeros, every=0),
        lambda: rule.LossModel(torch.zeros, epsilon=2.0),
        lambda: rule.LossModel(torch.zeros, epsilon="a"),
        lambda: rule.LossModel(torch.zeros, memory=1.0),
        lambda: rule.LossModel(torch.zeros, memory=None),
    ):
        with pytest.raises(InvalidInput):
            wrong()
