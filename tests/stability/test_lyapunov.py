"""The almost-sure edge: quadrature in one coordinate, exact multipliers in more, and what has none."""

import math

import numpy as np
import pytest

from stablestep.compressor import ErrorFeedback, RandK, RandomSparsification, Sign, TopK
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, Minibatch, StudentT
from stablestep.problem import Cosh, DoubleWell, Logistic, Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.stability import critical_step
from tests.stability.reference import ALMOST_SURE, DENSE, MEAN_SQUARE, SPARSE, almost_sure, log_error
from tests.statistics import assert_estimate, assert_fails


def found_by(setup, x0=1.0, **options):
    return critical_step(setup, x0=x0, method="lyapunov", **options)


def test_the_number_by_quadrature():
    assert almost_sure() == pytest.approx(ALMOST_SURE, abs=1e-7)


def test_one_coordinate(seed):
    found = found_by(SPARSE, seed=seed)
    logarithm, error = math.log(found.step), log_error(found)
    assert_estimate(logarithm, error, math.log(ALMOST_SURE))
    for name, wrong in {
        "the mean-square edge": MEAN_SQUARE,
        "that of gradient descent": 2.0,
        "noise of the mask alone": 0.4,
        "1.1 times as much": 1.1 * ALMOST_SURE,
    }.items():
        with assert_fails(name):
            assert_estimate(logarithm, error, math.log(wrong))
    assert found.status == "estimated" and found.cost > 0 and found.details["slope"] > 0


def test_seeds():
    one, again, other = (found_by(SPARSE, seed=seed) for seed in (1, 1, 2))
    assert one == again and one.step != other.step


@pytest.mark.parametrize(
    ("setup", "x0", "edge"),
    [
        (Setup(Quadratic([1.0, 4.0]), Agents(2)), 1.0, 0.5),
        (Setup(Quadratic(DENSE), Agents(1)), 1.0, 2 / np.linalg.eigvalsh(DENSE)[-1]),
        (Setup(Quadratic([1.0, 4.0]), Agents(2, Gaussian(0.7))), 1.0, 0.5),
        (Setup(Quadratic([1.0, 4.0]), Agents(2, StudentT(1.0))), 1.0, 0.5),
        (Setup(Quartic(2), Agents(1)), [1.0, 0.5], 2 / 3),
        (Setup(Cosh(1, a=2.0), Agents(1)), 0.7, 0.5 / np.cosh(1.4)),
    ],
    ids=["diagonal", "dense", "additive noise", "heavy additive noise", "quartic", "cosh"],
)
def test_without_relative_noise(setup, x0, edge):
    """2/λmax of the Hessian at x0; additive noise does not matter."""
    found = found_by(setup, x0)
    assert found.step == pytest.approx(edge, rel=1e-3) and found.status == "exact"
    assert found.low <= found.step <= found.high


def test_what_grows_is_found_in_every_direction():
    """(1, −1) is stretched, (1, 1) is not: a start there would see an edge of 2."""
    found = found_by(Setup(Quadratic(np.array([[2.0, -1.0], [-1.0, 2.0]])), Agents(1)))
    assert found.step == pytest.approx(2 / 3, rel=1e-3) and found.status == "exact"


def test_a_biased_compressor_is_no_linear_map(seed):
    """Error feedback of Top-1 among ten equal coordinates: about 2k/d = .2, and no number that is exact, though nothing is random."""
    echo = ErrorFeedback(TopK(k=1))
    found = found_by(Setup(Quadratic(np.ones(10)), Agents(1, None, echo)), seed=seed, runs=16)
    assert found.status == "estimated" and found.low < found.step < found.high
    assert 0.2 < found.step < 0.25


@pytest.mark.parametrize(("compressor", "factor"), [(RandomSparsification(4.0), 5.0), (RandK(1), 2.0)])
def test_masks_on_a_diagonal(compressor, factor, seed):
    """Each coordinate is multiplied by 1 − factor · hλ or stays: the largest λ decides, at factor · hλ = 2."""
    found = found_by(Setup(Quadratic([0.3, 4.0]), Agents(1, None, compressor)), seed=seed, runs=40, steps=1000)
    assert found.step == pytest.approx(2 / (factor * 4), rel=1e-3)


SUM = Logistic(np.eye(3), [0, 1, 1], l2=0.1)
BAD = [
    (
        Setup(Quadratic([1.0]), Agents(1, StudentT(1.0), Sign())),
        {},
        'Sign messages do not grow in proportion.*use method="rollouts"',
    ),
    (Setup(SUM, Agents(1, Minibatch(1))), {}, "minibatch noise does not linearise"),
    (Setup(Quartic(2), Agents(1), Agents(1, problem=Quadratic([1.0, 1.0]))), {}, "problems of their own"),
    (Setup(Quartic(513), Agents(1)), {}, "at most 512 coordinates, but there are 513"),
    (Setup(DoubleWell(2), Agents(1)), {"x0": 0.1}, r"eigenvalue -0\.97, but must be positive definite"),
    (Setup(Quadratic([0.0, 1.0]), Agents(1)), {}, "eigenvalue 0, but must be positive definite"),
    (SPARSE, {"runs": 0}, "runs is 0"),
    (SPARSE, {"steps": 0}, "steps is 0"),
    (SPARSE, {"x0": [1.0, 1.0]}, r"x0 has shape \(2,\)"),
]


@pytest.mark.parametrize(("setup", "options", "message"), BAD)
def test_bad_input(setup, options, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        found_by(setup, **options)
    assert "\n" not in str(caught.value)
