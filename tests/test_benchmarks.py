"""The baselines of the benchmarks simulate what StableStep does: same laws, records and rule for diverged runs."""

from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks import ours
from benchmarks.workload import Paths, Workload, first_outside, summary
from tests.statistics import assert_equal_means, assert_fails, assert_same_distribution

no_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
no_torchsde = pytest.mark.skipif(find_spec("torchsde") is None, reason="torchsde is not installed")
BASELINES = ["numpy", "jax", pytest.param("torch", marks=no_torch)]
SOLVERS = ["numpy", "diffrax", pytest.param("torchsde", marks=no_torchsde)]
SMALL = Workload(dim=5, runs=4000, steps=12, times=4, eta=0.3)
WORKLOADS = {
    "sparse": SMALL,
    "sparse-agents": replace(SMALL, count=3),
    "sign": replace(SMALL, method="sign", eta=0.1),
    "sign-agents": replace(SMALL, method="sign", eta=0.1, count=3),
    "divergent": replace(SMALL, x0=1.0, radius=100.0),
}
SMALL_SDE = replace(SMALL, method="sde", x0=0.8, substeps=4)
SDES = {
    "sde": SMALL_SDE,
    "sde-agents": replace(SMALL_SDE, count=3),
    "sde-divergent": replace(SMALL_SDE, x0=1.0, steps=24, radius=100.0),
}


def baseline(name, work, seed) -> Paths:
    return import_module(f"benchmarks.baselines_{name}").simulate(work, seed)


def stablestep(work, seed) -> Paths:
    watched = {"f": ours.quartic, "norm": _gradient_norm}
    result = ours.simulate(work, seed, observe=watched)
    each = work.substeps if work.method == "sde" else 1
    diverged_at = np.nan_to_num(np.round(result.divergence_iteration.values * each), nan=-1).astype(int)
    return Paths(result.f.values.T, result.norm.values.T, diverged_at)


def _gradient_norm(x):
    return (x**6).sum() ** 0.5


def losses(paths, work):
    """What `summary` reports quantiles of, (runs, times), on a scale that has a mean whatever diverged.

    Rounded, because float32 and float64 would tell atoms apart (points that no message has moved, lattices of signs).
    """
    gone = (paths.diverged_at >= 0) & (paths.diverged_at <= work.iterations[:, None])
    return np.round(np.arctan(np.where(gone, np.inf, paths.loss.astype(np.float64))), 4).T


def seen_at(paths, work):
    """The number of the first recorded time at which each run is gone: all that solvers without a guard know."""
    return np.where(paths.diverged_at < 0, -1, np.searchsorted(work.iterations, paths.diverged_at))


def assert_same_losses(theirs, own, work):
    assert_same_distribution(losses(theirs, work)[:, 1:], losses(own, work)[:, 1:])
    assert_equal_means(losses(theirs, work)[:, 1:], losses(own, work)[:, 1:])


def assert_same_paths(theirs, own, work):
    assert theirs.loss.shape == theirs.gradient_norm.shape == (work.times, work.runs)
    np.testing.assert_allclose(theirs.loss[0], work.dim * work.x0**4 / 4, rtol=1e-6)
    assert_same_losses(theirs, own, work)
    assert_same_distribution(seen_at(theirs, work), seen_at(own, work))
    finite = work.iterations < np.where(theirs.diverged_at < 0, work.steps + 1, theirs.diverged_at)[:, None]
    assert np.all(theirs.gradient_norm.T[finite] <= (4 * theirs.loss.T[finite]) ** 0.75 * 1.0001)


@pytest.mark.parametrize("work", WORKLOADS.values(), ids=WORKLOADS)
@pytest.mark.parametrize("name", BASELINES)
def test_same_distribution(name, work, seed):
    theirs, own = baseline(name, work, seed), stablestep(work, seed + 1)
    assert_same_paths(theirs, own, work)
    assert_same_distribution(theirs.diverged_at, own.diverged_at)


@pytest.mark.parametrize("work", SDES.values(), ids=SDES)
@pytest.mark.parametrize("name", SOLVERS)
def test_same_distribution_of_the_sde(name, work, seed):
    assert_same_paths(baseline(name, work, seed), stablestep(work, seed + 1), work)


@pytest.mark.parametrize("work", [WORKLOADS["divergent"], SDES["sde-divergent"]], ids=["divergent", "sde-divergent"])
def test_some_runs_diverge_in_the_divergent_workload(work, seed):
    gone = summary(baseline("numpy", work, seed), work.iterations)["diverged"]
    assert gone[0] == 0
    assert 0.1 < gone[-1] < 0.9


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("wrong", [{"omega": 7.0}, {"eta": 0.25}, {"count": 2}])
def test_a_wrong_baseline_is_seen(name, wrong, seed):
    theirs, own = baseline(name, replace(SMALL, **wrong), seed), stablestep(SMALL, seed + 1)
    with assert_fails():
        assert_same_losses(theirs, own, SMALL)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("wrong", [{"omega": 6.0}, {"eta": 0.25}, {"count": 2}])
def test_a_wrong_solver_is_seen(name, wrong, seed):
    theirs, own = baseline(name, replace(SMALL_SDE, **wrong), seed), stablestep(SMALL_SDE, seed + 1)
    with assert_fails():
        assert_same_losses(theirs, own, SMALL_SDE)


def test_a_missing_correction_of_the_drift_is_seen(monkeypatch, seed):
    theirs = baseline("numpy", SMALL_SDE, seed)
    monkeypatch.setattr(ours, "MODEL", "first")
    with assert_fails():
        assert_same_losses(theirs, stablestep(SMALL_SDE, seed + 1), SMALL_SDE)


def test_a_run_is_outside_from_the_first_recorded_time_on():
    work = replace(SMALL, radius=2.0)
    distance = np.array([[1, 1, 1, 1], [1, 3, np.nan, 1], [1, 1, np.nan, 1], [np.inf, 1, 3, 2.0]])
    assert first_outside(work, distance).tolist() == [12, 4, 4, -1]


@pytest.mark.parametrize("work", [SMALL, WORKLOADS["divergent"], SMALL_SDE], ids=["bounded", "divergent", "sde"])
def test_the_summary_is_that_of_simulate(work, seed):
    result = ours.simulate(work, seed)
    found = summary(stablestep(work, seed), work.iterations)
    np.testing.assert_allclose(result.iteration * (work.substeps if work.method == "sde" else 1), work.iterations)
    for name, values in found.items():
        np.testing.assert_allclose(result[name], values, rtol=1e-5, err_msg=name)


def test_the_written_problem_is_the_built_in_one(seed):
    written, built_in = ours.simulate(SMALL, seed, written=True), ours.simulate(SMALL, seed)
    np.testing.assert_allclose(written.loss_quantile, built_in.loss_quantile, rtol=1e-4)


def test_recorded_times_must_be_equally_spaced():
    with pytest.raises(AssertionError, match="divides"):
        _ = replace(SMALL, steps=13).interval
