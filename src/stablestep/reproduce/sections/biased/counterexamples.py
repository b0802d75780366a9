"""Least squares on which signs and Top-1 fail, and error feedback does not."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr

from stablestep import compressor, noise, problem, schedule
from stablestep.claim import Check, Claim
from stablestep.reproduce.context import Context
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

SIGNS = {
    "sign": compressor.Sign(),
    "scaled sign": compressor.ScaledSign(),
    "EF, scaled sign": compressor.ErrorFeedback(compressor.ScaledSign()),
    "no compression": compressor.Identity(),
}
TOPS = {
    "Top-1": compressor.TopK(k=1),
    "EF, Top-1": compressor.ErrorFeedback(compressor.TopK(k=1)),
    "EF21, Top-1": compressor.EF21(compressor.TopK(k=1)),
}
GONE = 1e-20  # f where it started at ½ or more
ETA = 0.05


class Failures(NamedTuple):
    """Runs of each method on the two examples."""

    signs: dict[str, xr.Dataset]
    tops: dict[str, xr.Dataset]


def failures(context: Context) -> Failures:
    quick = {"sign", "EF, scaled sign", "Top-1", "EF, Top-1"}
    signs = {name: _signs(one, context) for name, one in SIGNS.items() if name in quick or not context.quick}
    return Failures(
        signs, {name: _tops(one, context) for name, one in TOPS.items() if name in quick or not context.quick}
    )


def _signs(chosen: compressor.Compressor, context: Context) -> xr.Dataset:
    """f = ⟨a₁,x⟩² + ⟨a₂,x⟩², a = ±(1, −1) + ¼(1, 1), one of the two terms at a time, as 4⟨a,x⟩a."""
    rows = np.array([[1.25, -0.75], [-0.75, 1.25]])
    both = problem.FiniteSum(_twice_square, rows, dim=2, minimum=0.0)
    setup = Setup(both, Agents(1, noise.Minibatch(1), chosen))
    common = {"x0": 1.0, "steps": 3000, "runs": 20, "seed": context.seed, "dtype": "float64"}
    return simulate(setup, schedule=schedule.Constant(0.02), observe={"total": jnp.sum}, **common)


def _twice_square(x, row):
    return 2 * jnp.dot(row, x) ** 2


def _tops(chosen: compressor.Compressor, context: Context) -> xr.Dataset:
    """f_i = ⟨a_i,x⟩² + ¼‖x‖², a = (−3, 2, 2), (2, −3, 2), (2, 2, −3), without noise."""
    rows = 2.0 * np.ones((3, 3)) - 5.0 * np.eye(3)
    own = [problem.Quadratic(2 * np.outer(row, row) + np.eye(3) / 2) for row in rows]
    setup = Setup(None, *[Agents(1, compressor=chosen, problem=one) for one in own])
    steps = 100 if chosen == TOPS["Top-1"] else 1000
    common = {"x0": 1.0, "steps": steps, "runs": 1, "seed": context.seed, "dtype": "float64", "radius": 1e9}
    return simulate(setup, schedule=schedule.Constant(ETA), **common)


def counterexamples_of(found: Failures) -> Claim:
    checks = []
    for name, result in found.signs.items():
        if name in ("sign", "scaled sign"):
            label = f"least f of {name} on any path of C1, against f(x0)"
            checks.append(Check(float(result.loss_quantile.min()), 0.0, 0.5, ">=", model_error=1e-9, label=label))
            off = float(np.abs(result.total - 2).max())
            label = f"largest |x₁ + x₂ − 2| of {name} on C1"
            checks.append(Check(off, 0.0, 0.0, "=", model_error=1e-9, label=label))
        elif name != "no compression":
            checks.append(_vanishes(name, result, "C1"))
    growth = (1 + 11 * ETA / 6) ** 200
    top = found.tops["Top-1"]
    ratio = float(top.loss_mean[-1] / top.loss_mean[0])
    label = "f of Top-1 after 100 steps over its start on C2, against (1 + 11η/6)²⁰⁰"
    checks.append(Check(ratio, 0.0, growth, "=", model_error=1e-9 * growth, label=label))
    checks += [_vanishes(name, result, "C2") for name, result in found.tops.items() if name != "Top-1"]
    return Claim(
        "biased.counterexamples",
        "Karimireddy et al. 2019, Beznosikov et al. 2020",
        "Signs and Top-1 without memory stall or diverge on least squares; with error feedback they converge.",
        tuple(checks),
        detail="C1: two samples in the plane, whose signs are ±(1, −1) for ever. C2: three clients, each of which "
        "sends the coordinate that leads away.",
    )


def _vanishes(name: str, result: xr.Dataset, where: str) -> Check:
    end = float(result.loss_mean[-1])
    return Check(end, 0.0, GONE, "<=", label=f"f of {name} at the end on {where}")
