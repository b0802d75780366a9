"""A survey of a run in JAX: against numbers worked out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import EF21, ErrorFeedback, Identity, RandomSparsification, Sign, TopK
from stablestep.errors import InvalidInput
from stablestep.estimate import dissimilarity, survey
from stablestep.schedule import Constant
from stablestep.server import HeavyBall
from stablestep.simulate import simulate
from stablestep.stability import advise, critical_step
from stablestep.theorem import step_limit

CURVATURES, START = np.array([1.0, 3.0, 0.5]), np.array([2.0, -1.0, 1.5])
SPARSE = RandomSparsification(3.0)


def bowl(w, batch):
    """Σ_j λ_j (w_j − b_j)²/2, its gradient λ(w − b)."""
    return jnp.sum(jnp.asarray(CURVATURES, w.dtype) * (w - batch) ** 2) / 2


def batches(seed, count=16):
    return np.random.default_rng(seed).normal(size=(count, 3))


def test_a_quadratic(seed):
    data = batches(seed)
    found = survey(bowl, START, list(data), agents=8, compressor=SPARSE)
    each = CURVATURES * (START - data)
    spread = np.sum(np.var(each, axis=0, ddof=1))
    first = found.points[0]
    assert first.variance == pytest.approx(spread / 3) and len(found.points) == 12
    assert first.gradient_sq == pytest.approx(np.sum(each.mean(0) ** 2) - spread / 16)
    assert first.loss == pytest.approx(np.mean([bowl(START, row) for row in data]))
    unit = each.mean(0) / np.linalg.norm(each.mean(0))
    assert first.along == pytest.approx(CURVATURES @ unit**2) and first.curvature == pytest.approx(3)
    assert found.smoothness.L0.value == pytest.approx(3) and found.smoothness.L1.value == pytest.approx(0, abs=1e-9)
    assert found.variance.sigma0_sq.value == pytest.approx(spread / 3)
    c = found.constants
    assert (c.omega[0], c.agents, c.dim, c.sigma0_sq[0]) == (3.0, 8, 3, found.variance.sigma0_sq.value)
    assert found.result == "4.2" and found.step == pytest.approx(2 / (3 * (1 + 3 / 8)), rel=1e-6)


def test_curvature_that_grows():
    """Σ w⁴/4: ‖∇²f‖ = 3 max w², above which the line lies at every point of the descent."""
    found = survey(lambda w, b: jnp.sum(w**4) / 4 + jnp.dot(w, b), START, list(1e-3 * batches(0)))
    x = np.asarray(found.x0)
    assert found.points[0].curvature == pytest.approx(3 * np.max(x**2), rel=1e-6)
    norms = np.array([point.gradient_norm for point in found.points])
    bent = np.array([point.curvature for point in found.points])
    assert found.smoothness.L1.value > 0 and np.all(bent <= found.smoothness(norms) * (1 + 1e-9))
    assert found.step == pytest.approx(2 / float(found.smoothness(norms.max())), rel=1e-3)


def clients_of(seed, scale=1.0):
    labels = ["a", "b", "a", "b"] * 5
    shifts = {"a": np.zeros(3), "b": np.array([2.0, 0.0, -1.0])}
    return labels, [scale * row + shifts[label] for row, label in zip(batches(seed, 20), labels, strict=True)]


def test_clients_with_data_of_their_own(seed):
    """One Hessian: 𝔅² = 1 and ζ² the spread of the clients' means, less what noise adds to it."""
    labels, data = clients_of(seed)
    found = survey(bowl, START, data, agents=8, compressor=SPARSE, clients=labels)
    own = CURVATURES * np.array([np.array(data)[[one == label for one in labels]] for label in ("a", "b")])
    noise = np.sum(np.var(own, axis=1, ddof=1)) / 2
    wanted = np.mean(np.sum((own.mean(1) - own.mean((0, 1))) ** 2, axis=1)) - noise / 10 / 2
    assert found.dissimilarity.B2.value == pytest.approx(1) and found.dissimilarity.zeta2.value == pytest.approx(wanted)
    assert found.points[0].variance == pytest.approx(noise / 3)
    assert found.client_smoothness.L0.value == pytest.approx(3) and found.constants.mean_smoothness[0] == pytest.approx(
        3
    )
    assert [group.count for group in found.setup.groups] == [4, 4]
    norm = max(point.gradient_norm for point in found.points)
    assert found.result == "4.2" and found.step == pytest.approx(2 * step_limit("4.2", found.constants, norm, 0.5))


def test_the_clients_of_the_public_estimate(seed):
    """The same as `dissimilarity` of the exact gradients, without noise."""
    labels, data = clients_of(seed, scale=0.0)
    found = survey(bowl, START, data, clients=labels)
    shifts = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, -1.0]])
    at = np.random.default_rng(seed).normal(size=(5, 3))
    wanted = dissimilarity(CURVATURES * (at[:, None, :] - shifts))
    assert found.dissimilarity.pair == pytest.approx(wanted.pair) and found.tail is None


METHODS = {
    "B.2": {"compressor": Identity()},
    "4.2": {"compressor": SPARSE, "mask": "shared"},
    "4.3": {"compressor": Sign()},
    "ef": {"compressor": ErrorFeedback(TopK(k=1))},
    "discrete.momentum": {"server": HeavyBall(0.9)},
    None: {"compressor": TopK(k=1)},
}


@pytest.mark.parametrize("name", METHODS)
def test_the_result_that_covers_the_method(name):
    found = survey(bowl, START, list(batches(1)), points=6, **METHODS[name])
    assert found.result == name
    if name is None:
        assert found.step is None and found.constants is None and "TopK is biased" in found.reason
        return
    assert found.step > 0 and found.reason == ""
    tightest = max(found.points, key=lambda point: point.gradient_norm)
    again = critical_step(found.setup, x0=found.x0, method="theorem", constants=found.constants)
    assert again.details["result"] == name and again.step >= found.step * (1 - 1e-9)
    assert tightest is found.points[0]


def test_a_memory_that_no_result_knows_keeps_its_constants():
    found = survey(bowl, START, list(batches(1)), points=6, compressor=EF21(TopK(k=1)))
    assert (
        found.step is None
        and "ef21 is about gradients without noise" in found.reason
        and found.constants.alpha == pytest.approx(1 / 3)
    )


def test_the_setup_is_the_run(seed):
    """It can be simulated, and advised on, from x0."""
    found = survey(bowl, START, list(batches(seed)), agents=4, points=6)
    runs = simulate(found.setup, schedule=Constant(0.1), x0=np.asarray(found.x0), steps=100, runs=200, seed=seed)
    assert runs.loss_mean[0] == pytest.approx(found.points[0].loss, rel=1e-4) and runs.loss_mean[-1] < runs.loss_mean[0]
    assert advise(found.setup, x0=np.asarray(found.x0), constants=found.constants).constants.L0 == found.constants.L0


def test_parameters_of_any_shape_stay_as_they_are():
    params = {"w": jnp.ones((2, 3), jnp.float32), "b": np.float32(0.5)}
    data = [{"x": x, "y": np.arange(4) % 2} for x in np.random.default_rng(0).normal(size=(8, 4, 3)).astype(np.float32)]

    def loss(params, batch):
        score = batch["x"] @ params["w"].T + params["b"]
        chosen = jnp.take_along_axis(jax.nn.log_softmax(score), batch["y"][:, None], axis=1)
        return -jnp.mean(chosen) + 0.05 * jnp.sum(params["w"] ** 2)

    found = survey(loss, params, data, points=6)
    assert found.constants.dim == 7 and found.x0.dtype == jnp.float32 and found.step > 0
    np.testing.assert_array_equal(params["w"], 1.0)
    assert found.points[-1].loss < found.points[0].loss


DATA = list(batches(0))
BAD = [
    ({"loss": 3}, r"loss is 3, but must be a function loss\(params, batch\)"),
    ({"loss": lambda w, b: w - b}, r"loss\(params, batch\) gives .*reduce it with jnp.mean"),
    ({"loss": lambda w, b: {"loss": jnp.sum(w)}}, r"loss\(params, batch\) gives .*one floating-point number"),
    ({"loss": lambda w, b: float(w[0])}, r"loss\(params, batch\) failed with ConcretizationTypeError"),
    ({"loss": lambda w, b: jnp.log(-jnp.sum(w**2))}, "the loss is not finite at params"),
    ({"loss": lambda w, b: jnp.sum(jnp.sqrt(jnp.abs(w - w)))}, "a gradient is not finite at params"),
    ({"params": np.arange(3)}, "params is .*, but must be a pytree of arrays of floats"),
    ({"params": {}}, "must be a pytree of arrays of floats"),
    ({"batches": DATA[:7]}, "batches has 7 of them, but at least 8 are needed"),
    ({"batches": 8}, "batches is 8, but must be a list"),
    ({"batches": [*DATA, np.ones(2)]}, "batches have different shapes, .*leave out the one that is not full"),
    ({"agents": 0}, "agents is 0"),
    ({"points": 5}, "points is 5, but must be a whole number of at least 6"),
    ({"clients": [0] * 16}, r"clients have \[16\] batches, but two clients or more"),
    ({"clients": [0] * 4 + [1] * 12}, r"clients have \[4, 12\] batches"),
    ({"clients": 3}, "clients is 3, but must be a list"),
    ({"clients": [0, 1]}, "clients has 2 labels, but there are 16 batches"),
    ({"clients": [0, 1] * 8, "agents": 3}, "agents is 3, but must be a multiple of the 2 clients"),
    ({"compressor": 3}, "compressor is 3"),
]


@pytest.mark.parametrize(("changed", "match"), BAD)
def test_bad_input(changed, match):
    with pytest.raises(InvalidInput, match=match) as caught:
        survey(**({"loss": bowl, "params": START, "batches": DATA} | changed))
    assert "\n" not in str(caught.value)
