"""What α alone tells of the step of error feedback: what suffices, what is necessary, and what compressors need."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from stablestep import compressor, problem, schedule, stability, theorem
from stablestep.claim import Check, Claim
from stablestep.reproduce.context import Context
from stablestep.reproduce.edges import mean_square_edge
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.theorem.ef import necessary

ALPHAS = (0.1, 0.25, 0.5, 0.75)
TOPS = (2, 4, 10)  # d of Top-1


class Overshoot(compressor.Compressor):
    """C(v) = (1 + s)v, s = √(1 − α): the compressor that makes the most of ‖C(v) − v‖² ≤ (1 − α)‖v‖².

    >>> Overshoot(0.75).compress(None, jnp.array([2.0])).tolist()
    [3.0]
    """

    alpha: float

    def compress(self, uniform, gradient):
        return (1 + jnp.sqrt(jnp.asarray(1 - self.alpha, gradient.dtype))) * gradient

    def bits(self, dim, shared=False):
        return 32.0 * dim

    def contraction(self, dim):
        return self.alpha

    @property
    def unbiased(self):
        return False

    @property
    def deterministic(self):
        return True

    @property
    def homogeneous(self):
        return True


class Steps(NamedTuple):
    """Observed edges of error feedback on ‖x‖²/2: around Overshoot by α, around Top-1 by d."""

    worst: dict[float, float]
    tops: dict[int, float]


def constants(alpha: float, dim: int = 1) -> theorem.Constants:
    return theorem.Constants(L0=1.0, L1=0.0, dim=dim, alpha=alpha)


def observed(context: Context) -> Steps:
    worst = {alpha: _worst(alpha, context) for alpha in ALPHAS}
    dims = () if context.quick else TOPS
    return Steps(worst, {dim: _edge(compressor.TopK(k=1), dim, context) for dim in dims})


def _setup(chosen: compressor.Compressor, dim: int) -> Setup:
    return Setup(problem.Quadratic(np.ones(dim)), Agents(1, compressor=compressor.ErrorFeedback(chosen)))


def _worst(alpha: float, context: Context) -> float:
    """By the growth of f late: what grows starts small, as the memory does."""
    near, late = necessary(constants(alpha)), (500, 1500)
    return mean_square_edge(_setup(Overshoot(alpha), 1), near, late, 1, context.seed, width=1.02)


def _edge(chosen: compressor.Compressor, dim: int, context: Context) -> float:
    x0 = np.random.default_rng(context.seed).normal(size=dim)
    return stability.critical_step(_setup(chosen, dim), x0=x0, method="simulation", steps=2000).step


def alpha_tight(found: Steps, context: Context) -> Claim:
    checks = []
    for alpha in ALPHAS:
        s = math.sqrt(1 - alpha)
        c, r = constants(alpha), s / (1 - s)
        suffices, needed = theorem.step_limit("ef", c), necessary(c)
        at = f"α = {alpha:g}"
        label = f"limit of the theorem, {at}, against 2/(1 + √(1 + 4r²))"
        checks.append(Check(suffices, 0.0, 2 / (1 + math.sqrt(1 + 4 * r**2)), "=", model_error=1e-9, label=label))
        label = f"edge of EF around C(v) = (1+s)v by simulation, {at}, against 2(1−s)/(1+s)"
        checks.append(Check(found.worst[alpha], 0.0, needed, "=", model_error=0.001 * needed, label=label))
        if alpha <= 0.5:
            label = f"what suffices over what is necessary, {at}"
            checks.append(Check(suffices / needed, 0.0, 0.98, ">=", label=label))
        checks.append(_descends(alpha, 0.99 * suffices, context))
    return Claim(
        "ef.alpha-tight",
        "theory of error feedback",
        "Knowing only α, ηL < 2/(1 + √(1 + 4r²)) suffices for EF, and 2(1−s)/(1+s) is necessary; s = √(1−α), r = s/(1−s).",
        tuple(checks),
        detail="The two are within 2 % of each other for α ≤ ½. Top-1 itself, with α = 1/d, allows far larger steps on ‖x‖²/2: about 2/d.",
    )


def _descends(alpha: float, eta: float, context: Context) -> Check:
    common = {"x0": 1.0, "steps": 4000, "runs": 1, "seed": context.seed, "record": [2000, 4000]}
    found = simulate(_setup(Overshoot(alpha), 1), schedule=schedule.Constant(eta), **common)
    label = f"f after 4000 steps over its start, C(v) = (1+s)v, α = {alpha:g}, at 0.99 of what suffices"
    return Check(float(found.loss_mean[-1] / found.loss_mean[0]), 0.0, 1e-3, "<=", label=label)
