"""The probe on a regression whose constants are known, what it prints and writes, and what it refuses."""

import json
import math

import pytest
import torch
from torch import nn

import stablestep.torch as sst
from stablestep import compressor
from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, result

SCALES = torch.tensor([1.0, 1.0, 2.0])
SIZE = 16


def batches(count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, SIZE, 3, generator=generator) * SCALES
    return [(one, one.sum(1, keepdim=True) + 0.5 * torch.randn(SIZE, 1, generator=generator)) for one in x]


def square(model, batch):
    """The Hessian is 2 E xxᵀ: its largest eigenvalue is 8."""
    return (model(batch[0]) - batch[1]).square().mean()


def linear():
    model = nn.Linear(3, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model


@pytest.fixture(scope="module")
def advice():
    return sst.survey(linear(), square, batches(), agents=4, compressor=compressor.RandK(k=1), mask="own", lr=0.02)


def test_the_constants_of_a_regression(advice):
    """The curvature is 8 everywhere, up to the batches it is measured on, and does not grow."""
    at_most = advice.smoothness(max(point.gradient_norm for point in advice.points))
    assert 7 < at_most < 13 and not advice.grows and "cannot be told from 0" in advice.verdict
    assert advice.stated_omega == 2.0 and abs(advice.omega.value - 2.0) < 1.0
    assert advice.tail.variance == "finite" and advice.tail.coordinates == 3
    assert (advice.agents, advice.dim) == (4, 3)


def test_the_steps_are_in_order(advice):
    """The mean-square edge of gradient descent is 2/8; masks and noise lower it, and the theorem's limit."""
    steps = {limit.predictor: limit.constant.step for limit in advice.limits}
    assert list(steps) == ["one-step-log", "loss-model", "theorem"]
    assert 0 < steps["loss-model"] < 0.35 and 0 < steps["theorem"] < 0.15
    assert advice.step.step == steps["theorem"] and advice.eta0.step > advice.step.step


def test_the_omega_that_can_be_borne_halves_the_step(advice):
    """And at the ω for a given step the theorem's limit is that step."""
    norm = max(point.gradient_norm for point in advice.points if point.descent)

    def limit(omega):
        c = Constants(
            L0=advice.smoothness.L0.value,
            L1=advice.smoothness.L1.value,
            dim=3,
            count=4,
            omega=omega,
            sigma0_sq=advice.variance.sigma0_sq.value,
            sigma1_sq=advice.variance.sigma1_sq.value,
        )
        return 2 * result("4.2").step_limit(c, norm, 0.5)

    assert limit(advice.bearable_omega) == pytest.approx(limit(0.0) / 2)
    assert limit(advice.omega_at_lr) == pytest.approx(0.02)
    assert limit(2.0) == pytest.approx(advice.limits[-1].constant.step)
    assert 2 * sst.rule.StepLimit("4.2", advice.constants).limit(norm) == pytest.approx(limit(2.0))


def test_normalization_is_the_theorems(advice):
    a, b = advice.normalization
    norm = max(point.gradient_norm for point in advice.points if point.descent)
    assert 2 / (a + b * norm) == pytest.approx(advice.limits[-1].constant.step)


def test_table_json_and_picture(advice, tmp_path):
    shown = str(advice)
    for text in (
        "L0",
        "σ1²",
        "halves the theorem",
        "at your lr",
        "theorem (the advice)",
        "100 Mbit/s",
        "RandK",
        advice.verdict[:40],
    ):
        assert text in shown
    saved = json.loads(advice.save(tmp_path / "advice.json").read_text(), parse_constant=pytest.fail)
    assert saved["step"] == advice.step.step and saved["constants"]["L0"]["low"] <= saved["constants"]["L0"]["value"]
    assert len(saved["points"]) == 12 and len(saved["links"]) == 4 and saved["verdict"] == advice.verdict
    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")):
        assert advice.plot(tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(InvalidInput, match=r"pictures end in \.png"):
        advice.plot(tmp_path / "a.txt")
    for write in (advice.plot, advice.save):
        with pytest.raises(InvalidInput, match="cannot be written"):
            write(tmp_path / "none" / "a.png")


def test_growing_curvature_asks_for_normalization():
    """x⁴/4 with small noise: curvature 3x² grows with the gradient, and the normalized step may be larger."""

    class Steep(nn.Module):
        def __init__(self):
            super().__init__()
            self.x = nn.Parameter(torch.full((10,), 2.0))

    pool = [0.01 * torch.randn(10, generator=torch.Generator().manual_seed(number)) for number in range(16)]
    found = sst.survey(Steep(), lambda model, noise: (model.x**4 / 4 + noise * model.x).sum(), pool, agents=2)
    assert found.grows and found.smoothness.L1.low > 0 and "normalize" in found.verdict
    # η x² ≤ 2 at x = 2; normalized, η0 ≤ 2(1 + √10 x³)/x², 13.1 at x = 2 but 8.1 on the way down, at x = .86.
    assert 0.05 < found.step.step < 0.5 and 3 * found.step.step < found.eta0.step < 8.1


def test_signs_have_a_theorem_of_their_own():
    found = sst.survey(linear(), square, batches(16), compressor=compressor.Sign(), predictor="one-step-log", points=6)
    c, limit = found.constants, found.limits[-1]
    assert c is not None and c.signs and 0 < c.scale_min[0] < c.scale_max[0]
    assert limit.constant.step == pytest.approx(result("4.3").step_limit(c, None, None))
    assert found.stated_omega is None and found.bearable_omega is None and found.normalization[1] == 0
    json.dumps(found.to_dict(), allow_nan=False)


def test_biased_messages_have_no_theorem():
    found = sst.survey(linear(), square, batches(16), compressor=compressor.TopK(k=2), predictor="theorem", points=6)
    assert found.constants is None and found.step is None and "no theorem covers a biased" in found.verdict
    assert str(found) and json.dumps(found.to_dict(), allow_nan=False)


def test_eta0_keeps_every_point_of_the_descent_below_the_predictor(advice):
    descent = [point for point in advice.points if point.descent]
    limits = {limit.predictor: limit for limit in advice.limits}
    a, b = advice.normalization
    model = {p.mean_norm: p.step for p in descent if p.step}
    theorem = {p.mean_norm: 2 / (a + b * p.gradient_norm) for p in descent}
    for name, steps in (("loss-model", model), ("theorem", theorem)):
        eta0 = limits[name].normalized.step
        assert max(eta0 / (1 + norm) / step for norm, step in steps.items()) == pytest.approx(1.0)


def test_at_a_minimum_there_is_no_answer_but_no_error_either():
    """Without slope no step lowers the loss; what is left says so."""
    model = linear()
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(*(torch.cat(side) for side in zip(*batches()))).solution.T)
    found = sst.survey(model, square, batches(), predictor="loss-model", points=6)
    reasons = {limit.predictor: limit.reason for limit in found.limits}
    assert found.step is None or found.step.step > 0
    assert "told from the noise" in reasons["loss-model"] or found.limits[1].constant is not None
    assert str(found) and json.dumps(found.to_dict(), allow_nan=False)


def test_a_negative_loss_costs_one_predictor_only():
    found = sst.survey(linear(), lambda m, b: square(m, b) - 100, batches(16), predictor="loss-model", points=6)
    assert "logarithm" in found.limits[0].reason and found.limits[0].constant is None and found.step.step > 0


def test_batches_that_do_not_differ_have_no_noise():
    found = sst.survey(linear(), square, batches(1) * 8, predictor="loss-model", points=6)
    assert found.tail is None and found.variance.sigma0_sq.value == pytest.approx(0, abs=1e-9)
    assert found.to_dict()["constants"]["nu"] is None and str(found)


def test_nothing_of_yours_changes(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1))
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    found = sst.survey(model, square, batches(16), predictor="one-step-log", points=6)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    again = sst.survey(model, square, batches(16), predictor="one-step-log", points=6)
    assert again.limits == found.limits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predictor": "lossmodel"}, 'no predictor "lossmodel". Did you mean "loss-model"'),
        ({"predictor": 3}, "no predictor 3"),
        ({"predictor": ["theorem"]}, r"no predictor \['theorem'\]"),
        ({"points": 3}, "points is 3"),
        ({"agents": 10**9}, "batches has 8 of them .* 1000000000 workers need 62500000"),
        ({"lr": -1.0}, "lr is -1"),
        ({"link": 3.0}, "link is 3"),
        ({"link": "2"}, 'link is "2"'),
        ({"compressor": compressor.RandK(k=7)}, "k is 7"),
        ({"loss": lambda model, batch: (model(batch[0]) * 0).sum()}, "gradient at the start is 0"),
        ({"loss": lambda model: model}, r"loss\(model, batch\) failed with TypeError: .* takes 1 positional"),
        ({"loss": lambda model, batch: model(batch[0])}, r"loss gave a tensor of shape \(.*one number"),
        ({"loss": nn.MSELoss()}, r"loss\(model, batch\) failed with AttributeError: .*as in lambda model, batch"),
        ({"loss": lambda model, batch: {}["loss"]}, r"loss\(model, batch\) failed with KeyError"),
        ({"seed": -1}, "seed is -1"),
        ({"model": nn.Linear(3, 1, dtype=torch.complex64)}, "parameters are complex"),
    ],
)
def test_bad_input(options, message):
    arguments = {"model": linear(), "loss": square, "batches": batches(8)} | options
    with pytest.raises(InvalidInput, match=message) as caught:
        sst.survey(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("unit", [2.0**-90, 2.0**60, 2.0**90])
def test_a_loss_in_other_units_has_steps_in_other_units(unit):
    """Squares of its gradients are beyond what float32 holds, but not the steps."""

    def found(unit):
        torch.manual_seed(0)
        return sst.survey(nn.Linear(3, 1), lambda model, batch: unit * square(model, batch), batches(16), points=6)

    one, other = found(1.0), found(unit)
    for limit, alike in zip(one.limits, other.limits):
        assert alike.constant.step * unit == pytest.approx(limit.constant.step, rel=1e-3)
    assert other.smoothness.L0.value / unit == pytest.approx(one.smoothness.L0.value, rel=1e-3)


def test_sparse_gradients_are_refused():
    model = nn.Embedding(5, 2, sparse=True)
    rows = [torch.tensor([number % 5]) for number in range(8)]
    with pytest.raises(InvalidInput, match="sparse=False"):
        sst.survey(model, lambda model, row: model(row).square().sum(), rows)


def test_an_error_of_the_loader_stays_its_own():
    def loader():
        yield from batches(4)
        raise TypeError("collate")

    with pytest.raises(TypeError, match="collate"):
        sst.survey(linear(), square, loader())


def test_it_needs_no_gradient_mode_of_yours():
    with torch.no_grad():
        assert sst.survey(linear(), square, batches(8), predictor="theorem", points=6).step.step > 0


def test_a_gradient_that_is_not_finite_is_named():
    def broken(model, batch):
        return square(model, batch) if model.weight.abs().sum() == 0 else square(model, batch) * math.nan

    with pytest.raises(InvalidInput, match=r"not finite.*; give the loss in other units"):
        sst.survey(linear(), broken, batches(8), predictor="theorem")
