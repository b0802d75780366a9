"""Second moments of `simulate` against the exact recursions, along the path and at its end, each with formulas that are wrong by little."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from stablestep.compressor import EF21, ErrorFeedback, Momentum, RandomSparsification
from stablestep.noise import Gaussian
from stablestep.problem import Quadratic
from stablestep.schedule import Constant
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from tests.method.problems import Bowl
from tests.method.reference import (
    Case,
    Enumerated,
    Estimate,
    Feedback,
    critical,
    heavy_ball,
    nesterov,
    one_dimensional,
    plain,
    transient,
)
from tests.statistics import assert_fails, assert_mean

H = np.array([[1.0, 0.6], [0.6, 0.8]])
SIGMA, RELATIVE = 0.7, 0.3
X0 = np.array([1.0, 0.5])
TIMES = (1, 2, 4, 8, 16, 48)
OMEGA, COUNT = 7 / 3, 3
LIGHT = RandomSparsification(OMEGA, scaled=False)
CASE = Case(H, SIGMA**2 * np.eye(2), 1 / (1 + OMEGA), COUNT, eta=0.15, relative=RELATIVE**2)
QUIET = replace(CASE, relative=0.0)


def point(x):
    return x


def products(setup, eta, runs, seed, x0=X0, times=TIMES, dtype="float32"):
    """x xᵀ of every run at `times`."""
    found = simulate(
        setup, schedule=Constant(eta), x0=x0, steps=times[-1], runs=runs, seed=seed, observe=point, record=list(times),
        dtype=dtype,
    ).observed.values[:, 1:]  # fmt: skip
    return found[..., :, None] * found[..., None, :]


def agents(compressor, mask="own", count=COUNT, relative=RELATIVE):
    return Agents(count, Gaussian(SIGMA, relative), compressor, mask=mask)


def setup(compressor, mask="own", server=None, **options):
    return Setup(Quadratic(H), agents(compressor, mask, **options), server=server)


@dataclass(frozen=True)
class Row:
    setup: Setup
    recursion: object
    mutants: dict = field(default_factory=dict)
    runs: int = 30_000


def alone(case):
    """One agent in the place of N."""
    return replace(case, count=1)


SCALED = RandomSparsification(OMEGA)
ROWS = {
    "heavy ball": Row(
        setup(SCALED, server=HeavyBall(0.6)),
        heavy_ball(CASE, 0.6),
        {
            "shared": heavy_ball(CASE.shared, 0.6),
            "one agent": heavy_ball(alone(CASE), 0.6),
            "β": heavy_ball(CASE, 0.65),
        },
    ),
    "heavy ball, shared": Row(
        setup(SCALED, "shared", HeavyBall(0.6)), heavy_ball(CASE.shared, 0.6), {"own": heavy_ball(CASE, 0.6)}
    ),
    "average": Row(
        setup(SCALED, server=HeavyBall(0.6, average=True)),
        heavy_ball(CASE, 0.6, gain=0.4),
        {"no average": heavy_ball(CASE, 0.6)},
    ),
    "nesterov": Row(
        setup(SCALED, server=HeavyBall(0.6, nesterov=True)), nesterov(CASE, 0.6), {"heavy ball": heavy_ball(CASE, 0.6)}
    ),
    "EF": Row(
        setup(ErrorFeedback(LIGHT)),
        Feedback(CASE),
        {
            "shared": Feedback(CASE.shared),
            "one agent": Feedback(alone(CASE)),
            "EF21": Estimate(CASE),
            "p": Feedback(replace(CASE, p=1.1 * CASE.p)),
            "no σ1": Feedback(QUIET),
        },
    ),
    "EF, shared": Row(
        setup(ErrorFeedback(LIGHT), "shared"), Feedback(CASE.shared), {"own": Feedback(CASE), "no mask": plain(CASE)}
    ),
    "EF21": Row(
        setup(EF21(LIGHT)),
        Estimate(CASE),
        {
            "shared": Estimate(CASE.shared),
            "one agent": Estimate(alone(CASE)),
            "EF": Feedback(CASE),
            "no σ1": Estimate(QUIET),
        },
    ),
    "EF21, shared": Row(setup(EF21(LIGHT), "shared"), Estimate(CASE.shared), {"own": Estimate(CASE)}),
}


@pytest.mark.parametrize("name", ROWS)
def test_second_moments(name, seed):
    row = ROWS[name]
    found = products(row.setup, CASE.eta, row.runs, seed)
    assert_mean(found, transient(row.recursion, X0, TIMES[-1])[list(TIMES)])
    for mutant, recursion in row.mutants.items():
        with assert_fails(mutant):
            assert_mean(found, transient(recursion, X0, TIMES[-1])[list(TIMES)])


HALF = RandomSparsification(1.0, scaled=False)


def isotropic(eta, p=0.5, q=SIGMA**2):
    return Case(np.eye(2), q * np.eye(2), p, COUNT, eta)


def calm(compressor, **options):
    return Setup(Quadratic(np.eye(2)), agents(compressor, relative=0.0), **options)


def level(kind, h, near_two=1.5):
    """λ = 1, p = ½ of section 2.2, with `near_two` for 2 − p: E x²."""
    N, p, q = COUNT, 0.5, SIGMA**2
    room = 2 * N * p * near_two - h * (N * p**2 + 4 * (1 - p))
    if kind is ErrorFeedback:
        return h * q * (N * p * near_two + 2 * h * (1 - p) * (N - 1)) / (N * room)
    return h * q * near_two**2 / room


@pytest.mark.parametrize("kind", [ErrorFeedback, EF21])
def test_stationary_level(kind, seed):
    h = 0.3
    found = products(calm(kind(HALF)), h, 40_000, seed, x0=0.0)[:, -1]
    assert_mean(found, level(kind, h) * np.eye(2))
    for mutant, wrong in {
        "2 for 2 − p": level(kind, h, near_two=2),
        "EF for EF21, and the reverse": level(EF21 if kind is ErrorFeedback else ErrorFeedback, h),
        "κ = 1": level(kind, h) * (1 / 3 if kind is EF21 else 3),
    }.items():
        with assert_fails(mutant):
            assert_mean(found, wrong * np.eye(2))


EARLY = (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("kind", [(ErrorFeedback, Feedback), (EF21, Estimate)])
def test_threshold(kind, seed):
    """h* = 2Np(2−p)/(Np² + 4(1−p)), N = 3, p = ½: bounded below, growing above, and simulated runs on either side."""
    compressor, recursion = kind
    step = critical(lambda eta: recursion(one_dimensional(0.5, COUNT, eta)), 3.0)
    assert step == pytest.approx(1.6363636364, abs=6e-11)
    below, above = (transient(recursion(isotropic(factor * step)), X0, 400)[:, 0, 0] for factor in (0.9, 1.1))
    assert below.max() < 20 and above[-1] > 1e6
    for factor in (0.7, 1.3):
        found = products(calm(compressor(HALF)), factor * step, 30_000, seed, times=EARLY)
        assert_mean(found, transient(recursion(isotropic(factor * step)), X0, 6)[1:])
        with assert_fails("a step 1.1 times larger"):
            assert_mean(found, transient(recursion(isotropic(1.1 * factor * step)), X0, 6)[1:])


def test_ef21_with_momentum_of_its_agents(seed):
    """With H = I the coordinates are independent: each is the one-dimensional sum over all masks."""
    mu, eta = 0.4, 0.2
    compressor = Momentum(EF21(HALF, warm=True), beta=1 - mu, warm=True)
    found = products(calm(compressor), eta, 30_000, seed)

    def expected(mu, count=COUNT):
        case = Case(np.eye(1), SIGMA**2 * np.eye(1), 0.5, count, eta)
        return np.stack([transient(Enumerated(case, mu), x, TIMES[-1])[list(TIMES), 0, 0] for x in X0], axis=1)

    squares = np.stack([found[..., 0, 0], found[..., 1, 1]], axis=-1)
    assert_mean(squares, expected(mu))
    for mutant, wrong in {"no momentum": expected(1.0), "μ": expected(1.15 * mu), "one agent": expected(mu, 1)}.items():
        with assert_fails(mutant):
            assert_mean(squares, wrong)


def test_own_masks_of_unlike_agents_are_noise(seed):
    """Section 6 for f_i = ½‖x − c_i‖²: the spread of the data is multiplied by ω."""
    centres = np.array([[1.0, -2.0], [0.5, 1.5], [-1.5, 0.5]])
    groups = [Agents(1, Gaussian(SIGMA), RandomSparsification(1.0), Bowl(np.eye(2), centre)) for centre in centres]
    found = products(Setup(None, *groups), 0.15, 30_000, seed)
    unlike = replace(isotropic(0.15), spread=np.mean([np.outer(c, c) for c in centres], axis=0))
    assert_mean(found, transient(plain(unlike), X0, TIMES[-1])[list(TIMES)])
    for mutant, case in {"ζ² = 0": isotropic(0.15), "shared": unlike.shared, "one agent": alone(unlike)}.items():
        with assert_fails(mutant):
            assert_mean(found, transient(plain(case), X0, TIMES[-1])[list(TIMES)])
