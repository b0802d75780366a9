"""Exact moments against an independent recursion, closed forms, printed numbers and simulated runs."""

import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from stablestep.compressor import (
    EF21,
    QSGD,
    ErrorFeedback,
    Identity,
    LocalClip,
    Momentum,
    RandK,
    RandomSparsification,
    Sign,
    TopK,
)
from stablestep.compressor.feedback import Wrapper
from stablestep.errors import InvalidInput
from stablestep.message import moments
from stablestep.message.edges import stationary
from stablestep.message.recursion import linear
from stablestep.noise import Gaussian, Noise, StudentT
from stablestep.problem import Quadratic, Quartic
from stablestep.schedule import Constant
from stablestep.server import HeavyBall, Majority
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from tests.method import reference
from tests.method.problems import Bowl
from tests.statistics import assert_fails, assert_mean

H = np.array([[1.0, 0.6], [0.6, 0.8]])
X0 = np.array([1.0, 0.5])
SIGMA, RELATIVE, COUNT, ETA, P = 0.7, 0.3, 3, 0.15, 0.3
CASE = reference.Case(H, SIGMA**2 * np.eye(2), P, COUNT, ETA, RELATIVE**2)
QUIET = Gaussian()


def mask(p, scaled=False):
    return RandomSparsification(1 / p - 1, scaled=scaled)


def setup(compressor, mask="own", server=None, noise=None, matrix=H, count=COUNT):
    noise = Gaussian(SIGMA, RELATIVE) if noise is None else noise
    return Setup(Quadratic(matrix), Agents(count, noise, compressor, mask=mask), server=server)


ROWS = {
    "plain": (setup(mask(P, True)), reference.plain(CASE)),
    "heavy ball": (setup(mask(P, True), server=HeavyBall(0.6)), reference.heavy_ball(CASE, 0.6)),
    "heavy ball, shared": (
        setup(mask(P, True), "shared", HeavyBall(0.6)),
        reference.heavy_ball(CASE.shared, 0.6),
    ),
    "average": (setup(mask(P, True), server=HeavyBall(0.6, average=True)), reference.heavy_ball(CASE, 0.6, 0.4)),
    "nesterov": (setup(mask(P, True), server=HeavyBall(0.6, nesterov=True)), reference.nesterov(CASE, 0.6)),
    "EF": (setup(ErrorFeedback(mask(P))), reference.Feedback(CASE)),
    "EF, outside": (setup(ErrorFeedback(mask(P), step="outside")), reference.Feedback(CASE)),
    "EF, shared": (setup(ErrorFeedback(mask(P)), "shared"), reference.Feedback(CASE.shared)),
    "EF21": (setup(EF21(mask(P))), reference.Estimate(CASE)),
    "EF21, shared": (setup(EF21(mask(P)), "shared"), reference.Estimate(CASE.shared)),
}


@pytest.mark.parametrize("name", ROWS)
def test_every_step_of_the_independent_recursion(name):
    made, recursion = ROWS[name]
    found = moments(made, ETA, X0, 40, full=True)
    wanted = reference.transient(recursion, X0, 40)
    np.testing.assert_allclose(found.second_moment, wanted, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(found.x_square, np.trace(wanted, axis1=1, axis2=2), rtol=1e-11)
    np.testing.assert_allclose(found.loss, np.einsum("ij,kij->k", H, wanted) / 2, rtol=1e-11)


@pytest.mark.parametrize("name", ROWS)
def test_the_stationary_loss_of_the_independent_recursion(name):
    made, recursion = ROWS[name]
    wanted = np.sum(H * reference.stationary(recursion)[0][:2, :2]) / 2
    assert moments(made, ETA, X0, 1).attrs["stationary_loss"] == pytest.approx(wanted, rel=1e-10)


def enumerated(count, mu):
    case = reference.one_dimensional(0.5, count, 0.2, q=SIGMA**2)
    return reference.transient(reference.Enumerated(case, mu), 1.0, 30)[:, 0, 0]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_ef21_with_momentum_by_all_masks(count):
    """Warm: what is remembered and the first gradient share their noise."""
    made = setup(
        Momentum(EF21(mask(0.5), warm=True), beta=0.6, warm=True), noise=Gaussian(SIGMA), matrix=[1.0], count=count
    )
    np.testing.assert_allclose(moments(made, 0.2, 1.0, 30).x_square, enumerated(count, 0.4), rtol=1e-12)


@pytest.mark.parametrize("kind", [ErrorFeedback, EF21])
def test_the_mean_is_heavy_ball(kind):
    """x⁺ = x − c⁺, c⁺ = (1−p)c + pηHx, of EF and EF21 alike."""
    found = moments(setup(kind(mask(P))), ETA, X0, 30).x_mean.values
    x, c = X0, np.zeros(2)
    for row in found:
        np.testing.assert_allclose(row, x, atol=1e-13)
        c = (1 - P) * c + P * ETA * H @ x
        x = x - c


@pytest.mark.parametrize(
    "compressor", [mask(P), RandK(2, scaled=False), ErrorFeedback(mask(P)), EF21(RandK(1, scaled=False))]
)
@pytest.mark.parametrize("how", ["own", "shared"])
def test_diagonals_close(compressor, how):
    """The O(d) form is the diagonal of the O(d²) one, relative noise included."""
    made = setup(compressor, how, HeavyBall(0.5), matrix=[0.5, 1.0, 2.0])
    whole, lean = (moments(made, 0.1, [1.0, -1.0, 0.5], 25, full=full) for full in (True, False))
    np.testing.assert_allclose(whole.x_square, lean.x_square, rtol=1e-12)
    np.testing.assert_allclose(whole.loss, lean.loss, rtol=1e-12)
    rotated = moments(setup(compressor, how, HeavyBall(0.5), matrix=np.diag([0.5, 1.0, 2.0])), 0.1, 1.0, 1)
    assert rotated.attrs["stationary_loss"] == pytest.approx(lean.attrs["stationary_loss"], rel=1e-9)


@pytest.mark.parametrize(
    "compressor", [mask(P, True), ErrorFeedback(mask(P)), Momentum(EF21(RandK(1, scaled=False)), beta=0.4)]
)
def test_split_groups_are_one_group(compressor):
    noise = Gaussian(SIGMA, RELATIVE)
    split = Setup(Quadratic(H), Agents(1, noise, compressor), Agents(2, noise, compressor), server=HeavyBall(0.5))
    whole = setup(compressor, server=HeavyBall(0.5))
    one, other = (moments(made, ETA, X0, 20, full=True, thresholds=True) for made in (split, whole))
    np.testing.assert_allclose(one.second_moment, other.second_moment, rtol=1e-11, atol=1e-14)
    for name in ("stationary_loss", "critical_step", "first_moment_step"):
        assert one.attrs[name] == pytest.approx(other.attrs[name], rel=1e-9)


def test_the_state_comes_to_rest_where_it_is_said_to():
    for made, _ in ROWS.values():
        found = moments(made, ETA, X0, 1500)
        assert found.loss[-1].item() == pytest.approx(found.attrs["stationary_loss"], rel=1e-9)


MIXED = [
    Agents(
        2, Gaussian(0.5, 0.2), Momentum(ErrorFeedback(RandK(1, scaled=False), step="outside"), beta=0.3), Bowl(H, X0)
    ),
    Agents(3, Gaussian(0.3), EF21(RandK(1), warm=True), Bowl(np.eye(2), -X0), mask="shared"),
    Agents(1, None, mask(0.5, True), Bowl(2 * H, 2 * X0)),
]
OWN = [Agents(group.count, group.noise, group.compressor, group.problem) for group in MIXED]


def test_whatever_is_nested_and_mixed_against_simulated_runs(seed):
    """Memories of several kinds, unlike clients, own and shared masks, a warm start."""
    server = HeavyBall(0.5, nesterov=True, average=True)
    times, right = [1, 2, 3, 6, 20], Setup(None, *MIXED, server=server)
    runs = simulate(
        right, schedule=Constant(0.2), x0=X0, steps=20, runs=30_000, seed=seed, observe=lambda x: x, record=times
    ).observed.values[:, 1:]  # fmt: skip
    products = runs[..., :, None] * runs[..., None, :]

    def exact(made):
        return moments(made, 0.2, X0, 20, full=True).isel(time=times)

    assert_mean(runs, exact(right).x_mean.values)
    assert_mean(products, exact(right).second_moment.values)
    wrong = {
        "own masks": Setup(None, *OWN, server=server),
        "no Nesterov": Setup(None, *MIXED, server=HeavyBall(0.5, average=True)),
    }
    for mutant, made in wrong.items():
        with assert_fails(mutant):
            assert_mean(products, exact(made).second_moment.values)


def test_a_warm_server():
    """x⁺ = x − ηg/(1−β) from the first step."""
    found = moments(setup(Identity(), server=HeavyBall(0.6, warm=True)), ETA, X0, 1)
    np.testing.assert_allclose(found.x_mean[1], X0 - ETA * H @ X0 / 0.4, rtol=1e-12)


class Correlated(Noise):
    """Noise of a covariance that is not diagonal, for closed forms only."""

    matrix: np.ndarray

    def sample(self, stream, problem, x, gradient):
        return gradient + jnp.linalg.cholesky(jnp.asarray(self.matrix)) @ stream.normal(2, x.dtype)

    def covariance(self, problem, x, gradient):
        return lx.MatrixLinearOperator(jnp.asarray(self.matrix), lx.positive_semidefinite_tag)


def test_matrices_as_printed():
    """Item 7: H, Q not diagonal, p = .3, N = 3, η = .2."""
    noise = Correlated(np.array([[1.0, 0.3], [0.3, 0.5]]))
    wanted = {
        ErrorFeedback: ([[0.06166394, -0.01185382], [-0.01185382, 0.04451308]], [[0.01769125, 0.00120968], [-0.00469892, 0.00896866]]),
        EF21: ([[0.34800145, -0.20476225], [-0.20476225, 0.31245028]], [[0.03973131, 0.0335856], [-0.02869755, 0.02242992]]),
    }  # fmt: skip
    for kind, (A, B) in wanted.items():
        second = stationary(linear(setup(kind(mask(0.3)), noise=noise)), 0.2).second
        np.testing.assert_allclose(second[0, 0], A, atol=6e-9)
        # EF21's memory at x_k is the message sent at x_{k−1}, and E x_k G_{k−1}ᵀ = −(E x_k G_kᵀ)ᵀ at rest: A does not change.
        found = second[0, 1] if kind is ErrorFeedback else -second[0, 1].T
        np.testing.assert_allclose(found, B, atol=6e-9)


def level(compressor, eta, count=1, relative=0.0, server=None, noise=None):
    made = setup(compressor, server=server, noise=noise or Gaussian(1.0, relative), matrix=[1.0], count=count)
    return moments(made, eta, 1.0, 1).attrs["stationary_loss"]


LEVELS = [
    (Identity(), 0.05, 1, 0, HeavyBall(0.9), 0.1266666667),
    (Identity(), 0.01, 1, 2, HeavyBall(0.9), 0.0313531353),
    (Identity(), 0.05, 1, 0, HeavyBall(0.9, nesterov=True), 0.0954399849),
    (Identity(), 0.01, 1, 2, HeavyBall(0.9, nesterov=True), 0.0288082840),
    (ErrorFeedback(mask(0.1)), 0.02, 1, 0, None, 0.0061728395),
    (ErrorFeedback(mask(0.1)), 0.02, 2, 0, None, 0.0030250145),
    (ErrorFeedback(mask(0.1)), 0.02, 4, 0, None, 0.0014994472),
    (EF21(mask(0.1)), 0.02, 1, 0, None, 0.1172839506),
    (EF21(mask(0.1)), 0.02, 2, 0, None, 0.0525014543),
    (EF21(mask(0.1)), 0.02, 4, 0, None, 0.0249447208),
    (mask(0.1, True), 0.02, 1, 0, None, 0.0555555556),
    (mask(0.1, True), 0.02, 4, 0, None, 0.0129198966),
]


@pytest.mark.parametrize(("compressor", "eta", "count", "relative", "server", "printed"), LEVELS)
def test_levels_as_printed(compressor, eta, count, relative, server, printed):
    """Items 2 and 5, λ = q = 1."""
    assert level(compressor, eta, count, relative, server) == pytest.approx(printed, abs=5.1e-11)


@pytest.mark.parametrize(("p", "mu", "kappa"), [(0.1, 0.1, 1.4986149585), (0.25, 0.3, 1.6687306502), (0.1, 1.0, 19.0)])
def test_noise_of_momentum_under_ef21(p, mu, kappa):
    """Item 6: E x² = κη/2 + O(η²); the slope of 4f∞/η at 0 by Richardson's rule."""
    compressor = Momentum(EF21(mask(p)), beta=1 - mu)
    one, two, four = (4 * level(compressor, eta) / eta for eta in (1e-4, 2e-4, 4e-4))
    assert (8 * one - 6 * two + four) / 3 == pytest.approx(kappa, rel=1e-6)


def unlike(count, dim, spread, seed=0):
    """Centres with mean 0 and mean square `spread`."""
    centres = np.random.default_rng(seed).normal(size=(count, dim))
    centres -= centres.mean(axis=0)
    return centres * np.sqrt(spread / np.mean(np.sum(centres**2, axis=1)))


def above(compressor, eta, spread, noise=QUIET, how="own"):
    """f∞ − f* of eight agents of their own ½‖x − c_i‖², d = 5."""
    groups = [Agents(1, noise, compressor, Bowl(np.eye(5), centre), how) for centre in unlike(8, 5, spread)]
    found = moments(Setup(None, *groups), eta, 0.0, 1)
    return found.attrs["stationary_loss"] - found.attrs["minimum"]


def test_unlike_agents_as_printed():
    """Item 13 (with own masks); ζ² = 11.4789 is printed to four digits, which leaves 5e-7."""
    assert above(mask(0.25, True), 0.1, 11.4789, Gaussian(0.3)) == pytest.approx(0.1215992731, abs=5e-7)


def test_a_shared_mask_of_unlike_agents():
    """Item 13: .00703125, with no trace of ζ², as of like ones; and without gradient noise nothing is left."""
    made = Setup(Quadratic(np.ones(5)), Agents(8, Gaussian(0.3), mask(0.25, True), mask="shared"))
    assert moments(made, 0.1, 0.0, 1).attrs["stationary_loss"] == pytest.approx(0.00703125, abs=1e-12)
    assert above(mask(0.25, True), 0.1, 11.4789, Gaussian(0.3), "common") == pytest.approx(0.00703125, abs=1e-12)
    assert above(mask(0.25, True), 0.1, 11.4789, how="common") == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("eta", "printed", "printed_feedback"), [(0.02, 0.0499, 0.00789), (0.01, 0.0247, 0.00197)])
def test_floor_of_unlike_agents(eta, printed, printed_feedback):
    """Section 6, without gradient noise: ηωζ²/(2N(2 − η(1 + ω/N))) of own masks, and η²ζ²(1−p)/(2Np²) of error feedback as η → 0."""
    spread, p, count = 26.14, 0.25, 8
    found = above(mask(p, True), eta, spread)
    assert found == pytest.approx(eta * 3 * spread / (2 * count * (2 - eta * (1 + 3 / count))), rel=1e-9)
    assert found == pytest.approx(printed, rel=0.01)  # simulated
    feedback = above(ErrorFeedback(mask(p)), eta, spread)
    assert feedback == pytest.approx(printed_feedback, rel=0.01)
    leading = eta**2 * spread * (1 - p) / (2 * count * p**2)
    assert feedback == pytest.approx(leading, rel=5 * eta)
    assert above(EF21(mask(p)), eta, spread) == pytest.approx(0.0, abs=1e-10)


def test_beyond_the_edge():
    """The recursion goes on, up to infinity; the stationary loss is ∞."""
    found = moments(setup(ErrorFeedback(mask(0.1)), matrix=[1.0], count=1), 0.5, 1.0, 4000)
    assert found.attrs["stationary_loss"] == np.inf
    assert found.loss[30] > 10 * found.loss[5] and found.loss[-1] == np.inf and not np.any(np.isnan(found.loss))


def test_on_either_side_of_the_edge():
    made = setup(EF21(mask(0.5)), noise=Gaussian(1.0), matrix=[1.0])
    edge = moments(made, 0.1, 1.0, 1, thresholds=True).attrs["critical_step"]
    below, beyond = (moments(made, factor * edge, 1.0, 1).attrs["stationary_loss"] for factor in (1 - 1e-6, 1 + 1e-6))
    assert 1e3 < below < np.inf and beyond == np.inf


class Odd(Wrapper):
    """Positively homogeneous, and not linear."""

    inner: Identity

    def memory(self, gradient, exact):
        return jnp.zeros_like(gradient)

    def send(self, uniform, gradient, memory, step):
        return jnp.abs(gradient) + memory, gradient


BOWL = Quadratic([1.0, 2.0])
BAD = [
    ({"eta": -0.1}, "eta is -0.1, but must be a finite number greater than 0"),
    ({"eta": 0}, "eta is 0, but must be"),
    ({"steps": 0}, "steps is 0, but must be a whole number of at least 1"),
    ({"steps": 10**9}, "take fewer steps"),
    ({"x0": [1.0, 2.0, 3.0]}, "x0 is .*, but must be a finite number or a vector of length 2"),
    ({"x0": np.nan}, "x0 is nan"),
    ({"x0": lambda key: 1.0}, "moments start at one point"),
    ({"full": "no"}, 'full is "no"'),
    ({"setup": 3}, "setup is 3, but must be a Setup"),
    ({"setup": Setup(Quartic(2), Agents(1))}, "needs a Quadratic, but .* Quartic, is not affine; simulate the method"),
    ({"setup": Setup(Quadratic([0.0, 1.0]), Agents(1))}, "its smallest eigenvalue is 0; leave flat directions out"),
    ({"setup": Setup(Quadratic([-1.0, 1.0]), Agents(1))}, "its smallest eigenvalue is -1"),
    ({"setup": Setup(BOWL, Agents(1, None, ErrorFeedback(TopK(1))))}, "ErrorFeedback of TopK messages are not linear.*simulate"),
    ({"setup": Setup(BOWL, Agents(1, None, Sign()))}, "Sign messages are not linear"),
    ({"setup": Setup(BOWL, Agents(1, None, EF21(QSGD(1))))}, "EF21 of QSGD messages are not linear"),
    ({"setup": Setup(BOWL, Agents(1, None, LocalClip(mask(P), 1.0)))}, "LocalClip of RandomSparsification messages are not"),
    ({"setup": Setup(BOWL, Agents(1, None, Odd(Identity())))}, "Odd of Identity messages are not linear"),
    ({"setup": Setup(BOWL, Agents(1, None, Sign()), server=Majority())}, "Majority is not a linear function of the messages"),
    ({"setup": Setup(BOWL, Agents(1, StudentT(1.5)))}, "no finite variance"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "message"), BAD)
def test_bad_input(changed, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        moments(**({"setup": Setup(BOWL, Agents(1)), "eta": 0.1, "x0": 1.0, "steps": 5} | changed))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
