"""The probe on real models: memory and optimizers in the loop, nothing of the user's changes, what it prints, and what it refuses."""

import json
import math
from dataclasses import replace
from importlib import import_module
from itertools import islice

import pytest
import torch
from torch import nn

import stablestep.torch as sst
from stablestep import compressor
from stablestep.errors import InvalidInput
from stablestep.theorem import Constants
from stablestep.torch import rule
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.probe.advice import Edge, ProbeAdvice
from stablestep.torch.probe.trainer import Trainer, plain
from stablestep.torch.survey.landscape import Landscape
from stablestep.torch.survey.workers import Workers

LIMIT = rule.StepLimit("4.2", Constants(L0=2, L1=1, dim=5, omega=0, count=2))
TOP = compressor.ErrorFeedback(compressor.TopK(fraction=0.3))


def batches(count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 16, 4, generator=generator)
    return [(one, one.sum(1, keepdim=True) + 0.1 * torch.randn(16, 1, generator=generator)) for one in x]


def square(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()


def linear():
    model = nn.Linear(4, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


def trainer(chosen=None, optimizer=plain, model=None, agents=2, horizon=50, one_rule=None, **options):
    settings = Settings(chosen or compressor.Identity(), **options)
    workers = Workers(Landscape(model or linear(), square, batches()), settings, agents)
    return Trainer(workers, optimizer, horizon, one_rule)


@pytest.fixture(scope="module")
def advice():
    return sst.probe(linear(), square, batches(), agents=2, horizon=50)


def test_the_edge_of_a_regression(advice):
    """The Hessian is 2 I up to the noise of batches of 32, so that gradient descent blows up at about a step of 1."""
    assert advice.status == "bracketed" and advice.family == "sgd" and advice.noise == 0
    assert advice.useful.low < 1.1 and advice.useful.high > 0.5 and 0.4 < advice.useful.step < 1.3
    assert 0 < advice.step <= 0.45 * advice.useful.step
    assert advice.cost == sum(trial.steps for trial in advice.trials) + 8 + 4


@pytest.mark.parametrize(
    ("optimizer", "family"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), "momentum"),
        (torch.optim.AdamW, "adam"),
        (lambda p: torch.optim.RMSprop(p, lr=1e-3), "other"),
    ],
)
def test_the_users_optimizer_is_in_the_loop(optimizer, family):
    found = sst.probe(linear(), square, batches(), agents=2, horizon=40, optimizer=optimizer, compressor=TOP)
    assert found.family == family and found.step < found.useful.step and found.useful.low < found.useful.high
    assert found.status == "bracketed" and {trial.ended for trial in found.trials} >= {"ramp", "below"}


@pytest.mark.parametrize(
    ("weights", "biases", "family"),
    [
        (torch.optim.Muon, torch.optim.AdamW, "muon"),
        (torch.optim.Adam, torch.optim.AdamW, "adam"),
        (torch.optim.SGD, torch.optim.AdamW, "other"),
    ],
)
def test_a_chain_belongs_to_what_moves_its_matrices(weights, biases, family):
    def chain(parameters):
        matrices, rest = ([one for one in parameters if (one.ndim == 2) is is_matrix] for is_matrix in (True, False))
        return sst.ChainedOptimizer(weights(matrices, lr=0.01), biases(rest, lr=0.01))

    assert trainer(optimizer=chain, horizon=40).family == family


def test_muon_is_in_the_loop():
    """What is said holds for the training itself: the step trains, and far above the edge the loss does not fall."""

    def muon(parameters):
        return torch.optim.Muon(parameters, lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")

    def model():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 16, bias=False), nn.Tanh(), nn.Linear(16, 1, bias=False))

    found = sst.probe(model(), square, batches(), agents=2, horizon=40, optimizer=muon)
    assert found.family == "muon" and found.status == "bracketed" and found.step < found.useful.step
    one = trainer(model=model(), optimizer=muon, horizon=40)
    tail, hot = (
        list(islice(one.losses(lambda t, step=step: step, 500), 40))[-8:]
        for step in (found.step, 8 * found.useful.high)
    )
    assert sum(tail) / 8 < 0.5 < sum(hot) / 8


def test_momentum_has_a_smaller_edge(advice):
    heavy = sst.probe(
        linear(), square, batches(), agents=2, horizon=50, optimizer=lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9)
    )
    assert heavy.useful.step < advice.useful.step


def test_a_run_is_the_training_itself():
    """Losses and parameters of a run are those of a loop written out, with the same batches and masks."""
    both = trainer(compressor.RandK(fraction=0.5), torch.optim.AdamW, agents=2, mask="own")
    seen = [loss for loss, _ in zip(both.losses(lambda t: 0.01 * (t + 1), run=3), range(5))]
    model, workers = linear(), both.workers
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    for number in range(5):
        workers.landscape.restart(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
        loss, gradients = workers.gradients(20, 3, number)
        assert loss / both.first == pytest.approx(seen[number], rel=1e-5)
        message = workers.message(gradients, 20, 3, number)
        for parameter, piece in zip(model.parameters(), message.split([4, 1])):
            parameter.grad = piece.view_as(parameter)
        optimizer.param_groups[0]["lr"] = 0.01 * (number + 1)
        optimizer.step()


@pytest.mark.parametrize(
    "chosen", [compressor.ErrorFeedback(compressor.TopK(k=1)), compressor.LowRank(rank=1)], ids=["top", "low rank"]
)
def test_memory_goes_on_through_a_run(chosen):
    """All messages and what is still remembered add up to all gradients."""
    torch.manual_seed(0)
    both = trainer(chosen, model=nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))).workers
    dim, memory = both.landscape.dim, {}
    gradients, sent, kept = torch.zeros(dim), torch.zeros(dim), []
    for number in range(6):
        _, each = both.gradients(number)
        sent += both.exchange(each, memory, number)
        gradients += torch.stack(each).mean(0)
    for number, size in enumerate(both.landscape.sizes):
        errors = [one[-1]["error"] for one in memory[number]] if number in memory else [torch.zeros(size)]
        kept.append(torch.stack(errors).mean(0))
    torch.testing.assert_close(sent + torch.cat(kept), gradients)
    assert not torch.allclose(sent, gradients, atol=0.01)
    fresh = both.exchange(both.gradients(7)[1], {}, 7)
    assert not torch.allclose(fresh, both.exchange(both.gradients(7)[1], memory, 7))


def test_groups_stay_in_proportion():
    rates = []

    class Noted(torch.optim.SGD):
        def step(self, closure=None):
            rates.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    both = trainer(optimizer=lambda p: Noted([{"params": p[:1]}, {"params": p[1:], "lr": 0.3}], lr=0.1))
    for _ in zip(both.losses(lambda t: 0.02, run=0), range(3)):
        pass
    assert rates[0] == pytest.approx([0.02, 0.06])


def test_a_rule_multiplies_the_step():
    """With η0/(1 + Ĝ) the first update is as long as without it at η0/(1 + Ĝ)."""
    plain_one, ruled = trainer(), trainer(one_rule=rule.LocalNorms())
    _, gradients = plain_one.workers.gradients(20, 0, 0)
    factor = 1 / (1 + sum(float(gradient.norm()) for gradient in gradients) / 2)
    ends = []
    for both, step in ((plain_one, 0.1 * factor), (ruled, 0.1)):
        for _ in zip(both.losses(lambda t, step=step: step, run=0), range(1)):
            pass
        ends.append(both.landscape.point())
    torch.testing.assert_close(ends[0], ends[1])


def test_the_scale_is_that_of_a_straight_line():
    """For SGD f/‖∇f‖², for signs of gradients f/‖∇f‖₁."""
    both = trainer(agents=4)
    mean = torch.stack([torch.stack(both.workers.gradients(21, number)[1]).mean(0) for number in range(4)])
    assert both.scale() == pytest.approx(both.first / float((mean**2).sum(1).mean()), rel=1e-4)
    adam = trainer(optimizer=torch.optim.Adam, agents=4)
    assert adam.scale() == pytest.approx(adam.first / float(mean.abs().sum(1).mean()), rel=1e-3)


@pytest.mark.parametrize("predictor", ["rollouts", "one-step-log", "loss-model", "theorem"])
def test_the_others_answer_in_the_same_way(predictor):
    found = sst.probe(linear(), square, batches(), agents=2, horizon=20, predictor=predictor)
    assert found.status == "predicted" and found.useful is None and 0.02 < found.blow_up.step < 1.6
    assert found.step < found.blow_up.step and "half of them end above" in found.verdict


def test_what_is_known_is_used(advice):
    known = sst.probe(linear(), square, batches(), agents=2, horizon=50, known=0.3, budget="quick")
    assert known.status == "ramp only" and 0.2 < known.useful.step < 2 and "one ramp" in known.verdict


def test_table_and_json(advice, tmp_path):
    assert "bracketed" not in str(advice) and "Train with a step of" in str(advice) and "ramp" in str(advice)
    saved = json.loads(advice.save(tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert saved["step"] == advice.step and saved["useful"]["low"] == advice.useful.low
    assert saved["verdict"] == advice.verdict and len(saved["trials"]) == len(advice.trials)
    with pytest.raises(InvalidInput, match="cannot be written"):
        advice.save(tmp_path / "none" / "a.json")


@pytest.mark.parametrize(("horizon", "said"), [(50, True), (100, False), (300, False), (600, True)])
def test_horizons_beyond_the_fit_are_named(advice, horizon, said):
    assert (f": {horizon} is an extrapolation" in replace(advice, horizon=horizon).verdict) == said


def test_nothing_of_yours_changes():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.1), nn.Linear(6, 1))
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    options = {"agents": 2, "horizon": 20, "budget": "quick", "optimizer": torch.optim.AdamW}
    found = sst.probe(model, square, batches(), **options)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert sst.probe(model, square, batches(), **options).useful == found.useful


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_batch_that_is_not_finite_is_named(bad):
    """Training would leave out such a step; here it must not pass for a step that is too large."""
    some = batches()
    some[32] = (some[32][0] * bad, some[32][1])
    with pytest.raises(InvalidInput, match="not finite at the start already"):
        sst.probe(linear(), square, some, agents=2, horizon=100)


def test_more_batches_are_kept_where_more_are_needed(monkeypatch):
    monkeypatch.setattr(import_module("stablestep.torch.probe.probe"), "MOST_BATCHES", 10)
    assert sst.probe(linear(), square, batches(), agents=2, horizon=100, budget="quick").step > 0


def test_two_answers_that_exclude_each_other_are_said():
    one = advice_of(best=Edge(0.3, 0.2, 0.4))
    assert "larger batches" in one.verdict and "larger batches" not in advice_of(best=Edge(0.1, 0.05, 0.2)).verdict


def advice_of(best):
    return ProbeAdvice(0.01, Edge(0.1, 0.08, 0.12), None, best, 100, "bracketed", 200, "sgd", 0.0, (), 0.1)


def test_an_interrupted_probe_says_what_it_knows():
    calls = 0

    def loss(model, batch):
        nonlocal calls
        calls += 1
        if calls == 330:
            raise KeyboardInterrupt
        return square(model, batch)

    with pytest.raises(sst.Interrupted, match=r"interrupted after .* so far: Train with a step of") as caught:
        sst.probe(linear(), loss, batches(), agents=2, horizon=100)
    assert caught.value.advice.status == "interrupted" and caught.value.advice.useful.step > 0
    calls = 310
    with pytest.raises(KeyboardInterrupt, match="nothing is known before the ramp is over"):
        sst.probe(linear(), loss, batches(), agents=2, horizon=100)


def stable(parameters):
    return sst.StableStep(torch.optim.SGD(parameters, lr=0.1), sst.HookState(compressor.Identity()), rule.Constant())


@pytest.mark.parametrize("power", [-90, -27, 90])
def test_a_loss_in_other_units_has_the_step_in_other_units(power):
    """Up to the rounding of float32: nothing is compared with a constant."""

    def found(unit):
        torch.manual_seed(0)
        return sst.probe(nn.Linear(4, 1), lambda m, b: unit * square(m, b), batches(), agents=2, horizon=40)

    one, other = found(1.0), found(2.0**power)
    assert other.step * 2.0**power == pytest.approx(one.step, rel=1e-4)
    assert other.useful.low * 2.0**power == pytest.approx(one.useful.low, rel=1e-4)


def test_a_number_may_be_a_tensor_of_no_dimension(advice):
    assert sst.rule.Clip(torch.tensor(1.5)).threshold == 1.5
    assert sst.transfer(torch.tensor(0.5), sst.Plan(), sst.Plan()).step == pytest.approx(0.5)
    assert compressor.TopK(k=torch.tensor(2)).k == 2 and compressor.TopK(fraction=torch.tensor(0.5)).fraction == 0.5
    assert sst.rule.Clip(torch.tensor(2.0, dtype=torch.bfloat16)).threshold == 2
    for wrong in (torch.tensor(True), torch.tensor(1j), torch.ones(1), torch.tensor(math.nan)):
        with pytest.raises(InvalidInput, match="threshold is tensor"):
            sst.rule.Clip(wrong)


def test_a_file_needs_a_name(advice):
    for wrong in ("", ".", None, 3, "a\0b"):
        with pytest.raises(InvalidInput, match=r"path is|cannot be written: embedded null"):
            advice.save(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": lambda m, b: square(m, b) * math.nan}, "loss is nan at the start"),
        ({"loss": lambda m, b: square(m, b) - 100}, "losses are read relative to it, so it must be positive"),
        ({"horizon": 19}, "horizon is 19"),
        ({"agents": 40, "horizon": 100}, "batches has 64 of them, but 40 workers and 100 steps need 250"),
        ({"optimizer": torch.optim.LBFGS}, "LBFGS needs a closure"),
        ({"optimizer": 3}, "optimizer is 3"),
        ({"optimizer": lambda p: None}, "optimizer gave a NoneType"),
        ({"optimizer": lambda p: torch.optim.SGD(p, lr=0.0)}, "learning rate of SGD is 0.0"),
        ({"budget": "cheap"}, 'no budget "cheap"'),
        ({"budget": 10}, "budget is 10"),
        ({"predictor": "ramps"}, 'no predictor "ramps". Did you mean "ramp"'),
        ({"predictor": "theorem", "optimizer": torch.optim.AdamW}, "plain SGD without memory only"),
        ({"known": -1.0}, "known is -1"),
        ({"rule": 3}, "rule is 3"),
        (
            {"loss": lambda m, b: square(m, b).detach() + 0 * square(m, b)},
            "the gradient at the start is 0; begin where",
        ),
        ({"optimizer": lambda p: torch.optim.SGD(p, lr=1.0, maximize=True)}, "slope of -.* must go downhill"),
        (
            {"loss": lambda m, b: 1e30 * square(m, b), "optimizer": torch.optim.Adam},
            "first step of Adam is 0 or not finite.* other units",
        ),
        ({"loss": nn.MSELoss()}, "loss.* failed with AttributeError: .* it gets the model and one batch"),
        (
            {"optimizer": lambda p: torch.optim.SGD(linear().parameters(), lr=1.0)},
            "2 of the optimizer's parameters are not those",
        ),
        ({"optimizer": stable}, "give the optimizer inside it, and its rule as rule="),
        ({"rule": rule.LocalNorms(eta0=0.1)}, r"same at every learning rate.*give LocalNorms\(\)"),
        ({"rule": LIMIT}, "with StepLimit there may be no edge"),
        ({"known": 1e300}, "a step of .* is more than parameters in torch.float32 can be moved by"),
        ({"known": 1e-300}, "known = 1e-300 may be far off"),
        ({"predictor": ["ramp"]}, r"no predictor \['ramp'\]"),
        ({"compressor": compressor.RandK(k=7)}, "k is 7"),
    ],
)
def test_bad_input(options, message):
    arguments = {"model": linear(), "loss": square, "batches": batches(), "agents": 2, "horizon": 20} | options
    with pytest.raises(InvalidInput, match=message) as caught:
        sst.probe(**arguments)
    assert "\n" not in str(caught.value)
