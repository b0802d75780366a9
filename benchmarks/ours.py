"""The workload in StableStep."""

import jax.numpy as jnp
import xarray as xr

import stablestep as ss
from benchmarks.workload import Workload


def simulate(work: Workload, seed: int, written: bool = False) -> xr.Dataset:
    """The workload; `written`: with f and its automatic gradient, as a user writes it, not the built-in problem."""
    return ss.simulate(
        setup(work, written),
        schedule=ss.schedule.Constant(work.eta),
        x0=work.x0,
        steps=work.steps,
        runs=work.runs,
        seed=seed,
        record=work.times,
        radius=work.radius,
    )


def setup(work: Workload, written: bool = False) -> ss.Setup:
    if work.method == "sign":
        agents = ss.Agents(work.count, ss.noise.StudentT(work.df, work.scale), ss.compressor.Sign())
    else:
        masks = ss.compressor.RandomSparsification(work.omega)
        agents = ss.Agents(work.count, ss.noise.Gaussian(sigma1=work.sigma1), masks)
    return ss.Setup(ss.problem.Function(quartic, work.dim) if written else ss.problem.Quartic(work.dim), agents)


def quartic(x):
    return jnp.sum(x**4) / 4
