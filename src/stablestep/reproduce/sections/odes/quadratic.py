"""The three ODEs on λx²/2, where all is exact."""

import math

import numpy as np
from scipy.optimize import brentq

from stablestep import problem
from stablestep.claim import Check, Claim
from stablestep.problem import Problem
from stablestep.reproduce.sections.odes.flow import descend, flow

LAMBDA = 2.0
STEPS = (0.5, 0.9, 1.0, 1.1, 1.5)  # as fractions of 2/λ


def on_quadratic() -> list[Claim]:
    f = problem.Quadratic([LAMBDA])
    etas = [fraction * 2 / LAMBDA for fraction in STEPS]
    factors = {
        "first": lambda eta: 1.0,
        "classic": lambda eta: 1 + LAMBDA * eta / 2,
        "new": lambda eta: 1 - LAMBDA * eta / 2,
    }
    texts = {
        "first": ("P 6, 34-35", "First-order ODE on λx²/2: f(X_t) = f0 exp(−2λt), converges for every η."),
        "classic": ("P 7, 36-38", "Classic second-order ODE: f0 exp(−2λ(1+λη/2)t), converges for every η."),
        "new": (
            "P 15, 39-40",
            "New ODE: f0 exp(−2λ(1−λη/2)t), converges iff η < 2/λ, the threshold of gradient descent.",
        ),
    }
    claims = []
    for kind, (where, text) in texts.items():
        checks = []
        for fraction, eta in zip(STEPS, etas):
            ratio = float(flow(f, kind, eta, 1.0, 1.0).loss[-1] / (LAMBDA / 2))
            predicted = math.exp(-2 * LAMBDA * factors[kind](eta))
            label = f"f(X_1)/f0 at η = {fraction:g} · 2/λ"
            checks.append(Check(ratio, 0.0, predicted, "=", model_error=1e-6 * max(1.0, predicted), label=label))
            if kind == "new":
                checks += _threshold(f, fraction, eta, ratio)
        claims.append(Claim(f"ode.quadratic.{kind}", where, text, tuple(checks)))
    return [*claims, _faster(f)]


def _threshold(f: Problem, fraction: float, eta: float, ratio: float) -> list[Check]:
    descent = float(descend(f, eta, 1.0, 20).loss_mean[-1] / (LAMBDA / 2))
    relation = "=" if fraction == 1 else ("<=" if fraction < 1 else ">=")
    names = (("new ODE", ratio), ("gradient descent", descent))
    slack = 1e-6 if fraction == 1 else 0.0
    return [
        Check(value, 0.0, 1.0, relation, slack, label=f"{name}: loss over its start, η = {fraction:g} · 2/λ")
        for name, value in names
    ]


def _advantage(product: float) -> float:
    """The decay rate per unit t of gradient descent on a quadratic over that of gradient flow, measured on a run."""
    eta = product / LAMBDA
    steps = 20
    loss = descend(problem.Quadratic([LAMBDA]), eta, 1.0, steps).loss_mean.values
    return float(np.log(loss[0] / loss[-1]) / (steps * eta) / (2 * LAMBDA))


def _faster(f: Problem) -> Claim:
    crossing = brentq(lambda product: _advantage(product) - 1, 1.1, 1.5, xtol=1e-9)
    assert isinstance(crossing, float)
    printed = [
        Check(_advantage(p), 0.0, 1.0, "<=", label=f"rate of gradient descent over gradient flow, ηλ = {p:g}")
        for p in (0.1, 0.5, 1.2)
    ]
    corrected = [Check(crossing, 0.0, 1.278465, "=", 1e-5, label="ηλ at which the rates are equal")]
    corrected.append(Check(_advantage(1.5), 0.0, 1.0, "<=", label="the ratio at ηλ = 1.5"))
    return Claim(
        "ode.quadratic.faster-is-inconsistent",
        "P 4.2",
        "Faster convergence as η grows is inconsistent with gradient descent.",
        tuple(printed),
        tuple(corrected),
        detail="For 0 < ηλ < 1.2785 gradient descent is faster than the flow per unit of t = kη.",
    )
