"""Step rules as functions of what the server sees."""

import math

import pytest
import torch

from stablestep import theorem
from stablestep.errors import InvalidInput
from stablestep.torch import rule, step
from stablestep.torch.step.rule import LossModel, Rule, Seen, StepLimit, products
from tests.instances import named, public, written

C = theorem.Constants(L0=1, L1=0.5, dim=10, omega=[4, 8], sigma0_sq=[0.1, 0.2], sigma1_sq=[0.01, 0.02])
SIGNS = theorem.Constants(L0=1, L1=2, dim=4, count=2, nu=1, scale_max=[1, 3])


X = torch.ones(2, dtype=torch.float64, requires_grad=True)
RULES = {
    "constant": lambda: rule.Constant(),
    "local-norms": lambda: rule.LocalNorms(),
    "local-norms-own": lambda: rule.LocalNorms(eta0=0.1),
    "step-limit": lambda: rule.StepLimit("4.2", C),
    "clip": lambda: rule.Clip(threshold=1.0),
    "governor": lambda: rule.Governor(),
    "loss-model": lambda: rule.LossModel(lambda: (X**4).sum(), every=3),
}


def test_every_rule_can_be_named_and_has_a_row_here():
    """`stablestep.torch.rule` is where users look for rules."""
    hidden, rows = written(step, Rule) - public(rule), {type(make()) for make in RULES.values()}
    assert not hidden, f"not in stablestep.torch.rule: {named(hidden)}"
    assert not public(rule) - rows, f"no row in RULES of tests/torch/test_step_rules.py: {named(public(rule) - rows)}"


def factors(chosen, norms):
    found = []
    for norm in norms:
        X.grad = torch.full_like(X, norm)
        found.append(chosen.factor(seen(norm, parameters=[X])))
    return found


@pytest.mark.parametrize("name", RULES)
def test_a_rule_goes_on_where_it_was_saved(name, tmp_path):
    """What a rule remembers is in its state, in plain numbers, or training would resume with other steps."""
    whole, first, second = (RULES[name]() for _ in range(3))
    wanted = factors(whole, [3.0, 0.5, 7.0, 0.2, 4.0, 1.0])
    assert factors(first, [3.0, 0.5]) == wanted[:2] and all(0 < one < math.inf for one in wanted)
    torch.save(first.state_dict(), tmp_path / "rule.pt")
    second.load_state_dict(torch.load(tmp_path / "rule.pt", weights_only=True))
    lost = f"{type(second).__name__} remembers something that state_dict and load_state_dict leave out"
    assert factors(second, [7.0, 0.2, 4.0, 1.0]) == wanted[2:], lost


def seen(norm=1.0, lr=0.5, parameters=()):
    return Seen(mean_norm=norm, lr=lr, initial_lr=lr, parameters=parameters)


@pytest.mark.parametrize("norm", [0.0, 2.0, 50.0])
def test_the_step_is_the_theorems_limit(norm):
    limit = theorem.step_limit("4.2", C, gradient_norm=norm, epsilon=0.3)
    assert StepLimit("4.2", C, epsilon=0.3).factor(seen(norm, lr=10.0)) * 10.0 == pytest.approx(limit, rel=1e-14)
    assert StepLimit("4.2", C, epsilon=0.3).factor(seen(norm, lr=1e-6)) == 1.0


def test_signs_have_a_constant_limit():
    assert StepLimit("4.3", SIGNS).factor(seen(7.0)) * 0.5 == theorem.step_limit("4.3", SIGNS)


def test_hypotheses_are_checked_at_once():
    with pytest.raises(InvalidInput, match="about uncompressed messages"):
        StepLimit("B.1", C)
    with pytest.raises(InvalidInput, match="epsilon is 2"):
        StepLimit("4.2", C, epsilon=2)
    with pytest.raises(InvalidInput, match='There is no result "9"'):
        StepLimit("9", C)


def quadratic(*curvatures):
    """f = ½ Σ λ x², and x with the gradient as its message."""
    scale = torch.tensor(curvatures, dtype=torch.float64)
    x = torch.ones(len(curvatures), dtype=torch.float64, requires_grad=True)
    x.grad = scale * x.detach()
    return x, lambda: 0.5 * (scale * x**2).sum()


def test_products():
    x, loss = quadratic(1.0, 3.0)
    slope, curvature = products(loss, [x], [x.grad])
    assert (float(slope), float(curvature)) == (10.0, 28.0)
    slope, curvature = products(lambda: (2 * x).sum(), [x], [x.grad])  # no curvature at all
    assert (float(slope), float(curvature)) == (8.0, 0.0)


def test_the_loss_model_stops_where_descent_stops():
    x, loss = quadratic(1.0, 3.0)
    step = LossModel(loss, every=1, epsilon=1.0).factor(seen(lr=5.0, parameters=[x])) * 5.0
    with torch.no_grad():
        before, edge = loss(), None
        x -= step * x.grad
        edge = loss()
    assert float(edge) == pytest.approx(float(before), rel=1e-12)


def test_the_loss_model_measures_every_m_steps():
    calls = []
    x, loss = quadratic(2.0)

    def counted():
        calls.append(1)
        return loss()

    chosen = LossModel(counted, every=3)
    found = [chosen.factor(seen(lr=4.0, parameters=[x])) for _ in range(7)]
    assert len(calls) == 3 and found == [pytest.approx(1 / 8)] * 7
    again = LossModel(counted, every=3)
    again.load_state_dict(chosen.state_dict())
    assert again.factor(seen(lr=4.0, parameters=[x])) == pytest.approx(1 / 8) and len(calls) == 3


def test_no_curvature_no_opinion():
    x, loss = quadratic(-1.0)
    assert LossModel(loss).factor(seen(parameters=[x])) == 1.0
