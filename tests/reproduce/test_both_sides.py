"""A theorem's two sides, where they can be computed by hand."""

import numpy as np
import pytest
from scipy.integrate import quad

from stablestep import noise, problem, schedule, theorem
from stablestep.reproduce.both_sides import Case, paths, pathwise, signs, unbiased, weighted
from stablestep.reproduce.sections.limits.misprint import stationary_left
from stablestep.setup import Agents, Setup

LINE = problem.Quadratic([2.0])
ETA, STEPS, X0 = 0.1, 40, 1.5


def descent(step):
    """‖∇f‖ along gradient descent with the step of each iteration."""
    x, norms = X0, []
    for k in range(STEPS + 1):
        norms.append(2 * abs(x))
        x -= step(k, 2 * abs(x)) * 2 * x
    return np.array(norms)


def case(rule):
    return Case("a line", LINE, (Agents(1),), X0, rule, STEPS)


def test_paths_are_those_of_the_optimizer_and_the_model():
    decay = schedule.Polynomial(ETA, 0.5)
    found, times = paths(case(decay), None, 2, 0)
    np.testing.assert_allclose(found[0], descent(lambda k, _: ETA * (1 + k * ETA) ** -0.5), rtol=1e-5)
    assert times[-1] == pytest.approx(STEPS * ETA)
    # The first-order flow of λx²/2 is x0 exp(−λφ¹).
    flow, _ = paths(case(decay), "first", 2, 0)
    expected = 2 * X0 * np.exp(-2 * np.array([decay.phi(1, t) for t in times]))
    np.testing.assert_allclose(flow[0], expected, rtol=0.03)


def test_weighted_left_and_right_sides_by_hand():
    decay = schedule.Polynomial(ETA, 0.5)
    c = theorem.Constants(L0=2.0, L1=0.0, dim=1, initial_gap=X0**2)
    held = weighted("4.1", case(decay), "first", c, 2, 0)
    times = np.arange(STEPS) * ETA
    weights = (1 + times) ** -0.5
    norms = descent(lambda k, _: ETA * (1 + k * ETA) ** -0.5)[:-1]
    assert held.optimizer[0] == pytest.approx(weights @ norms**2 / weights.sum(), rel=1e-5)
    phi1 = decay.phi(1, STEPS * ETA)
    exact = quad(lambda p: (2 * X0 * np.exp(-2 * p)) ** 2, 0, phi1)[0] / phi1
    assert held.model[0] == pytest.approx(exact, rel=0.02)
    assert held.right == pytest.approx(X0**2 / (0.5 * phi1), rel=1e-12)
    assert held.tightness == held.right / held.model[0]


def test_pathwise_sides_by_hand():
    c = theorem.Constants(L0=2.0, L1=1.0, dim=1, initial_gap=X0**2)
    rule = schedule.StepLimit("4.2", eta=ETA, epsilon=0.25, power=0.5, constants=c)
    held = pathwise("4.2", case(rule), "new", c, 2, 0)

    def step(k, norm):
        return min(ETA * (1 + k * ETA) ** -0.5, 2 * 0.25 / (2 + norm))

    norms = descent(step)[:-1]
    steps = np.array([step(k, norm) for k, norm in enumerate(norms)])
    assert held.optimizer[0] == pytest.approx(steps @ norms**2, rel=1e-5)
    assert held.right == pytest.approx(X0**2 / 0.75, rel=1e-12)
    assert held.model[0] <= held.right
    assert held.label == "4.2, a line" and held.sde == "new"


def test_additive_noise_adds_to_the_right_side():
    agents = (Agents(1, noise.Gaussian(sigma0=0.5)),)
    c = theorem.constants(Setup(LINE, *agents), L1=0.0, x0=X0)
    rule = schedule.StepLimit("4.2", eta=ETA, epsilon=0.5, power=0.5, constants=c)
    held = pathwise("4.2", Case("noisy", LINE, agents, X0, rule, STEPS), "new", c, 8, 0)
    squared = (ETA * (1 + np.arange(STEPS + 1) * ETA) ** -0.5) ** 2
    trapezoid = squared.sum() - (squared[0] + squared[-1]) / 2
    assert held.right == pytest.approx((X0**2 + 2.0 * 0.25 / 2 * trapezoid) / 0.5, rel=1e-6)


def test_the_left_side_of_the_misprint_by_its_differential_equation():
    """d E X² = (−2η_t E X² + ηη_t²) dt by small steps, weighted with η_t/φ¹."""
    t, step, second, total = 0.0, 1e-3, 0.0, 0.0
    while t < 10.0:
        rate = (1 + t) ** -0.5
        total += rate * second * step
        second += step * (-2 * rate * second + 0.1 * rate**2)
        t += step
    phi1 = 2 * (11**0.5 - 1)
    assert stationary_left(0.1, 1.0, 0.5, 10.0) == pytest.approx(total / phi1, rel=1e-3)


def test_agents_of_the_families():
    first, second = unbiased((4.0, 8.0), 0.2, 0.1)
    assert (first.noise.sigma0, second.noise.sigma0) == (0.2, pytest.approx(0.3))
    assert (first.compressor.omega(7), second.compressor.omega(7)) == (4.0, 8.0)
    assert [agents.noise.student_scale() for agents in signs((1.0, 2.0), 1.5)] == [(1.5, 1.0, 1.0), (1.5, 2.0, 2.0)]
