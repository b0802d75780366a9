"""What every Monte Carlo shares: recorded iterations, starts, precision, and statistics that hide nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.problem import Function, Quadratic, Quartic
from stablestep.record import Paths, cast, dataset, provenance, recorded, start, working_dtype
from tests.statistics import assert_covariance, assert_distribution

TIMES = [
    (5, None, [0, 1, 2, 3, 4, 5]),
    (1, None, [0, 1]),
    (5, "linear", [0, 1, 2, 3, 4, 5]),
    (100, 3, [0, 50, 100]),
    (100, 2, [0, 100]),
    (3, 100, [0, 1, 2, 3]),
    (1, "log", [0, 1]),
    (100, [7], [0, 7, 100]),
    (100, [100, 3, 3, 0], [0, 3, 100]),
    (100, np.array([10.0, 20.0]), [0, 10, 20, 100]),
]


@pytest.mark.parametrize(("steps", "record", "expected"), TIMES)
def test_recorded(steps, record, expected):
    assert recorded(steps, record).tolist() == expected


@pytest.mark.parametrize("record", [None, "linear", "log", 7, 201])
@pytest.mark.parametrize("steps", [1, 2, 199, 200, 201, 12_345, 10**9])
def test_recorded_holds_both_ends_and_is_short(steps, record):
    found = recorded(steps, record)
    assert found[0] == 0 and found[-1] == steps and len(found) <= 201
    assert np.all(np.diff(found) > 0)


def test_every_iteration_up_to_200_and_even_spacing_beyond():
    assert recorded(200).tolist() == list(range(201))
    assert set(np.diff(recorded(2000))) == {10}


def test_logarithmic_spacing():
    ratio = np.diff(np.log(recorded(10**6, "log")[60:]))
    assert ratio.max() < 1.5 * ratio.min()


BAD_TIMES = [
    (0, None, "steps is 0"),
    (-3, None, "steps is -3"),
    (2.5, None, r"steps is 2\.5"),
    (10, "exponential", 'record is "exponential".*"linear" or "log"'),
    (10, 1, "record is 1"),
    (10, 500, "record is 500.*201"),
    (10, [11], "between 0 and steps = 10"),
    (10, [-1], "between 0 and steps = 10"),
    (10, [1.5], "whole iterations"),
    (10, [], "whole iterations"),
]


@pytest.mark.parametrize(("steps", "record", "message"), BAD_TIMES)
def test_recorded_refuses(steps, record, message):
    with pytest.raises(InvalidInput, match=message):
        recorded(steps, record)


STARTS = [
    (0.5, [[0.5, 0.5, 0.5]] * 4),
    (2, [[2, 2, 2]] * 4),
    ([1, 2, 3], [[1, 2, 3]] * 4),
    (np.array([1.0, 2.0, 3.0], np.float32), [[1, 2, 3]] * 4),
    (lambda key: 0.25, [[0.25] * 3] * 4),
    (lambda key: jnp.arange(3.0), [[0, 1, 2]] * 4),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("x0", "expected"), STARTS)
def test_start(x0, expected, dtype):
    points = start(x0, Quartic(3), 4, 0, np.dtype(dtype))
    assert points.dtype == dtype
    np.testing.assert_array_equal(points, expected)


def test_random_starts_are_independent_between_runs(seed):
    def draw(key):
        return jax.random.uniform(key, (3,), jnp.float32)

    points = np.asarray(start(draw, Quartic(3), 5000, seed, np.dtype("float32")))
    assert_distribution(points, lambda x: x)
    assert_covariance(np.concatenate([points[:-1], points[1:]], axis=1), np.eye(6) / 12)
    fewer = start(draw, Quartic(3), 7, seed, np.dtype("float32"))
    np.testing.assert_array_equal(fewer, points[:7])


NAN = Function(lambda x: jnp.sum(jnp.sqrt(x)), dim=2)
BAD_STARTS = [
    (np.ones(4), Quartic(3), 4, r"x0 has shape \(4,\).*length 3"),
    (np.ones((4, 3)), Quartic(3), 4, r"x0 has shape \(4, 3\)"),
    ("origin", Quartic(3), 4, 'x0 is "origin"'),
    (np.nan, Quartic(3), 4, "x0 has entries that are not finite"),
    (lambda key: jnp.ones(2), Quartic(3), 4, r"x0\(key\) has shape \(2,\)"),
    (1.0, Quartic(3), 0, "runs is 0"),
    (1.0, Quartic(3), -1, "runs is -1"),
    (1.0, Quartic(3), 1.5, r"runs is 1\.5"),
    (-1.0, NAN, 4, "f is not finite at x0"),
    (0.0, NAN, 4, "the gradient of f is not finite at x0"),
    (lambda key: -1.0, NAN, 4, "f is not finite at x0"),
]


@pytest.mark.parametrize(("x0", "problem", "runs", "message"), BAD_STARTS)
def test_start_refuses(x0, problem, runs, message):
    with pytest.raises(InvalidInput, match=message):
        start(x0, problem, runs, 0, np.dtype("float32"))


def test_working_dtype_is_switched_on_only_inside():
    with jax.enable_x64(False):
        assert jnp.zeros(1, float).dtype == jnp.float32
        with working_dtype("float64") as dtype:
            assert jnp.zeros(1, dtype).dtype == jnp.float64
        assert jnp.zeros(1, float).dtype == jnp.float32
    with pytest.raises(InvalidInput, match=r'dtype is "float16".*"float32" or "float64"'), working_dtype("float16"):
        pass


def test_cast():
    tree = {"a": 1.5, "b": np.ones(2), "c": 3, "d": np.array([True]), "e": np.arange(2, dtype=np.uint32)}
    found = cast(tree, np.dtype("float32"))
    kinds = {name: str(leaf.dtype) for name, leaf in found.items()}
    assert kinds == {"a": "float32", "b": "float32", "c": "int32", "d": "bool", "e": "uint32"}
    with pytest.raises(InvalidInput, match="'text' cannot be part"):
        cast({"a": "text"}, np.dtype("float32"))


RECORDED = np.array([0, 1, 2, 3])


def paths(loss, diverged_at):
    loss = np.asarray(loss, np.float32)
    observed = {"x": loss[:, :, None] * np.ones(2, np.float32), "one": loss}
    return Paths(loss, 2 * loss, np.asarray(diverged_at), observed, np.zeros((len(loss), 0)))


LOSSES = [[4, 3, 2, 1], [4, 5, 99, 99], [8, 6, 4, np.nan], [4, 2, 2, 2]]


def test_dataset_counts_every_diverged_run():
    found = dataset(paths(LOSSES, [-1, 2, 3, -1]), RECORDED, 0.5, 0.5, {})
    assert found.time.values.tolist() == [0, 0.5, 1.0, 1.5] and found.iteration.values.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(found.diverged, [0, 0, 0.25, 0.5])
    np.testing.assert_array_equal(found.divergence_iteration, [np.nan, 2, 3, np.nan])
    np.testing.assert_array_equal(found.loss_mean, [5, 4, np.inf, np.inf])
    np.testing.assert_array_equal(found.gradient_norm_mean, [10, 8, np.inf, np.inf])
    np.testing.assert_allclose(found.loss_mean_surviving, [5, 4, 8 / 3, 1.5])
    np.testing.assert_allclose(found.loss_stderr, [1, np.sqrt(10 / 12), np.inf, np.inf])
    np.testing.assert_array_equal(found.loss_quantile.sel(quantile=0.95), [8, 6, np.inf, np.inf])
    np.testing.assert_array_equal(found.loss_quantile.sel(quantile=0.05), [4, 3, 2, 2])
    np.testing.assert_array_equal(found.gradient_norm_quantile, 2 * found.loss_quantile)
    assert found.x.dims == ("run", "time", "x_0") and found.one.dims == ("run", "time")
    np.testing.assert_array_equal(np.isnan(found.one), [[0] * 4, [0, 0, 1, 1], [0, 0, 0, 1], [0] * 4])


def test_dataset_when_all_are_gone():
    found = dataset(paths(LOSSES, [0, 1, 1, 1]), RECORDED, 0.5, 0.5, {})
    assert np.all(np.isnan(found.loss_mean_surviving[1:])) and np.all(np.isinf(found.loss_quantile[:, 1:]))
    assert found.diverged.values.tolist() == [0.25, 1, 1, 1]


def test_dataset_of_one_run_has_no_standard_error():
    found = dataset(paths(LOSSES[:1], [-1]), RECORDED, 0.5, 0.5, {})
    assert np.all(np.isnan(found.loss_stderr)) and found.loss_mean.values.tolist() == [4, 3, 2, 1]


def test_provenance():
    found = provenance(seed=3)
    assert found["seed"] == 3 and found["version_jax"] == jax.__version__ and "created" in found


def test_quadratic_start_is_finite():
    assert start(0.0, Quadratic([1.0]), 1, 0, np.dtype("float32")).shape == (1, 1)
