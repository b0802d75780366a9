"""The discrete method: exact recursions, reproducibility, divergence that is counted, grids, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from stablestep.compressor import RandK, RandomSparsification, Sign, TernGrad
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, Minibatch, StudentT
from stablestep.problem import Cosh, FiniteSum, Function, Logistic, Quadratic, Quartic
from stablestep.record import chunks, engine
from stablestep.schedule import Clip, Constant, Custom, LocalNorms, Polynomial, StepLimit
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.theorem import constants, step_limit
from stablestep.vary import vary
from tests.statistics import assert_distribution, assert_equal_means, assert_fails, assert_mean

CURVATURES = np.array([1.0, 0.3, 2.0])
START = np.array([1.0, -2.0, 0.5])
QUADRATIC = Quadratic(CURVATURES)
NOISY = Setup(QUADRATIC, Agents(4, Gaussian(0.5, 0.1), RandomSparsification(2.0)))
SIGNS = Setup(Quartic(3), Agents(2, StudentT(1.0), Sign()), Agents(2, Gaussian(0.1), TernGrad()))
BOTH = Setup(Quartic(3), Agents(8, Gaussian(0.1, 0.3), RandomSparsification(4.0)), Agents(8, StudentT(2.0), Sign()))
PLAIN = Setup(QUADRATIC, Agents(3))


# Observed functions have names because a new function is compiled anew.
def point(x):
    return x


def coordinate(x):
    return x[0]


def run(setup=NOISY, schedule=None, **options):
    chosen = {"x0": START, "steps": 10, "runs": 20, "dtype": "float64", **options}
    return simulate(setup, schedule=schedule or Constant(0.1), **chosen)


def iterate(problem, step_of, steps, x0=START):
    """Gradient descent in NumPy: points, and the step taken from each by `step_of(k, gradient)`."""
    points = [np.asarray(x0, float)]
    for k in range(steps):
        gradient = np.asarray(problem.gradient(jnp.asarray(points[-1])))
        points.append(points[-1] - step_of(k, gradient) * gradient)
    return np.array(points)


def limit(setup, epsilon, eta):
    def step(k, gradient):
        return min(eta, step_limit("4.2", constants(setup, L1=2.0), float(np.linalg.norm(gradient)), epsilon))

    return step


ALONE = Setup(Quartic(3), Agents(1))
DETERMINISTIC = {
    "constant": (PLAIN, Constant(0.3), lambda k, g: 0.3),
    "polynomial": (PLAIN, Polynomial(0.3, 0.7), lambda k, g: 0.3 * (1 + 0.3 * k) ** -0.7),
    "custom": (
        PLAIN,
        Custom(0.3, lambda t: jnp.exp(-t)),
        lambda k, g: 0.3 * np.exp(-0.3 * k),
    ),
    "clip": (ALONE, Clip(0.1, 0.7), lambda k, g: 0.1 * min(1, 0.7 / np.linalg.norm(g))),
    "local norms": (ALONE, LocalNorms(0.3), lambda k, g: 0.3 / (1 + np.linalg.norm(g))),
    "step limit": (ALONE, StepLimit("4.2", 0.2, 0.9, L1=2.0), limit(ALONE, 0.9, 0.2)),
}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_gradient_descent(name):
    setup, schedule, step_of = DETERMINISTIC[name]
    points = iterate(setup.problem, step_of, 30)
    found = run(setup, schedule, steps=30, runs=3, observe=point)
    np.testing.assert_allclose(found.observed, np.tile(points, (3, 1, 1)), rtol=1e-10, atol=1e-14)
    losses = [float(setup.problem.value(jnp.asarray(point))) for point in points]
    norms = [float(jnp.linalg.norm(setup.problem.gradient(jnp.asarray(point)))) for point in points]
    np.testing.assert_allclose(found.loss_mean, losses, rtol=1e-10)
    np.testing.assert_allclose(found.gradient_norm_mean, norms, rtol=1e-10)
    np.testing.assert_allclose(found.loss_quantile, np.tile(losses, (5, 1)), rtol=1e-10)
    assert float(found.loss_stderr.max()) < 1e-12 and not found.diverged.any()


def test_closed_form_on_a_quadratic():
    found = run(PLAIN, Constant(0.3), steps=30, runs=3, observe=point)
    powers = (1 - 0.3 * CURVATURES) ** found.iteration.values[:, None]
    np.testing.assert_allclose(found.loss_mean, np.sum(CURVATURES * (powers * START) ** 2, axis=1) / 2, rtol=1e-11)


def moments(steps, eta, count, omega, sigma0, sigma1):
    """E x_k and E x_k² of each coordinate, by their exact recursion (P Eq. 107)."""
    first, second = START.copy(), START**2
    rows = [(first, second)]
    for _ in range(steps):
        noise = sigma0**2 + sigma1**2 * np.sum(CURVATURES**2 * second)
        variance = (omega * CURVATURES**2 * second + (1 + omega) * noise) / count
        second = (1 - eta * CURVATURES) ** 2 * second + eta**2 * variance
        first = (1 - eta * CURVATURES) * first
        rows.append((first, second))
    return np.array(rows)


RECURSIONS = [
    (Agents(1, Gaussian(0.5)), 0.0, "law"),
    (Agents(4, Gaussian(0.5, 0.2)), 0.0, "law"),
    (Agents(4, Gaussian(0.5, 0.2), RandomSparsification(2.0)), 2.0, "law"),
    (Agents(4, Gaussian(0.5, 0.2), RandomSparsification(2.0)), 2.0, "agents"),
    (Agents(2, Gaussian(0.5, 0.1), RandK(1)), 2.0, "agents"),
]


@pytest.mark.parametrize(("agents", "omega", "sampling"), RECURSIONS)
def test_mean_and_variance_on_a_quadratic(agents, omega, sampling, seed):
    eta, sigma0, sigma1 = 0.1, agents.noise.sigma0, agents.noise.sigma1
    found = run(
        Setup(QUADRATIC, agents), Constant(eta), steps=12, runs=20_000, seed=seed, sampling=sampling,
        record=[1, 2], observe=point, dtype="float32",
    )  # fmt: skip
    exact = moments(12, eta, agents.count, omega, sigma0, sigma1)
    for place, k in enumerate(found.iteration.values):
        points = found.observed.values[:, place]
        first, second = exact[k]
        if k > 0:
            assert_mean(points, first)
            assert_mean(points**2, second)
            spread = second - first**2
            if agents.count > 1:
                with assert_fails("noise of one agent"):
                    assert_mean(points**2, first**2 + agents.count * spread)
        assert (
            abs(float(found.loss_mean[place]) - CURVATURES @ second / 2) <= 5.5 * float(found.loss_stderr[place]) + 1e-6
        )


@pytest.mark.parametrize("eta", [0.1, 0.5, 1.0])
def test_stationary_loss(eta, seed):
    """E f_∞ = η/(2(2 − η)) for f = x²/2 and unit noise, not η/4, the first-order model's."""
    setup = Setup(Quadratic([1.0]), Agents(1, Gaussian(1.0)))
    found = run(setup, Constant(eta), x0=0.0, steps=int(12 / eta), runs=40_000, seed=seed, record=2, observe=coordinate)
    last = found.observed.values[:, -1]
    assert_mean(last**2 / 2, eta / (2 * (2 - eta)))
    assert_distribution(last, lambda x: 0.5 * (1 + jax.scipy.special.erf(x / np.sqrt(2 * eta / (2 - eta)))))
    if eta >= 0.5:
        with assert_fails("the first-order model"):
            assert_mean(last**2 / 2, eta / 4)


VARIABLES = ("loss_quantile", "loss_mean", "gradient_norm_mean", "final_state", "divergence_iteration")


def assert_same(first, second, names=VARIABLES):
    for name in names:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_result_does_not_depend_on_chunks_or_threads(cores, monkeypatch):
    reference = run(BOTH, final=True)
    monkeypatch.setattr(chunks, "CHUNK", 12)  # four runs of three coordinates
    monkeypatch.setattr(chunks, "cores", lambda: cores)
    assert chunks.chunk_of(20, 3) == {1: 4, 2: 4, 3: 4}[cores]
    assert_same(run(BOTH, final=True), reference)


@pytest.mark.parametrize("runs", [1, 7])
def test_a_run_does_not_depend_on_the_others(runs):
    reference = run(runs=20, final=True).final_state.values
    np.testing.assert_allclose(run(runs=runs, final=True).final_state, reference[:runs], rtol=1e-12)


def test_a_longer_simulation_continues_the_shorter():
    shorter, longer = run(steps=10), run(steps=20)
    np.testing.assert_allclose(longer.loss_mean[:11], shorter.loss_mean, rtol=1e-12)


def test_recording_does_not_change_the_path():
    full, few = run(steps=20), run(steps=20, record=[3, 11])
    assert few.iteration.values.tolist() == [0, 3, 11, 20]
    np.testing.assert_allclose(few.loss_mean, full.loss_mean[[0, 3, 11, 20]], rtol=1e-12)


def test_seeds():
    first, again, other = run(seed=1, final=True), run(seed=1, final=True), run(seed=2, final=True)
    assert np.array_equal(first.final_state, again.final_state) and np.array_equal(first.loss_mean, again.loss_mean)
    assert not np.any(first.final_state.values == other.final_state.values)


def test_steps_and_runs_have_their_own_randomness(seed):
    """A constant drift: the increments of all steps and runs are independent normal numbers."""
    setup = Setup(Function(jnp.sum, dim=2), Agents(1, Gaussian(1.0)))
    found = run(setup, Constant(1.0), x0=0.0, steps=3, runs=20_000, seed=seed, observe=point)
    increments = -np.diff(found.observed.values, axis=1) - 1
    columns = increments.reshape(len(increments), -1)
    covariance = np.einsum("ri,rj->rij", columns, columns)
    assert_mean(covariance, np.eye(6))
    with assert_fails("the same noise in every step"):
        repeated = np.repeat(columns[:, :2], 3, axis=1)
        assert_mean(np.einsum("ri,rj->rij", repeated, repeated), np.eye(6))


def test_law_and_agents_give_the_same_trajectories(seed):
    found = {
        sampling: run(
            BOTH, Constant(0.1), x0=0.5, runs=4000, seed=seed + place, sampling=sampling, record=2, final=True
        )
        for place, sampling in enumerate(("law", "agents"))
    }
    used = [found[s].attrs["sampling"].split(", ")[0] for s in ("law", "agents")]
    assert used[0] in ("law", "native") and used[1] == "agents"
    assert_equal_means(found["law"].final_state, found["agents"].final_state)
    assert_equal_means(found["law"].final_state.values ** 2, found["agents"].final_state.values ** 2)


def test_float32_and_float64():
    single, double = (
        run(PLAIN, steps=30, runs=3, observe=point, dtype=dtype, final=True) for dtype in ("float32", "float64")
    )
    assert single.final_state.dtype == np.float32 and double.final_state.dtype == np.float64
    exact = (1 - 0.1 * CURVATURES) ** 30 * START
    assert 1e-9 < np.abs(single.final_state[0] - exact).max() < 1e-6
    np.testing.assert_allclose(double.final_state[0], exact, rtol=1e-13)


def test_float64_where_jax_is_in_float32():
    reference = run(final=True)
    with jax.enable_x64(False):
        assert_same(run(final=True), reference)
        single = run(dtype="float32", final=True)
    assert single.final_state.dtype == np.float32


# Divergence


@pytest.mark.parametrize(("radius", "x0"), [(None, 1.0), (50.0, 1.0), (1e6, -2.0)])
def test_divergence_is_timed_exactly(radius, x0):
    """η = 2.5 on x²/2: |x_k| = 1.5^k |x_0|."""
    ball = radius or 1e4 * max(1, abs(x0))
    expected = int(np.ceil(np.log(ball / abs(x0)) / np.log(1.5)))
    found = run(Setup(Quadratic([1.0]), Agents(1)), Constant(2.5), x0=x0, steps=60, radius=radius, final=True)
    assert np.all(found.divergence_iteration == expected) and found.attrs["radius"] == ball
    np.testing.assert_array_equal(found.diverged, (np.arange(61) >= expected).astype(float))
    np.testing.assert_allclose(found.final_state, x0 * (-1.5) ** expected, rtol=1e-12)
    np.testing.assert_allclose(found.loss_mean[:expected], x0**2 * 2.25 ** np.arange(expected) / 2, rtol=1e-12)
    assert np.all(np.isinf(found.loss_mean[expected:])) and np.all(np.isinf(found.loss_quantile[:, expected:]))
    assert np.all(np.isnan(found.loss_mean_surviving[expected:]))


@pytest.mark.parametrize("steps", [23, 24, 40])
def test_divergence_is_timed_between_recorded_iterations_and_at_the_last(steps):
    found = run(Setup(Quadratic([1.0]), Agents(1)), Constant(2.5), x0=1.0, steps=steps, record=[1])
    assert np.all(found.divergence_iteration == 23) and found.diverged.values.tolist() == [0, 0, 1]


def quartic_divergence(points, eta, steps, radius):
    """The first iteration outside the ball of gradient descent on x⁴/4, run by run."""
    when, x = np.full(len(points), np.nan), points.copy()
    for k in range(steps + 1):
        when = np.where(np.isnan(when) & (np.abs(x) > radius), k, when)
        x = np.where(np.abs(x) > radius, x, x - eta * x**3)
    return when


def test_some_runs_of_the_quartic_diverge_and_none_is_hidden(seed):
    """Gradient descent on x⁴/4 contracts iff ηx² < 2."""
    found = run(
        Setup(Quartic(1), Agents(1)), Constant(0.5), x0=lambda key: 4 * jax.random.uniform(key, (1,), float), seed=seed,
        steps=30, runs=200, observe=coordinate, final=True,
    )  # fmt: skip
    initial = found.observed.values[:, 0]
    when = quartic_divergence(initial, 0.5, 30, found.attrs["radius"])
    np.testing.assert_array_equal(found.divergence_iteration, when)
    gone = when[:, None] <= np.arange(31)
    assert 0.3 < gone[:, -1].mean() < 0.7
    np.testing.assert_array_equal(np.isnan(when), initial**2 < 4)
    np.testing.assert_allclose(found.diverged, gone.mean(axis=0), rtol=1e-14)
    np.testing.assert_array_equal(np.isinf(found.loss_mean), gone.any(axis=0))
    np.testing.assert_array_equal(np.isinf(found.loss_stderr), gone.any(axis=0))
    np.testing.assert_array_equal(np.isnan(found.observed), gone)
    assert np.all(np.isfinite(found.loss_mean_surviving)) and np.isinf(found.loss_quantile.values[-1, -1])
    assert np.isfinite(found.loss_quantile.values[0, -1])
    survivors = found.observed.values[~gone[:, -1], -1]
    assert float(found.loss_mean_surviving[-1]) == pytest.approx(np.mean(survivors**4) / 4, rel=1e-10)
    assert np.all(np.abs(found.final_state.values[gone[:, -1], 0]) > found.attrs["radius"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_overflow_is_divergence(dtype):
    """x_1 = 10 − sinh 10 ≈ −11003 is inside the ball, but its gradient overflows."""
    found = run(Setup(Cosh(1, a=1.0, scale=1.0), Agents(1)), Constant(1.0), x0=10.0, steps=5, dtype=dtype)
    assert np.all(found.divergence_iteration == 2)
    assert np.all(np.isinf(found.loss_mean[1:])) and found.diverged.values.tolist() == [0, 0, 1, 1, 1, 1]


def test_nan_is_divergence():
    """√x is left at its end: the gradient is NaN from x_1 < 0 on."""
    found = run(Setup(Function(lambda x: jnp.sum(jnp.sqrt(x)), dim=1), Agents(1)), Constant(1.0), x0=0.01, steps=5)
    assert np.all(found.divergence_iteration == 2)
    assert not np.any(np.isfinite(found.loss_mean[1:])) and not np.any(np.isfinite(found.loss_quantile[:, 1:]))


def test_overflowing_noise_is_divergence():
    setup = Setup(QUADRATIC, Agents(1, StudentT(1.0, 1e30)))
    found = run(setup, Constant(0.1), runs=200, steps=5, dtype="float32")
    assert float(found.diverged[-1]) > 0.5 and np.isinf(found.loss_mean[-1])
    assert "no mean" in found.attrs["moments"]


# Runs whose step follows the mean over all


def fan(key):
    return 2 * jax.random.uniform(key, (3,), float)


COUPLED = StepLimit("4.2", 0.2, 0.9, L1=1.0, power=0.5, expectation=True)


def ensemble(points, steps):
    """Gradient descent on x⁴/4 with the step min(.2/√(1 + .2k), 1.8/(4 + mean ‖∇f‖)), in NumPy."""
    path = [points]
    for k in range(steps):
        gradients = path[-1] ** 3
        mean = np.mean(np.linalg.norm(gradients, axis=1))
        path.append(path[-1] - min(0.2 / np.sqrt(1 + 0.2 * k), 1.8 / (4 + mean)) * gradients)
    return np.stack(path, axis=1)


@pytest.mark.parametrize("runs", [5, 8])
def test_the_expectation_rule_step_by_step(runs):
    """All runs are in one call, and none is counted twice to fill it up."""
    found = run(ALONE, COUPLED, x0=fan, steps=20, runs=runs, observe=point).observed.values
    np.testing.assert_allclose(found, ensemble(found[:, 0], 20), rtol=1e-11)
    alone = np.concatenate([ensemble(found[[place], 0], 20) for place in range(runs)])
    assert not np.allclose(found, alone, rtol=1e-3)  # the path's own norms


def test_the_expectation_rule_does_not_depend_on_chunks(monkeypatch):
    def found():
        return run(ALONE, COUPLED, x0=fan, steps=20, runs=8, observe=point)

    reference = found()
    monkeypatch.setattr(chunks, "CHUNK", 12)
    assert_same(found(), reference, ("loss_mean", "observed"))


# What comes with the result


def test_observe_and_final():
    watch = {"first": lambda x: x[0], "twice": lambda x: 2 * x, "outer": lambda x: jnp.outer(x, x)}
    found = run(observe=watch, final=True, runs=5)
    assert found.first.shape == (5, 11) and found.twice.shape == (5, 11, 3) and found.outer.shape == (5, 11, 3, 3)
    np.testing.assert_allclose(found.first, found.twice[..., 0] / 2, rtol=1e-14)
    np.testing.assert_allclose(found.final_state, found.twice[:, -1] / 2, rtol=1e-14)
    np.testing.assert_allclose(found.outer[..., 0, 1], found.twice[..., 0] * found.twice[..., 1] / 4, rtol=1e-13)
    assert "final_state" not in run()


def test_coordinates_bits_and_provenance():
    found = run(SIGNS, Constant(0.25), seed=11)
    np.testing.assert_allclose(found.time, 0.25 * np.arange(11))
    np.testing.assert_allclose(found.bits, np.arange(11) * (2 * 3 + 2 * (32 + 8)))
    assert dict(found.sizes) == {"time": 11, "quantile": 5, "run": 20}
    assert found["quantile"].values.tolist() == [0.05, 0.25, 0.5, 0.75, 0.95]
    expected = {"seed": 11, "runs": 20, "steps": 10, "dtype": "float64", "minimum": 0.0, "sampling": "law, agents"}
    assert {name: found.attrs[name] for name in expected} == expected
    assert "StudentT" in found.attrs["setup"] and "Constant" in found.attrs["schedule"]


def test_saved_as_netcdf(tmp_path):
    found = run(observe=point, final=True, grid={"eta": [0.1, 0.2]})
    found.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")


def test_progress(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 12)
    seen = []
    run(progress=seen.append)
    assert len(seen) > 2 and seen == sorted(seen) and seen[-1] == 1.0
    seen.clear()
    run(grid={"eta": [0.1, 0.2]}, progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == 1.0


X0 = [1.5, [1.0, 2.0, 3.0], np.array([1, 2, 3]), lambda key: jax.random.uniform(key, (3,), float)]


@pytest.mark.parametrize("x0", X0)
def test_starts(x0):
    found = run(x0=x0, observe=point).observed.values[:, 0]
    if callable(x0):
        assert len(np.unique(found)) == 60
    else:
        np.testing.assert_array_equal(found, np.broadcast_to(np.asarray(x0, float), (20, 3)))


# Grids


GRIDS = [
    ({"omega": [0.0, 4.0]}, lambda omega: Agents(4, Gaussian(0.5, 0.1), RandomSparsification(omega)), None),
    ({"sigma1": [0.0, 0.3]}, lambda sigma1: Agents(4, Gaussian(0.5, sigma1), RandomSparsification(2.0)), None),
    ({"count": [1, 6]}, lambda count: Agents(count, Gaussian(0.5, 0.1), RandomSparsification(2.0)), None),
    ({"eta": [0.1, 0.2]}, lambda eta: NOISY.groups[0], lambda eta: Constant(eta)),
]


@pytest.mark.parametrize(("grid", "agents", "schedule"), GRIDS)
def test_a_grid_point_is_a_single_call(grid, agents, schedule):
    found = run(grid=grid, final=True)
    ((name, values),) = grid.items()
    assert found[name].values.tolist() == values and found.sizes[name] == 2
    for value in values:
        single = run(Setup(QUADRATIC, agents(value)), schedule(value) if schedule else None, final=True)
        point = found.sel({name: value})
        assert_same(point, single)
        np.testing.assert_allclose(point.bits, single.bits)
        np.testing.assert_array_equal(point.iteration, single.iteration)


def test_a_grid_of_several_parameters():
    setup = Setup(QUADRATIC, Agents(2, StudentT(3.0, 0.5), Sign()))
    found = run(setup, grid={"df": [1.0, 5.0], "eta": [0.1, 0.05, 0.2], "scale": [0.1, 1.0]}, runs=6)
    assert found.loss_mean.dims[:3] == ("df", "eta", "scale") and found.loss_mean.shape == (2, 3, 2, 11)
    single = run(Setup(QUADRATIC, Agents(2, StudentT(5.0, 0.1), Sign())), Constant(0.05), runs=6)
    np.testing.assert_allclose(found.loss_mean.sel(df=5.0, eta=0.05, scale=0.1), single.loss_mean, rtol=1e-12)
    assert found.iteration.dims == ("time",)


def test_time_is_time_along_a_grid_of_eta(tmp_path):
    found = run(grid={"sigma0": [0.1, 0.2], "eta": [0.1, 0.05]})
    assert found.time.dims == ("eta", "time") and found.time.attrs["long_name"] == "t = kη"
    np.testing.assert_allclose(found.time, np.outer([0.1, 0.05], found.iteration))
    np.testing.assert_array_equal(found.sel(eta=0.05).time, run(schedule=Constant(0.05)).time)
    found.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "result.nc", engine="h5netcdf") as again:
        xr.testing.assert_identical(again.time.load(), found.time)


def test_time_is_an_index_where_eta_is_the_same():
    for grid in ({"sigma0": [0.1, 0.2]}, {"eta": [0.1]}, {"schedule.eta": [0.1], "sigma0": [0.1, 0.2]}):
        found = run(grid=grid)
        assert found.time.dims == ("time",) and "time" in found.indexes
        np.testing.assert_array_equal(found.time, run().time)


PARTS = [
    ("noise", [Gaussian(np.ones(3)), Gaussian(0.1)], ["Gaussian(sigma0=[1.0, 1.0, 1.0])", "Gaussian(sigma0=0.1)"]),
    ("problem", [Quadratic([1.0, 2.0, 3.0])], ["Quadratic([1.0, 2.0, 3.0])"]),
    ("sigma0", [np.ones(3), np.zeros(3)], ["[1.0, 1.0, 1.0]", "[0.0, 0.0, 0.0]"]),
    ("compressor", [RandK(k=1), RandK(k=1)], ["RandK(k=1)", "RandK(k=1)"]),
]


@pytest.mark.parametrize(("name", "values", "texts"), PARTS, ids=[name for name, *_ in PARTS])
def test_a_grid_of_parts_and_arrays(name, values, texts, tmp_path):
    found = run(grid={name: values, "eta": [0.1]}, runs=2)
    assert found[name].values.tolist() == texts
    single = run(vary(NOISY, name, values[-1]), runs=2)
    np.testing.assert_array_equal(found.loss_mean.values[-1, 0], single.loss_mean)
    found.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")


def test_an_eta_grid_with_a_polynomial_schedule():
    found = run(NOISY, Polynomial(0.1, 0.5), grid={"power": [0.0, 1.0]})
    np.testing.assert_allclose(found.loss_mean.sel(power=0.0), run(NOISY, Constant(0.1)).loss_mean, rtol=1e-10)


# Compilation


SAME_SHAPE = [
    (NOISY, Setup(Quadratic(2 * CURVATURES), Agents(4, Gaussian(0.7, 0.3), RandomSparsification(2.0))), Constant),
    (
        Setup(Quartic(3), Agents(2, StudentT(1.0, 0.5), Sign())),
        Setup(Quartic(3), Agents(2, StudentT(1.0, 0.7), Sign())),
        lambda eta: Polynomial(eta, eta),
    ),
    (
        Setup(Quartic(3), Agents(5, Gaussian(0.5), RandK(1))),
        Setup(Quartic(3), Agents(5, Gaussian(0.9), RandK(1))),
        lambda eta: StepLimit("4.2", eta, L1=1.0),
    ),
]


@pytest.mark.parametrize(("first", "second", "schedule"), SAME_SHAPE)
def test_other_values_do_not_compile_again(first, second, schedule, caplog):
    engine._kernel.cache_clear()
    counts = []
    for setup, eta, x0 in ((first, 0.1, 1.0), (second, 0.07, 0.5)):
        caplog.clear()
        with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
            run(setup, schedule(eta), seed=int(100 * eta), x0=x0)
        counts.append(sum("compilation of jit(chunk)" in record.getMessage() for record in caplog.records))
    assert counts == [1, 0]


def test_other_theorems_do_not_compile_again(caplog):
    """Limits of different results, numbers and forms share a kernel, and each says which it is."""
    engine._kernel.cache_clear()
    setup = Setup(Quartic(3), Agents(5, Gaussian(0.5), RandK(1)))
    counts, sources = [], []
    for schedule in (
        StepLimit("4.2", 0.1, L1=1.0),
        StepLimit("B.5", 0.1, epsilon=0.9, L1=2.0),
        StepLimit("4.1", 0.05, L1=1.0, power=0.5, form="printed"),
        StepLimit("4.1", 0.05, L1=1.0, expectation=True),
    ):
        caplog.clear()
        with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
            found = run(setup, schedule, x0=1.0)
        counts.append(sum("compilation of jit(chunk)" in record.getMessage() for record in caplog.records))
        sources.append(found.attrs["schedule"])
    assert counts == [1, 0, 0, 1]
    for source, words in zip(sources, ("Thm 4.2", "Thm B.5", "Thm 4.1", "E‖∇f‖"), strict=True):
        assert words in source


# Bad input


SUM = Logistic(np.eye(3), [0, 1, 1])
BAD = [
    (lambda: run(steps=0), "steps is 0"),
    (lambda: run(steps=-5), "steps is -5"),
    (lambda: run(runs=0), "runs is 0"),
    (lambda: run(runs=2.5), r"runs is 2\.5"),
    (lambda: run(x0=np.ones(4)), r"x0 has shape \(4,\)"),
    (lambda: run(dtype="float16"), 'dtype is "float16"'),
    (lambda: run(radius=-1.0), r"radius is -1\.0"),
    (lambda: run(x0=1.0, radius=0.5), r"radius is 0\.5, but ‖x0‖ is .* all runs had diverged before their first step"),
    (
        lambda: run(schedule=Constant(1e300), dtype="float32"),
        r'holds 1e\+300, which no float32 can; .* dtype="float64"',
    ),
    (lambda: run(Setup(Quadratic([1.0, 1e39]), Agents(1)), dtype="float32"), r"holds 1e\+39, which no float32 can"),
    (lambda: run(Setup(Quartic(3), Agents(1, Gaussian(1e300))), dtype="float32"), r"holds 1e\+300"),
    (lambda: run(sampling="exact"), 'sampling is "exact"'),
    (lambda: run(record="often"), 'record is "often"'),
    (lambda: run(QUADRATIC), r"setup is .*must be a Setup"),
    (lambda: run(schedule=0.1), r"schedule is 0\.1.*must be a Schedule"),
    (lambda: run(SIGNS, sampling="law"), "sampling='law', but TernGrad.*use sampling='agents' or 'auto'"),
    (
        lambda: run(schedule=LocalNorms(0.1), sampling="law"),
        "LocalNorms needs each agent's own norm; use sampling='agents'",
    ),
    (lambda: run(grid={"omega": [1.0]}, observe={"omega": point}), '"omega" is a name in the grid and in the result'),
    (lambda: run(observe=lambda x: None), '"observed" returned None, but must return a real number'),
    (lambda: run(observe={"a": lambda x: "x"}), '"a" failed with TypeError .*give a JAX function'),
    (lambda: run(observe={"a": lambda x: (x, x)}), '"a" returned a tuple, but must'),
    (lambda: run(observe={"a": jnp.fft.fft}), '"a" returned complex128 values, but must'),
    (lambda: run(observe={"a": lambda x, y: x}), '"a" failed with TypeError .*missing 1 required'),
    (lambda: run(grid={"sigma0": "abc"}), 'the grid has "sigma0": "abc", but must map names'),
    (lambda: run(grid={"omgea": [1.0]}), 'parameter "omgea".*Did you mean "omega"'),
    (lambda: run(grid={"omega": []}), 'the grid has no values of "omega"'),
    (lambda: run(grid={"omega": [1.0, -1.0]}), r"omega is -1\.0"),
    (lambda: run(grid={"eta": [0.1, 0.0]}), r"eta is 0\.0"),
    (lambda: run(Setup(Function(lambda x: jnp.log(jnp.sum(x)), dim=3), Agents(1)), x0=-1.0), "f is not finite at x0"),
    (lambda: run(Setup(Function(lambda x: x, dim=3), Agents(1))), "one|scalar|number"),
    (
        lambda: run(Setup(Function(jnp.sum, 3, minimum=4.0), Agents(1)), x0=1.0),
        r"f is 3 at x0, but the stated minimum of .* is 4\.0",
    ),
    (
        lambda: run(Setup(FiniteSum(lambda x, a: jnp.sum(a * x), np.ones(2), 3, minimum=4.0), Agents(1)), x0=1.0),
        r"f is 3 at x0, but the stated minimum of the FiniteSum",
    ),
    (
        lambda: constants(Setup(Function(jnp.sum, 3, minimum=4.0, smoothness=lambda L1: 0.0), Agents(1)), 0.0, x0=1.0),
        "f is 3 at x0",
    ),
    (lambda: run(Setup(Cosh(3, a=1.0), Agents(1)), StepLimit("4.2", 0.1, L1=0.5)), "L1"),
    (lambda: run(Setup(Quartic(3), Agents(1, Minibatch(1)))), "Minibatch noise needs a finite sum"),
    (lambda: run(Setup(SUM, Agents(1, Minibatch(1))), StepLimit("4.2", 0.1, L1=0.0)), "affine variance"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(wrong, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_local_norms_overestimate_the_gradient(seed):
    """One step from x: the step is η0/(1 + Ĝ) with Ĝ the mean of the agents' own norms, whose mean exceeds ‖g‖."""
    setup = Setup(Function(jnp.sum, dim=2), Agents(3, Gaussian(2.0), Sign()))
    found = run(setup, LocalNorms(1.0), x0=0.0, steps=1, runs=20_000, seed=seed, final=True)
    assert found.attrs["sampling"] == "agents"
    generator = np.random.default_rng(seed)
    noisy = 1 + 2 * generator.normal(size=(20_000, 3, 2))
    step = 1 / (1 + np.linalg.norm(noisy, axis=2).mean(axis=1))
    assert_equal_means(found.final_state, -step[:, None] * np.sign(noisy).mean(axis=1))
    with assert_fails("the norm of the exact gradient"):
        assert_equal_means(found.final_state, -np.sign(noisy).mean(axis=1) / (1 + np.sqrt(2)))
