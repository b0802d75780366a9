"""Edges under other units of x and of f, to the ends of what numbers hold: they follow their own unit, or are refused."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import ErrorFeedback, Momentum, RandK, RandomSparsification, Sign
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Function, Quadratic, Quartic
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from stablestep.stability import METHODS, advise, critical_step, edge_map
from stablestep.stability.ladder import edge
from stablestep.stability.members import Ends, Runner
from stablestep.stability.precision import precision
from stablestep.stability.start_point import start_point
from tests.stability.reference import log_error

QUICK = {
    "rollouts": {"steps": 15, "longest": 15},
    "simulation": {"steps": 15, "runs": 40, "tolerance": 0.1},
    "lyapunov": {"runs": 8, "steps": 50},
    "one-step": {"samples": 64},
    "one-step-log": {"samples": 64},
}
# By which f and x are multiplied; powers of two, so that nothing but the range changes.
UNITS = [(2.0**20, 2.0**-10), (2.0**100, 2.0**-50), (2.0**-100, 2.0**66)]


def quadratic(f, x):
    return Setup(Quadratic(np.array([1.0, 3.0]) * f / x**2), Agents(2, Gaussian(0.1 * f / x, 0.1)))


def quartic(f, x):
    problem = Function(lambda at: f * jnp.sum((at / x) ** 4) / 4, 2, minimum=0.0)
    return Setup(problem, Agents(2, StudentT(5.0, 0.1 * f / x), RandomSparsification(1.0)))


def remembering(f, x):
    return Setup(Quadratic(np.array([1.0, 3.0]) * f / x**2), Agents(2, None, ErrorFeedback(RandK(k=1, scaled=False))))


def rolling(f, x):
    return Setup(Quadratic(np.array([1.0, 3.0]) * f / x**2), Agents(2, Gaussian(0.0, 0.2)), server=HeavyBall(0.5))


ANSWERED = {
    quadratic: set(METHODS),
    quartic: set(METHODS) - {"theorem", "coordinate-wise", "moments"},
    remembering: set(METHODS) - {"coordinate-wise", "loss-model"},
    rolling: set(METHODS),
}


@pytest.mark.parametrize(("make", "method"), [(make, method) for make in ANSWERED for method in METHODS])
def test_every_edge_follows_the_units(make, method):
    """h has the unit of x²/f."""
    options = {} if make in (remembering, rolling) and "step" in method else QUICK.get(method, {})

    def edge(f, x):
        return critical_step(make(f, x), x0=1.5 * x, method=method, **options)

    if method not in ANSWERED[make]:
        with pytest.raises(InvalidInput):
            edge(1.0, 1.0)
        return
    one = edge(1.0, 1.0)
    assert 0 < one.step < math.inf
    runs = method in ("rollouts", "simulation")
    for f, x in UNITS[1:2] if runs else UNITS:
        other = edge(f, x)
        apart = abs(math.log(other.step * f / x**2 / one.step))
        # Runs in another precision draw other numbers; a memory's own unit shows in the growth of finitely many steps.
        followed = make in (remembering, rolling) and method in ("lyapunov", "one-step-log")
        assert apart <= (4 * (log_error(one) + 0.05) if runs else 0.02 if followed else 1e-6), (f, x)
        assert other.status in (one.status, "sharp", "soft")


SIGNS = [(Sign(), name) for name in ("one-step", "one-step-log", "rollouts")] + [
    (Momentum(Sign(), beta=0.5), name) for name in ("rollouts", "simulation")
]


@pytest.mark.parametrize(("compressor", "method"), SIGNS)
@pytest.mark.parametrize(("f", "x"), UNITS)
def test_edges_of_signs_have_the_unit_of_x(compressor, method, f, x):
    """A sign has none of its own."""

    def edge(f, x):
        agents = Agents(3, StudentT(3.0, f / x), compressor)
        setup = Setup(Quadratic(np.array([1.0, 3.0]) * f / x**2), agents)
        return critical_step(setup, x0=1.5 * x, method=method, **QUICK[method]).step / x

    assert edge(f, x) == pytest.approx(edge(1.0, 1.0), rel=0.3 if method in ("rollouts", "simulation") else 1e-6)


def test_an_edge_is_never_the_end_of_a_type():
    setup = Setup(Quadratic([1e-39, 1e-39]), Agents(1))
    found = critical_step(setup, x0=1.0)
    assert found.step == pytest.approx(2e39, rel=0.05) and found.status == "sharp" and found.low < 2e39 < found.high
    map_ = edge_map(setup, x0=[1.0], eta=[1e39, 3e39], runs=2)
    assert map_.up.values.tolist() == [[0, 1]]


@pytest.mark.parametrize("method", ["rollouts", "simulation", "one-step-log"])
@pytest.mark.parametrize("x0", [1e-14, 1e-30, 1e14])
def test_a_start_far_from_one(method, x0):
    """x⁴ under relative noise, which no type of numbers may lose."""
    setup = Setup(Quartic(2), Agents(4, Gaussian(0.0, 0.1)))
    one, other = (critical_step(setup, x0=at, method=method, **QUICK[method]) for at in (1.0, x0))
    assert other.step * x0**2 == pytest.approx(one.step, rel=0.1)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("moments", "lyapunov")])
def test_gradients_without_a_square_are_refused(method):
    setup = Setup(Quartic(2), Agents(4, Gaussian(0.0, 0.1)))
    with pytest.raises(
        InvalidInput, match=r"‖∇f\(x0\)‖ is 1.414e-300, but must be between 1e-140 and 1e\+140.*scale f or x"
    ):
        critical_step(setup, x0=1e-100, method=method)
    with pytest.raises(InvalidInput, match="between 1e-140"):
        advise(setup, x0=1e-100)


PLAIN = Setup(Quadratic([1.0]), Agents(1))
WORDS = [
    (Setup(Quadratic([1e-200]), Agents(1)), 1e145, (), r"‖x0‖ is 1e\+145, but runs in float64"),
    (PLAIN, 1.0, (1e300,), r"a step of the search is 1e\+300"),
    (Setup(Quadratic([1.0]), Agents(1, Gaussian(1e150))), 1.0, (), r"the setup holds 1e\+150"),
    (Setup(Function(lambda x: 1 + jnp.sum(x**2), 1, minimum=1.0), Agents(1)), 1e-7, (), "rounding hides it beside f"),
]


@pytest.mark.parametrize(
    ("setup", "x0", "steps", "words"), WORDS, ids=lambda part: part if isinstance(part, str) else ""
)
def test_what_float64_does_not_hold_is_named(setup, x0, steps, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        precision(start_point(setup, x0), 1000.0, *steps)
    assert "\n" not in str(caught.value)


CHOSEN = [
    (PLAIN, 1.0, 1000.0, (1.0,), "float32"),
    (PLAIN, 1.0, 1e4, (1.0,), "float64"),
    (PLAIN, 1e-13, 1000.0, (1.0,), "float64"),
    (PLAIN, 1.0, 1000.0, (1.0, 1e39), "float64"),
    (Setup(Quadratic([1.0]), Agents(1, Gaussian(0.0, 1e20))), 1.0, 1000.0, (), "float64"),
    (Setup(Function(lambda x: 1 + jnp.sum(x**2), 1, minimum=1.0), Agents(1)), 1e-2, 1000.0, (), "float64"),
    (Setup(Function(lambda x: 1 + jnp.sum(x**2), 1, minimum=1.0), Agents(1)), 1.0, 1000.0, (), "float32"),
    (PLAIN, 0.0, 1000.0, (1.0,), "float32"),
]


@pytest.mark.parametrize(("setup", "x0", "blown", "steps", "dtype"), CHOSEN)
def test_the_precision_is_chosen(setup, x0, blown, steps, dtype):
    assert precision(start_point(setup, x0), blown, *steps) == dtype


def test_no_runner_takes_a_step_that_its_type_lacks():
    runner = Runner(start_point(PLAIN, 1.0), 4)
    with pytest.raises(InvalidInput, match=r"a run has the step 1e\+39, but steps must be below 3.403e\+38 in float32"):
        runner(1e39, 5)


def test_a_ladder_stops_where_steps_do():
    """Runs that stay at every step, from a guess near the end."""

    @dataclass
    class Still:
        members: int = 4
        seed: int = 0

        def __call__(self, etas, length, batch):
            return Ends(np.zeros(4, bool), np.zeros(4, bool), 4 * length)

    assert edge(Still(), 0.0, "none", 5, longest=5).step == math.inf
    with pytest.raises(InvalidInput, match=r"reached the step exp\(6[89].*which no float64 can hold"):
        edge(Still(), 688.0, "none", 5, longest=5)
