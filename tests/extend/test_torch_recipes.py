"""Recipes 1 and 5 in torch: a codec, and a step rule."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import stablestep.torch as sst
from stablestep import compressor
from stablestep.torch.step import rule
from stablestep.torch.wire.registry import CODECS
from tests.extend.guide import fails, row, run_doctests
from tests.torch import test_codecs, test_step_rules

torch.set_num_threads(1)


def test_the_codec_sends_what_the_compressor_says(add, one_bit, monkeypatch, seed):
    coded = add("src/stablestep/torch/wire/one_bit.py")
    test, leaf = test_codecs.test_every_public_compressor_is_sent_or_refused, one_bit.OneBit
    known = {"c": compressor}
    for text, table in (row('"one-bit": c.'), row('"Diana"')):
        for name, instance in eval(f"{{{text}}}", known).items():
            monkeypatch.setitem(getattr(test_codecs, table), name, instance)
    monkeypatch.setitem(test_codecs.ALL, "one-bit", leaf())
    fails(test, "no codec in torch/wire/registry.py, and no row in WRAPPERS of this file: OneBit")
    monkeypatch.setitem(CODECS, leaf, coded.OneBitCodec)
    test()
    monkeypatch.delitem(test_codecs.ALL, "one-bit")
    fails(test, "a codec, but no row in UNBIASED or BIASED of this file: OneBit")
    monkeypatch.setitem(test_codecs.ALL, "one-bit", leaf())
    test_codecs.test_equal_to_jax("one-bit", 1003, torch.float32, seed)
    test_codecs.test_hard_numbers("one-bit")
    test_codecs.test_a_bad_gradient_has_the_usual_length("one-bit", float("nan"))
    test_codecs.test_unbiased("one-bit", seed)
    test_codecs.test_the_counted_bits("one-bit")
    test_codecs.test_half_precision("one-bit", torch.bfloat16)
    test_codecs.test_what_remembers_or_clips_is_refused("Diana")


def enter_rule(monkeypatch):
    text, table = row('"running"')
    ((name, make),) = eval(f"{{{text}}}", {"rule": rule}).items()
    monkeypatch.setitem(getattr(test_step_rules, table), name, make)
    return name


def test_the_rule(add, monkeypatch, tmp_path):
    module = add("src/stablestep/torch/step/rule.py")
    run_doctests(module, "RunningNorms")
    test = test_step_rules.test_every_rule_can_be_named_and_has_a_row_here
    fails(test, "no row in RULES of tests/torch/test_step_rules.py: RunningNorms")
    name = enter_rule(monkeypatch)
    test()
    test_step_rules.test_a_rule_goes_on_where_it_was_saved(name, tmp_path)
    monkeypatch.setattr(module.RunningNorms, "state_dict", lambda self: {"mean": None})
    lost = "RunningNorms remembers something that state_dict and load_state_dict leave out"
    fails(test_step_rules.test_a_rule_goes_on_where_it_was_saved, lost, name, tmp_path)


@pytest.fixture
def alone(tmp_path):
    """A process group of this process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:The process group has one worker")
def test_the_rule_and_the_codec_in_training(add, one_bit, alone, monkeypatch):
    """Two steps on ‖x − b‖²/2 from 0: x ← x − lr/(1 + m) · M, M = ±‖g‖_∞ in each coordinate."""
    monkeypatch.setitem(CODECS, one_bit.OneBit, add("src/stablestep/torch/wire/one_bit.py").OneBitCodec)
    module = add("src/stablestep/torch/step/rule.py")
    model = nn.Linear(3, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    target = torch.tensor([[3.0, -4.0, 0.0]], dtype=torch.float64)
    state = sst.HookState(one_bit.OneBit(), seed=0)
    ddp = DistributedDataParallel(model)
    sst.register(ddp, state)
    optimizer = sst.StableStep(torch.optim.SGD(ddp.parameters(), lr=0.5), state, rule=module.RunningNorms(memory=0.5))
    running = None
    for _ in range(2):
        before = model.weight.detach().clone()
        optimizer.zero_grad()
        (((ddp(torch.eye(3, dtype=torch.float64)).T - target) ** 2).sum() / 2).backward()
        gradient = before - target
        optimizer.step()
        size = float(gradient.norm())
        running = size if running is None else 0.5 * running + 0.5 * size
        moved = (before - model.weight.detach()) * (1 + running) / 0.5
        assert torch.allclose(moved.abs(), gradient.abs().max().expand(1, 3), rtol=1e-12)
        largest = gradient.abs().argmax()
        assert moved[0, largest] * gradient[0, largest] > 0
