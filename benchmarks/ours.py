"""The workload in StableStep."""

import jax.numpy as jnp
import xarray as xr

import stablestep as ss
from benchmarks.workload import Workload

MODEL = "new"


def simulate(work: Workload, seed: int, written: bool = False, **more) -> xr.Dataset:
    """The workload; `written`: with f and its automatic gradient, as a user writes it, not the built-in problem."""
    schedule = ss.schedule.Constant(work.eta)
    common = dict(x0=work.x0, runs=work.runs, seed=seed, record=work.times, radius=work.radius, **more)
    if work.method != "sde":
        return ss.simulate(setup(work, written), schedule=schedule, steps=work.steps, **common)
    model = ss.sde.model(setup(work, written), MODEL, schedule)
    # The baselines do not measure their integration error either.
    return ss.integrate(model, time=work.steps * work.dt, dt=work.dt, error=False, **common)


def setup(work: Workload, written: bool = False) -> ss.Setup:
    if work.method == "sign":
        agents = ss.Agents(work.count, ss.noise.StudentT(work.df, work.scale), ss.compressor.Sign())
    else:
        masks = ss.compressor.RandomSparsification(work.omega)
        agents = ss.Agents(work.count, ss.noise.Gaussian(sigma1=work.sigma1), masks)
    return ss.Setup(ss.problem.Function(quartic, work.dim) if written else ss.problem.Quartic(work.dim), agents)


def quartic(x):
    return jnp.sum(x**4) / 4
