"""The baselines of the benchmarks simulate what StableStep does: same laws, records and rule for diverged runs."""

from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

import stablestep as ss
from benchmarks import ours
from benchmarks.workload import Paths, Workload, summary
from tests.statistics import assert_equal_means, assert_fails, assert_same_distribution

no_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
BASELINES = ["numpy", "jax", pytest.param("torch", marks=no_torch)]
SMALL = Workload(dim=5, runs=4000, steps=12, times=4, eta=0.3)
WORKLOADS = {
    "sparse": SMALL,
    "sparse-agents": replace(SMALL, count=3),
    "sign": replace(SMALL, method="sign", eta=0.1),
    "sign-agents": replace(SMALL, method="sign", eta=0.1, count=3),
    "divergent": replace(SMALL, x0=1.0, radius=100.0),
}


def baseline(name, work, seed) -> Paths:
    return import_module(f"benchmarks.baselines_{name}").simulate(work, seed)


def stablestep(work, seed) -> Paths:
    watched = {"f": ours.quartic, "norm": _gradient_norm}
    result = ss.simulate(
        ours.setup(work),
        schedule=ss.schedule.Constant(work.eta),
        x0=work.x0,
        steps=work.steps,
        runs=work.runs,
        record=work.times,
        radius=work.radius,
        seed=seed,
        observe=watched,
    )
    diverged_at = np.nan_to_num(result.divergence_iteration.values, nan=-1).astype(int)
    return Paths(result.f.values.T, result.norm.values.T, diverged_at)


def _gradient_norm(x):
    return (x**6).sum() ** 0.5


def losses(paths, work):
    """What `summary` reports quantiles of, (runs, times), on a scale that has a mean whatever diverged.

    Rounded, because float32 and float64 would tell atoms apart (points that no message has moved, lattices of signs).
    """
    gone = (paths.diverged_at >= 0) & (paths.diverged_at <= work.iterations[:, None])
    return np.round(np.arctan(np.where(gone, np.inf, paths.loss.astype(np.float64))), 4).T


@pytest.mark.parametrize("work", WORKLOADS.values(), ids=WORKLOADS)
@pytest.mark.parametrize("name", BASELINES)
def test_same_distribution(name, work, seed):
    theirs, own = baseline(name, work, seed), stablestep(work, seed + 1)
    assert theirs.loss.shape == theirs.gradient_norm.shape == (work.times, work.runs)
    np.testing.assert_allclose(theirs.loss[0], work.dim * work.x0**4 / 4, rtol=1e-6)
    assert_same_distribution(losses(theirs, work)[:, 1:], losses(own, work)[:, 1:])
    assert_equal_means(losses(theirs, work)[:, 1:], losses(own, work)[:, 1:])
    assert_same_distribution(theirs.diverged_at, own.diverged_at)
    finite = work.iterations < np.where(theirs.diverged_at < 0, work.steps + 1, theirs.diverged_at)[:, None]
    assert np.all(theirs.gradient_norm.T[finite] <= (4 * theirs.loss.T[finite]) ** 0.75 * 1.0001)


def test_some_runs_diverge_in_the_divergent_workload(seed):
    work = WORKLOADS["divergent"]
    gone = summary(baseline("numpy", work, seed), work.iterations)["diverged"]
    assert gone[0] == 0
    assert 0.1 < gone[-1] < 0.9


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("wrong", [{"omega": 7.0}, {"eta": 0.25}, {"count": 2}])
def test_a_wrong_baseline_is_seen(name, wrong, seed):
    theirs, own = baseline(name, replace(SMALL, **wrong), seed), stablestep(SMALL, seed + 1)
    with assert_fails():
        assert_same_distribution(losses(theirs, SMALL)[:, 1:], losses(own, SMALL)[:, 1:])
        assert_equal_means(losses(theirs, SMALL)[:, 1:], losses(own, SMALL)[:, 1:])


@pytest.mark.parametrize("work", [SMALL, WORKLOADS["divergent"]], ids=["bounded", "divergent"])
def test_the_summary_is_that_of_simulate(work, seed):
    result = ours.simulate(work, seed)
    found = summary(stablestep(work, seed), work.iterations)
    assert np.array_equal(result.iteration, work.iterations)
    for name, values in found.items():
        np.testing.assert_allclose(result[name], values, rtol=1e-5, err_msg=name)


def test_the_written_problem_is_the_built_in_one(seed):
    written, built_in = ours.simulate(SMALL, seed, written=True), ours.simulate(SMALL, seed)
    np.testing.assert_allclose(written.loss_quantile, built_in.loss_quantile, rtol=1e-4)


def test_recorded_times_must_be_equally_spaced():
    with pytest.raises(AssertionError, match="divides"):
        _ = replace(SMALL, steps=13).interval
