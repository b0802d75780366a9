"""Signs of unlike clients: a vote, whose outcome is a median and not a mean."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.optimize import brentq

from stablestep import compressor, noise, problem, schedule
from stablestep.claim import Check, Claim
from stablestep.noise.student import Xi
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import Measured, check, mean
from stablestep.reproduce.rest import at_rest
from stablestep.reproduce.sections.unlike.clients import Bowl
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

CENTRES = np.array([0.0, 0.0, 3.0])  # the minimum is at 1, the median at 0
SIGMAS = (0.3, 1.0, 3.0, 10.0)
NOISES = {"Gaussian": np.inf, "Cauchy": 1.0}
DECISIVE, ETA = 1.0, 0.01


class Votes(NamedTuple):
    """Where signs rest, by noise and σ; a path that runs away; the gap of error feedback around scaled signs."""

    rests: dict[tuple[str, float], Measured]
    runaway: xr.Dataset
    repaired: float | None


def root(name: str, sigma: float) -> float:
    """Where the mean of the three signs is 0.

    >>> round(root("Gaussian", 1.0), 10), round(root("Cauchy", 1.0), 10)
    (0.6594187961, 0.6601231134)
    """
    nu = NOISES[name]
    # pyright takes the result for a pair, which only full_output gives.
    return float(brentq(lambda x: float(np.sum(Xi((x - CENTRES) / sigma, nu))), 0.0, 3.0, xtol=1e-14))  # pyright: ignore[reportArgumentType]


def votes(context: Context) -> Votes:
    names = ["Gaussian"] if context.quick else list(NOISES)
    sigmas = (DECISIVE, 10.0) if context.quick else SIGMAS
    rests = {(name, sigma): _rest(name, sigma, context) for name in names for sigma in sigmas}
    return Votes(rests, _runaway(context), None if context.quick else _repaired(context))


def _rest(name: str, sigma: float, context: Context) -> Measured:
    groups = [Agents(1, noise.StudentT(NOISES[name], sigma), compressor.Sign(), Bowl(c)) for c in CENTRES]
    # From the minimum of f; the noisier the votes, the longer it takes.
    time, runs = 20.0 * max(1.0, sigma), 300 if context.quick else 1000
    points = at_rest(Setup(None, *groups), ETA, time, runs, context.seed, x0=1.0)
    return mean(points[:, 0])


def _runaway(context: Context) -> xr.Dataset:
    """f₁ = f₂ = log(1 + e⁻ˣ), f₃ = x²/2, without noise: two votes of three push right for ever."""
    tail = problem.Function(lambda x: jnp.logaddexp(0.0, -x[0]), dim=1, minimum=0.0)
    setup = Setup(None, *[Agents(1, compressor=compressor.Sign(), problem=one) for one in (tail, tail, Bowl(0.0))])
    steps = 3000 if context.quick else 30_000
    common = {"x0": 0.0, "steps": steps, "runs": 1, "seed": context.seed, "dtype": "float64"}
    return simulate(setup, schedule=schedule.Constant(ETA), observe={"x": jnp.sum}, **common)


def _repaired(context: Context) -> float:
    """f − f* of EF21 around the scaled sign, from 0 on the three centres."""
    chosen = compressor.EF21(compressor.ScaledSign())
    setup = Setup(None, *[Agents(1, compressor=chosen, problem=Bowl(c)) for c in CENTRES])
    points = at_rest(setup, 0.1, 100.0, 1, context.seed, dtype="float64")
    return float((points[0, 0] - CENTRES.mean()) ** 2 / 2)


def het_sign(found: Votes) -> Claim:
    where = found.rests["Gaussian", DECISIVE]
    biased = (where[0] - 1) ** 2 / 2, abs(where[0] - 1) * where[1]
    start, end = (float(found.runaway.loss_mean[index]) for index in (0, -1))
    x = float(found.runaway.x.isel(time=-1, run=0))
    steps = int(found.runaway.iteration[-1])
    printed = (
        check(biased, "=", 0.0, f"f − f* at the mean point at rest, σ = {DECISIVE:g}, Gaussian noise", margin=0.01),
        Check(end, 0.0, start, "<=", label="f on C4 after all steps, against f at the start"),
    )
    corrected = [
        check(
            each,
            "=",
            root(name, sigma),
            f"E x at rest, {name} noise, σ = {sigma:g}, against the root of the vote",
            model_error=0.01,
        )
        for (name, sigma), each in found.rests.items()
    ]
    corrected.append(
        Check(x, 0.0, steps * ETA / 3, "=", model_error=0.02, label=f"x on C4 after {steps} steps, against kη/3")
    )
    if found.repaired is not None:
        corrected.append(Check(found.repaired, 0.0, 1e-20, "<=", label="f − f* of EF21 around scaled signs"))
    return Claim(
        "het.sign",
        "P 4.3, S2 4.4",
        "DSignSGD converges, for unlike clients too.",
        printed,
        tuple(corrected),
        detail="f_i = ½(x − c_i)², c = (0, 0, 3): the vote rests at a noise-weighted median (more noise brings it "
        "nearer to the mean). C4: log(1 + e⁻ˣ) twice and x²/2: two votes of three push right for ever, though f has a minimum at 0.67.",
    )
