"""Momentum before the sign: levels at rest on x²/2 in units of the sign's own, under two noises."""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from stablestep import compressor, noise, problem
from stablestep.claim import Claim
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import Measured, check, mean
from stablestep.reproduce.rest import at_rest
from stablestep.setup import Agents, Setup

NOISES = {"Gaussian": noise.StudentT(np.inf, 1.0), "Cauchy": noise.StudentT(1.0, 1.0)}
BETAS = (0.0, 0.5, 0.8, 0.9, 0.95)
DIM = 64  # independent copies in one run
TOPMOST = 0.9  # the β that decides


class Level(NamedTuple):
    """The mean of x²/2 at rest: measured, and as η → 0."""

    measured: Measured
    predicted: float


def dispersion(beta: float, name: str) -> float:
    """D = Σ_k Cov(s_0, s_k), s_k the sign of an average of noise alone.

    >>> round(dispersion(0.9, "Gaussian"), 6), round(dispersion(0.9, "Cauchy"), 5)
    (13.278869, 21.28682)
    """
    if beta == 0:
        return 1.0
    powers = beta ** np.arange(1, math.ceil(-36 / math.log(beta)))
    if name == "Gaussian":
        return 1 + 4 / math.pi * float(np.sum(np.arcsin(powers)))
    return 1 + 2 * float(np.sum(_cauchy_correlation(powers)))


def _cauchy_correlation(powers: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """ρ(a) = (4/π²) ∫ arctan(a/(1 − a) · tan θ) dθ over [0, π/2] for each a: the correlation of the signs of two averages."""
    nodes, weights = _rule()
    # θ = (π/4)(1 + sin(πv/2)): the integrand is steep at the ends.
    angle, slope = math.pi / 4 * (1 + np.sin(math.pi / 2 * nodes)), math.pi**2 / 8 * np.cos(math.pi / 2 * nodes)
    values = np.arctan2(powers[:, None] * np.sin(angle), (1 - powers[:, None]) * np.cos(angle))
    return 4 / math.pi**2 * values @ (weights * slope)


@cache
def _rule() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(100)


def speed(beta: float, name: str) -> float:
    """By how much the mean message is steeper at 0 than without momentum: averages of Cauchy noise are as wide as the noise."""
    return math.sqrt((1 + beta) / (1 - beta)) if name == "Gaussian" else 1.0


def level(beta: float, name: str, eta: float) -> float:
    """E x²/2 at rest, as η → 0.

    >>> round(level(0.9, "Gaussian", 0.005), 7), round(level(0.0, "Cauchy", 0.005), 6)
    (0.0047726, 0.001963)
    """
    at_zero = math.sqrt(2 / math.pi) if name == "Gaussian" else 2 / math.pi
    return eta * dispersion(beta, name) / (4 * at_zero * speed(beta, name))


def levels(context: Context) -> dict[tuple[str, float, bool], Level]:
    """By noise, β, and whether η is rescaled to the speed of the sign without momentum."""
    betas = (0.0, TOPMOST) if context.quick else BETAS
    found = {}
    for name in NOISES:
        for beta in betas:
            found[name, beta, False] = _level(name, beta, False, context)
            if name == "Gaussian":
                found[name, beta, True] = found[name, beta, False] if beta == 0 else _level(name, beta, True, context)
    return found


def _level(name: str, beta: float, rescaled: bool, context: Context) -> Level:
    eta = 0.005 if context.quick else 0.002
    own = eta / speed(beta, name) if rescaled else eta
    signum = compressor.Momentum(compressor.Sign(), beta=beta)
    setup = Setup(problem.Quadratic(np.ones(DIM)), Agents(1, NOISES[name], signum))
    # The time of the slowest relaxation, and the same number of them at every speed.
    time = 5.0 / (1.0 if rescaled else speed(beta, name)) * own / eta
    points = at_rest(setup, own, time, 150 if context.quick else 400, context.seed)
    return Level(mean(np.mean(points**2, axis=1) / 2), level(beta, name, own))


def ratio(found: dict, name: str, beta: float, rescaled: bool = False) -> Measured:
    """The level over that of the sign without momentum."""
    (top, top_error), (base, base_error) = found[name, beta, rescaled].measured, found[name, 0.0, False].measured
    return top / base, top / base * math.hypot(top_error / top, base_error / base)


def predicted_ratio(name: str, beta: float, rescaled: bool = False) -> float:
    """The same as η → 0."""
    found = level(beta, name, 1.0) / level(0.0, name, 1.0)
    return found / speed(beta, name) if rescaled else found


def signum_better(found: dict, context: Context) -> Claim:
    error = 0.05 if context.quick else 0.03
    what = f"E x²/2 at rest of Signum, β = {TOPMOST:g}, over that of the sign"
    printed = check(ratio(found, "Gaussian", TOPMOST), "<=", 1.0, f"{what}, Gaussian noise, equal η")
    corrected = []
    for name, rescaled, words in (
        ("Gaussian", False, "equal η"),
        ("Gaussian", True, "equal speed"),
        ("Cauchy", False, "equal η and speed"),
    ):
        value = predicted_ratio(name, TOPMOST, rescaled)
        label = f"{what}, {name} noise, {words}"
        corrected.append(check(ratio(found, name, TOPMOST, rescaled), "=", value, label, model_error=error * value))
    return Claim(
        "signum.better",
        "folklore",
        "Momentum before the sign lowers the plateau.",
        (printed,),
        tuple(corrected),
        detail="At equal η it raises it. With η smaller by √((1−β)/(1+β)), so that both approach the minimum equally "
        "fast, it lowers it under Gaussian noise, towards ln 2 as β → 1. An average of Cauchy noise is as wide as the "
        "noise: nothing is gained.",
    )
