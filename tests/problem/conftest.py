"""Every problem once, with its minimizer where one is known: the table on which the contract tests run."""

import os
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.problem import (
    Cosh,
    DoubleWell,
    EvenPower,
    FiniteSum,
    Function,
    Logistic,
    Mixture,
    PhaseRetrieval,
    Problem,
    Quadratic,
    Quartic,
)

FEATURES = np.array([[1.0, -0.5, 0.2], [0.3, 2.0, -1.0], [-1.5, 0.4, 0.9], [0.1, -0.7, 1.1], [2.0, 1.0, 0.0]])
SIGNAL = np.array([0.5, -1.0, 2.0])
LABELS = [1, -1, 1, 1, -1]
MATRIX = [[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 3.0]]
INDEFINITE = [[-5.0, 0.5], [0.5, 1.0]]


@dataclass(frozen=True)
class Case:
    problem: Problem
    minimizer: tuple[float, ...] | None = None


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def squared_error(x, datum):
    return (jnp.vdot(datum["a"], x) - datum["y"]) ** 2 / 2


CASES = {
    "quadratic": Case(Quadratic(MATRIX), (0.0, 0.0, 0.0)),
    "quadratic-diagonal": Case(Quadratic([1.0, 0.0, 4.0]), (0.0, 3.0, 0.0)),
    "quadratic-indefinite": Case(Quadratic(INDEFINITE)),
    "quartic": Case(Quartic(3), (0.0, 0.0, 0.0)),
    "power-2": Case(EvenPower(2, power=2), (0.0, 0.0)),
    "power-6": Case(EvenPower(2, power=6), (0.0, 0.0)),
    "cosh": Case(Cosh(3, a=-0.7, scale=2.0), (0.0, 0.0, 0.0)),
    "logistic": Case(Logistic(FEATURES, LABELS)),
    "logistic-l2": Case(Logistic(FEATURES, np.array(LABELS) > 0, l2=0.1)),
    "double-well": Case(DoubleWell(3, b=2.0), (np.sqrt(2.0), -np.sqrt(2.0), np.sqrt(2.0))),
    "double-well-radial": Case(DoubleWell(2, b=4.0, radial=True), (1.2, 1.6)),
    "phase-retrieval": Case(PhaseRetrieval(FEATURES, (FEATURES @ SIGNAL) ** 2, minimum=0.0), tuple(SIGNAL)),
    "phase-retrieval-noisy": Case(PhaseRetrieval(FEATURES, [1.0, -2.0, 0.5, 3.0, 0.0])),
    "function": Case(Function(rosenbrock, dim=2, minimum=0.0), (1.0, 1.0)),
    "function-with-curve": Case(Function(lambda x: jnp.sum(x**4) / 4, 2, 0.0, lambda L1: 4 / L1**2), (0.0, 0.0)),
    "finite-sum": Case(
        FiniteSum(squared_error, {"a": FEATURES, "y": FEATURES @ SIGNAL}, dim=3, minimum=0.0), tuple(SIGNAL)
    ),
    "mixture-quadratic": Case(Mixture([Quadratic(INDEFINITE), Quadratic([8.0, 2.0])], [0.5, 0.5]), (0.0, 0.0)),
    "mixture-equal": Case(Mixture([Quartic(2), Quartic(2)], [0.2, 0.8]), (0.0, 0.0)),
    "mixture-bounded": Case(Mixture([Logistic(FEATURES, LABELS), Quadratic(MATRIX)], [0.3, 0.7])),
    "mixture": Case(Mixture([Quartic(2), DoubleWell(2, b=1.0)], [0.5, 0.5])),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request) -> Case:
    return request.param


@pytest.fixture
def problem(case) -> Problem:
    return case.problem


@pytest.fixture
def rng() -> np.random.Generator:
    seed = int(os.environ.get("STABLESTEP_TEST_SEED", "0"))
    print(f"STABLESTEP_TEST_SEED={seed}")
    return np.random.default_rng(seed)
