"""Theorems on the discrete methods themselves, held against simulation: signs, and compressed gradients with the pathwise step."""

from dataclasses import dataclass

import numpy as np

from stablestep import compressor, problem, schedule, theorem
from stablestep.claim import Claim
from stablestep.report import Table
from stablestep.reproduce.both_sides import Case, paths, signs
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import Measured, check, mean
from stablestep.reproduce.sections.sign_bounds import CORRECTED, ETA
from stablestep.setup import Agents, Setup

QUARTIC = problem.Quartic(10)
OMEGA, CAP, STEPS = 4.0, 1e3, 300  # a cap that never binds
PATHWISE = ((0.5, 0.9, 1), (2.0, 0.9, 1), (10.0, 0.9, 1), (0.5, 0.5, 1), (2.0, 0.9, 4))  # x0, ε, N
IN_QUICK = "cosh x from 6"


@dataclass(frozen=True)
class Held:
    """A result's left side on the optimizer, and its right side."""

    name: str
    label: str
    left: Measured
    right: float


def sign_sides(context: Context) -> list[Held]:
    """E Ψ(∇f(x_k)) at the theorem's own random iteration against its bound."""
    chosen = [IN_QUICK] if context.quick else list(CORRECTED)
    return [_sign_side(label, context) for label in chosen]


def _sign_side(label: str, context: Context) -> Held:
    landscape, x0, L1, end, scales, nu = CORRECTED[label]
    agents = signs(scales, nu)
    c = theorem.constants(Setup(landscape, *agents), L1=L1, x0=x0)
    case = Case(label, landscape, agents, x0, schedule.Polynomial(ETA, 0.5), round(end / ETA))
    norms, times = paths(case, None, 250 if context.quick else 1000, context.seed)
    steps, found = ETA * (1 + times[:-1]) ** -0.5, theorem.result("discrete.sign")
    chances = np.asarray(theorem.density("discrete.sign", c, steps=steps))
    left = mean(np.asarray(found.measure(c, norms[:, :-1])) @ chances)
    return Held("discrete.sign", label, left, theorem.bound("discrete.sign", c, steps=steps))


def pathwise_sides(context: Context) -> list[Held]:
    """Σ h‖∇f(x_k)‖² with the theorem's own step at each gradient norm against S0/(1 − ε)."""
    cases = PATHWISE[:1] + PATHWISE[3:4] if context.quick else PATHWISE
    return [_pathwise_side(*case, context) for case in cases]


def _pathwise_side(x0: float, epsilon: float, count: int, context: Context) -> Held:
    agents = (Agents(count, compressor=compressor.RandomSparsification(OMEGA)),)
    c = theorem.constants(Setup(QUARTIC, *agents), L1=2.0, x0=x0)
    rule = schedule.StepLimit("discrete.dcsgd", eta=CAP, epsilon=epsilon, constants=c)
    label = f"x⁴/4, d = {QUARTIC.dim}, x0 = {x0:g}, ε = {epsilon:g}, N = {count}"
    case = Case(label, QUARTIC, agents, x0, rule, STEPS)
    norms, _ = paths(case, None, 250 if context.quick else 1000, context.seed)
    offset, slope = theorem.result("discrete.dcsgd").normalization(c, epsilon)
    left = mean(np.sum(norms[:, :-1] ** 2 / (offset + slope * norms[:, :-1]), axis=1))
    return Held("discrete.dcsgd", label, left, (c.initial_gap or 0.0) / (1 - epsilon))


def sign_discrete(held: list[Held]) -> Claim:
    return _claim(
        "sign.discrete",
        "The corrected 4.3 holds for discrete DSignSGD, with ψ(√d h) in place of d h²/2.",
        held,
    )


def dcsgd_discrete(held: list[Held]) -> Claim:
    text = "The pathwise 4.2 with ε → u_ε holds for discrete DCSGD without gradient noise."
    return _claim("dcsgd.discrete", text, held)


def _claim(id: str, text: str, held: list[Held]) -> Claim:
    checks = [check(one.left, "<=", one.right, f"left side of {one.name}, {one.label}, optimizer") for one in held]
    loosest = max(one.right / one.left[0] for one in held)
    detail = f"About the optimizer itself: no SDE stands in between. Right over left is at most {loosest:.3g}."
    return Claim(id, "theory of bounded steps", text, tuple(checks), detail=detail)


def table(held: list[Held]) -> Table:
    rows: list[list[str | float]] = [
        [one.name, one.label, float(f"{one.left[0]:.4g}"), one.right, float(f"{one.right / one.left[0]:.3g}")]
        for one in held
    ]
    caption = "Both sides of the discrete theorems on the optimizer: E Ψ(∇f) at the random iteration (signs), Σ h‖∇f‖² (DCSGD)."
    return Table(["theorem", "problem", "left", "right", "right/left"], rows, caption)
