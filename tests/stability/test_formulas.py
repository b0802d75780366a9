"""The formulas at a start, against NumPy."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from stablestep.compressor import QSGD, Identity, RandK, RandomSparsification, Sign, TopK
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, Minibatch, StudentT
from stablestep.problem import Cosh, EvenPower, Function, Logistic, Quadratic, Quartic
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from stablestep.stability import critical_step
from stablestep.theorem import Constants
from tests.stability.reference import DENSE, log_error
from tests.statistics import assert_estimate, assert_fails

X0 = np.array([1.0, -0.5, 2.0])


def found_by(method, setup, x0=X0, **options):
    found = critical_step(setup, x0=x0, method=method, **options)
    assert found.low == found.step == found.high and found.status == "formula" and found.method == method
    return found


def test_which_theorem():
    """DSGD, DCSGD, DSignSGD."""
    for agents, name in (
        ([Agents(2, Gaussian(0.1, 0.2))], "B.2"),
        ([Agents(2), Agents(1, None, Identity())], "B.2"),
        ([Agents(2), Agents(1, None, RandK(1))], "4.2"),
        ([Agents(2, StudentT(1.0), Sign())], "4.3"),
    ):
        assert found_by("theorem", Setup(Quartic(3), *agents), 1.0).details["result"] == name


def test_theorem_by_hand():
    """ε → 1 is twice ε = ½: 2/((L0 + L1 G)(1 + A/N) + L1 B/N), with L0 + L1 G = 3 G^⅔ at the best pair, L1 = 2 G^-⅓."""
    norm = np.linalg.norm(X0**3)
    A, B = 4 + 3 * 0.04 * 5, 3 * 0.01 * 5
    setup = Setup(Quartic(3), Agents(5, Gaussian(0.1, 0.2), RandomSparsification(4.0)))
    expected = 2 / (3 * norm ** (2 / 3) * (1 + A / 5) + 2 * norm ** (-1 / 3) * B / 5)
    found = found_by("theorem", setup)
    assert found.step == pytest.approx(expected, rel=1e-10)
    assert found.details["result"] == "4.2" and found.details["L1"] == pytest.approx(2 * norm ** (-1 / 3))
    given = found_by("theorem", setup, L1=2.0)
    assert given.step == pytest.approx(2 / ((1 + 2 * norm) * (1 + A / 5) + 2 * B / 5), rel=1e-12) and given.cost == 1
    alone = found_by("theorem", Setup(Quartic(3), Agents(5, Gaussian(0.1, 0.2))), L1=2.0)
    assert alone.step == pytest.approx(2 / ((1 + 2 * norm) * (1 + 0.12 / 5) + 2 * 0.03 / 5), rel=1e-12)


def test_theorem_of_momentum_is_a_step_of_the_method():
    """η = (1 − β) η_e: on a quadratic with L1 = 0 the discrete result, Lη_e + r²L²η_e² = 1."""
    found = found_by("theorem", Setup(Quadratic([2.0]), Agents(1), server=HeavyBall(0.75)), 1.0)
    assert (
        found.step == pytest.approx((math.sqrt(37) - 1) / 18 / 2 / 4) and found.details["result"] == "discrete.momentum"
    )
    with pytest.raises(InvalidInput, match="but Nesterov remembers"):
        found_by("theorem", Setup(Quadratic([2.0]), Agents(1), server=HeavyBall(0.75, nesterov=True)), 1.0)


def test_theorem_with_given_constants():
    """2/((L0 + L1 G)(1 + A/N) + L1 B/N) of those given, for an f that knows no pair; the setup's memory is filled in."""
    unknown = Setup(
        Function(lambda x: jnp.sum(x**4) / 4, dim=3), Agents(5, Gaussian(0.1, 0.2), RandomSparsification(4.0))
    )
    c = Constants(L0=0.5, L1=3.0, dim=3, count=5, omega=4.0, sigma0_sq=0.01, sigma1_sq=0.04)
    A, B, norm = 4 + 3 * 0.04 * 5, 3 * 0.01 * 5, np.linalg.norm(X0**3)
    expected = 2 / ((0.5 + 3 * norm) * (1 + A / 5) + 3 * B / 5)
    found = found_by("theorem", unknown, constants=c)
    assert found.step == pytest.approx(expected, rel=1e-12)
    assert (found.details["result"], found.details["L0"], found.details["L1"]) == ("4.2", 0.5, 3.0)
    ball = Setup(unknown.problem, Agents(1), server=HeavyBall(0.75))
    moved = found_by("theorem", ball, constants=Constants(L0=2.0, L1=0.0, dim=3))
    assert moved.step == pytest.approx((math.sqrt(37) - 1) / 18 / 2 / 4)


def test_theorem_of_signs_by_hand():
    setup = Setup(Quartic(3), Agents(5, StudentT(1.0, 0.3), Sign()))
    assert found_by("theorem", setup, L1=2.0).step == pytest.approx(2 / (3 * 2), rel=1e-14)
    unlimited = found_by("theorem", Setup(Quadratic(DENSE), Agents(5, StudentT(1.0, 0.3), Sign())))
    assert unlimited.step == np.inf


@pytest.mark.parametrize(
    ("problem", "hessian", "bound"),
    [
        (Quartic(3), 3 * X0**2, 3 * X0**2),
        (EvenPower(3, power=6), 5 * X0**4, 5 * X0**4),
        (Quadratic([1.0, -0.2, 0.5]), [1.0, -0.2, 0.5], [1.0, 0.2, 0.5]),
        (Cosh(3, a=0.7, scale=2.0), 0.98 * np.cosh(0.7 * X0), 0.98 + 0.7 * np.abs(1.4 * np.sinh(0.7 * X0))),
    ],
    ids=["quartic", "power 6", "quadratic", "cosh"],
)
def test_coordinate_wise_and_loss_model_of_a_mask(problem, hessian, bound):
    """2‖g‖²/Σ_j D_j (g_j² + C_jj), C_jj = (ω (g_j² + s_j²) + s_j²)/N, with D_j = H_jj or its bound."""
    setup = Setup(problem, Agents(2, Gaussian([0.1, 0.5, 0.2], 0.3), RandomSparsification(3.0)))
    gradient = np.asarray(problem.gradient(jnp.asarray(X0)))
    variance = np.array([0.1, 0.5, 0.2]) ** 2 + 0.09 * np.sum(gradient**2)
    second = gradient**2 + (3 * gradient**2 + 4 * variance) / 2
    assert found_by("coordinate-wise", setup).step == pytest.approx(
        2 * gradient @ gradient / (np.array(bound) @ second), rel=1e-10
    )
    curved = float(np.array(hessian) @ second)
    expected = 2 * gradient @ gradient / curved if curved > 0 else np.inf
    assert found_by("loss-model", setup).step == pytest.approx(expected, rel=1e-10)


def test_coordinate_wise_lies_between_the_theorem_and_the_loss_model():
    setup = Setup(Cosh(3, a=0.7), Agents(2, Gaussian(0.1, 0.3), RandomSparsification(3.0)))
    steps = [found_by(method, setup).step for method in ("theorem", "coordinate-wise", "loss-model")]
    assert steps == sorted(steps) and steps[0] < steps[2]


def test_loss_model_of_a_dense_covariance():
    """Rand-1 of 3 on a full matrix: tr(HC) has its off-diagonal part."""
    setup = Setup(Quadratic(DENSE), Agents(4, Gaussian(0.2), RandK(1)))
    gradient = DENSE @ X0
    both = np.outer(gradient, gradient) + 0.04 * np.eye(3)
    covariance = (0.04 * np.eye(3) + 3 * np.diag(np.diag(both)) - both) / 4
    curved = gradient @ DENSE @ gradient + np.trace(DENSE @ covariance)
    found = found_by("loss-model", setup)
    assert found.step == pytest.approx(2 * gradient @ gradient / curved, rel=1e-12) and found.cost == 5


@pytest.mark.parametrize("method", ["loss-model", "coordinate-wise"])
def test_signs(method):
    """m = 2Ξ(g/σ), C = diag(1 − m²)/N: 2 g·m over mᵀHm + tr(HC)."""
    scales = np.array([0.5, 1.0, 2.0])
    setup = Setup(Quadratic([1.0, 3.0, 0.5]), Agents(4, StudentT(2.0, scales), Sign()))
    hessian, gradient = np.diag([1.0, 3.0, 0.5]), np.array([1.0, 3.0, 0.5]) * X0
    y = gradient / scales
    mean = np.sign(y) * special.betainc(0.5, 1.0, y**2 / (2 + y**2))
    curved = mean @ hessian @ mean + np.trace(hessian @ np.diag(1 - mean**2)) / 4
    assert found_by(method, setup).step == pytest.approx(2 * gradient @ mean / curved, rel=1e-9)


def test_loss_model_without_curvature():
    """Linear, or concave along the messages: the model never grows."""
    for function in (jnp.sum, lambda x: -jnp.sum(x**2)):
        assert found_by("loss-model", Setup(Function(function, 3), Agents(1))).step == np.inf


def dithered(generator, gradient, samples):
    """QSGD with one level, agent by agent: ‖g‖₂ sign(g_j) with probability |g_j|/‖g‖₂."""
    size = np.linalg.norm(gradient)
    return size * np.sign(gradient) * (generator.uniform(size=(samples, len(gradient))) < np.abs(gradient) / size)


def test_sampled_messages(seed):
    """QSGD of a noisy gradient has no closed covariance: 512 messages stand for it. The noise here is negligible."""
    generator = np.random.default_rng(seed)
    gradient = DENSE @ X0
    messages = np.mean([dithered(generator, gradient, 20_000) for _ in range(2)], axis=0)
    descents, curved = messages @ gradient, np.einsum("si,ij,sj->s", messages, DENSE, messages)
    error = np.std(descents / np.mean(descents) - curved / np.mean(curved)) / math.sqrt(512)
    spread = np.linalg.norm(gradient) * np.abs(gradient) - gradient**2
    form = gradient @ DENSE @ gradient
    exact = 2 * gradient @ gradient / (form + np.diag(DENSE) @ spread / 2)
    noisy = Setup(Quadratic(DENSE), Agents(2, Gaussian(1e-5), QSGD(1)))
    found = critical_step(noisy, x0=X0, method="loss-model", seed=seed)
    assert_estimate(math.log(found.step), error, math.log(exact))
    for name, wrong in {"gradient descent": form, "one agent": form + np.diag(DENSE) @ spread}.items():
        with assert_fails(name):
            assert_estimate(math.log(found.step), error, math.log(2 * gradient @ gradient / wrong))
    assert found_by("loss-model", Setup(Quadratic(DENSE), Agents(2, None, QSGD(1)))).step == pytest.approx(exact)
    assert (found.cost, found.status, found.details) == (1024, "estimated", {"samples": 512})
    # Its own error, too, is that of 512 messages.
    assert_estimate(math.log(found.step), log_error(found), math.log(exact))
    assert 0.8 * error < log_error(found) < 1.25 * error


def test_sampled_messages_coordinate_by_coordinate(seed):
    """QSGD with one level: E M_j² = ‖g‖ |g_j| for one agent, so that the limit is 2‖g‖²/(‖g‖ Σ D_j |g_j|)."""
    curvature, gradient = np.array([1.0, 3.0, 0.5]), np.array([1.0, 3.0, 0.5]) * X0
    found = critical_step(
        Setup(Quadratic([1.0, 3.0, 0.5]), Agents(1, Gaussian(1e-5), QSGD(1))),
        x0=X0,
        method="coordinate-wise",
        seed=seed,
    )
    exact = 2 * np.linalg.norm(gradient) / (curvature @ np.abs(gradient))
    assert found.status == "estimated" and found.low < found.step < found.high
    assert_estimate(math.log(found.step), log_error(found), math.log(exact))
    with assert_fails("twice the step"):
        assert_estimate(math.log(found.step), log_error(found), math.log(2 * exact))


SUM = Logistic(np.eye(3), [0, 1, 1])
BAD = [
    ("theorem", Setup(Quartic(3), Agents(1)), {"x0": 0.0}, "the gradient at x0 is 0"),
    ("coordinate-wise", Setup(Quartic(3), Agents(1)), {"x0": 0.0}, "the gradient at x0 is 0"),
    ("loss-model", Setup(Quartic(3), Agents(1)), {"x0": 0.0}, "the gradient at x0 is 0"),
    ("theorem", Setup(Quartic(3), Agents(1)), {"L1": 0.0}, "L1 > 0"),
    ("theorem", Setup(Quartic(3), Agents(1, None, TopK(1))), {}, "TopK is biased"),
    ("theorem", Setup(SUM, Agents(1, Minibatch(1))), {}, "affine variance"),
    ("theorem", Setup(Function(jnp.sum, 3), Agents(1)), {}, r"no \(L0, L1\) pair is known"),
    ("theorem", Setup(Quartic(3), Agents(1, StudentT(0.5), Sign())), {}, "needs nu ≥ 1"),
    ("theorem", Setup(Quartic(3), Agents(1)), {"samples": 3}, 'no option "samples"; it takes L1, constants'),
    ("loss-model", Setup(Quartic(3), Agents(1)), {"samples": 3}, 'no option "samples"; it takes none'),
    ("coordinate-wise", Setup(Quadratic(DENSE), Agents(1)), {}, "not known to be a sum of functions of one coord"),
    ("coordinate-wise", Setup(SUM, Agents(1)), {}, "not known to be a sum"),
]


@pytest.mark.parametrize(("method", "setup", "options", "message"), BAD)
def test_bad_input(method, setup, options, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        critical_step(setup, **({"x0": X0} | options), method=method)
    assert "\n" not in str(caught.value)
