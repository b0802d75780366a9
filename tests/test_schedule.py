"""Schedules: φ by formula and by quadrature, Robbins-Monro, and the steps they take."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from stablestep.compressor import Identity, RandomSparsification, Sign, TopK
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Cosh, Function, Quadratic, Quartic
from stablestep.schedule import ENSEMBLE, Clip, Constant, Custom, LocalNorms, Note, Polynomial, Seen, StepLimit
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, constants, step_limit

SETUP = Setup(Quartic(10), Agents(2, Gaussian(0.1, 0.2), RandomSparsification(4.0)))


def seen(gradient=0.0, message=0.0, local=0.0):
    return Seen(*(jnp.asarray(value, jnp.float64) for value in (gradient, message, local, message)))


def step(schedule, t=0.0, **norms):
    return float(schedule.step(jnp.asarray(t, jnp.float64), seen(**norms)))


PHI = [
    (Polynomial(0.1, 0.25), 10.0, 6.7201404727, 4.6332495807),
    (Polynomial(0.1, 1.0), 10.0, 2.3978952728, 0.9090909091),
    (Polynomial(0.1, 0.5), 10.0, 2 * (np.sqrt(11) - 1), np.log(11)),
    (Polynomial(0.1, 0.0), 10.0, 10.0, 10.0),
    (Constant(0.3), 10.0, 10.0, 10.0),
    (Custom(0.3, lambda t: 1 / (1 + t)), 10.0, 2.3978952728, 0.9090909091),
]


@pytest.mark.parametrize(("schedule", "t", "first", "second"), PHI)
def test_phi_numbers(schedule, t, first, second):
    assert schedule.phi(1, t) == pytest.approx(first, abs=6e-11)
    assert schedule.phi(2, t) == pytest.approx(second, abs=6e-11)


@pytest.mark.parametrize("t", [0.0, 1e-9, 0.5, 10.0, 1e4])
@pytest.mark.parametrize("power", [0.0, 0.25, 0.5, 0.5 + 1e-13, 0.6, 0.75, 1.0, 1.5])
def test_phi_by_quadrature(power, t):
    schedule = Polynomial(0.1, power)
    for order in (1, 2):
        # Substituting 1 + s = e^u makes the integrand smooth at every scale.
        expected = integrate.quad(lambda u, order=order: np.exp(u * (1 - order * power)), 0, np.log1p(t))[0]
        assert schedule.phi(order, t) == pytest.approx(expected, rel=1e-9, abs=1e-18)


def test_phi_is_that_of_the_steps_taken():
    schedule = Polynomial(0.01, 0.6)
    times = (np.arange(100_000) + 0.5) * 0.01
    relative = np.asarray(schedule.step(jnp.asarray(times), seen())) / schedule.eta
    assert schedule.phi(1, 1000.0) == pytest.approx(np.sum(relative) * 0.01, rel=1e-5)
    assert schedule.phi(2, 1000.0) == pytest.approx(np.sum(relative**2) * 0.01, rel=1e-5)


@pytest.mark.parametrize(("power", "slope"), [(0.6, -0.392), (0.75, -0.255), (0.9, -0.125)])
def test_decay_of_the_ratio_is_not_what_the_paper_says(power, slope):
    schedule = Polynomial(1.0, power)
    ratio = [schedule.phi(2, t) / schedule.phi(1, t) for t in (1e6, 1e8)]
    assert np.log(ratio[1] / ratio[0]) / np.log(100) == pytest.approx(slope, abs=6e-4)
    assert slope > -power + 0.1


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [(Constant(1.0), False)] + [(Polynomial(1.0, a), 0 < a <= 1) for a in (0.0, 0.1, 0.5, 0.9, 1.0, 1.01, 2.0)],
)
def test_robbins_monro(schedule, expected):
    assert schedule.robbins_monro() == expected
    if expected:
        assert schedule.phi(2, 1e300) / schedule.phi(1, 1e300) < 0.01 and schedule.phi(1, 1e300) > 100


STEPS = [
    (Constant(0.3), 7.0, {}, 0.3),
    (Polynomial(0.3, 0.5), 8.0, {}, 0.1),
    (Custom(0.3, lambda t: jnp.exp(-t)), 2.0, {}, 0.3 * np.exp(-2)),
    (Custom(0.3, lambda t: 0.5), 2.0, {}, 0.15),
    (LocalNorms(0.3), 5.0, {"local": 2.0}, 0.1),
    (LocalNorms(0.3), 5.0, {"local": 0.0}, 0.3),
    (Clip(0.3, 2.0), 0.0, {"message": 1.0}, 0.3),
    (Clip(0.3, 2.0), 0.0, {"message": 2.0}, 0.3),
    (Clip(0.3, 2.0), 0.0, {"message": 8.0}, 0.075),
    (Clip(0.3, 2.0), 0.0, {"message": 0.0}, 0.3),
]


@pytest.mark.parametrize(("schedule", "t", "norms", "expected"), STEPS)
def test_steps(schedule, t, norms, expected):
    assert step(schedule, t, **norms) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", ["4.2", "B.6", "S2 4.3"])
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 0.9])
def test_step_limit_is_the_theorem_at_the_paths_own_gradient(name, epsilon):
    schedule = StepLimit(name, eta=100.0, epsilon=epsilon, L1=2.0).bind(SETUP, 1.0)
    c = constants(SETUP, L1=2.0)
    for norm in (0.0, 1e-3, 1.0, 50.0, 1e6):
        assert step(schedule, gradient=norm) == pytest.approx(step_limit(name, c, norm, epsilon), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "agents"),
    [
        ("B.2", Agents(3, Gaussian(0.1, 0.2))),
        ("S2 4.1", Agents(3, Gaussian(0.1, 0.2))),
        ("B.5", Agents(3, Gaussian(0.1), RandomSparsification(2.0))),
        ("S2 4.2", Agents(3, StudentT(5.0), RandomSparsification(2.0))),
        ("4.1", Agents(3, Gaussian(0.1, 0.2), RandomSparsification(2.0))),
        ("B.1", Agents(3, Gaussian(0.1, 0.2))),
        ("B.3", Agents(3, StudentT(5.0), RandomSparsification(2.0))),
    ],
)
def test_step_limit_of_the_other_results(name, agents):
    setup = Setup(Quartic(10), agents)
    schedule = StepLimit(name, eta=100.0, epsilon=0.7, L1=1.0).bind(setup, 1.0)
    assert step(schedule, gradient=3.0) == pytest.approx(
        step_limit(name, constants(setup, L1=1.0), 3.0, 0.7), rel=1e-12
    )


SIGNS = Setup(Quartic(10), Agents(3, StudentT(1.0, [0.5, *np.ones(9)]), Sign()))


@pytest.mark.parametrize("form", ["corrected", "printed"])
@pytest.mark.parametrize("name", ["4.3", "B.8", "B.9", "S2 4.4"])
def test_step_limit_of_signs_knows_no_gradient(name, form):
    """A constant: 2/(dL1) corrected, whatever ε."""
    schedule = StepLimit(name, eta=100.0, L1=2.0, form=form).bind(SIGNS, 1.0)
    expected = step_limit(name, constants(SIGNS, L1=2.0), form=form)
    assert form == "printed" or expected == pytest.approx((6 if name == "B.8" else 2) / 20)
    for norm in (0.0, 1.0, 1e9):
        assert step(schedule, gradient=norm) == pytest.approx(expected, rel=1e-12)
    assert step(StepLimit(name, eta=0.03, L1=2.0, form=form, epsilon=0.9).bind(SIGNS, 1.0)) == 0.03


def test_step_limit_of_signs_on_a_quadratic_is_its_cap():
    setup = Setup(Quadratic(np.ones(3)), Agents(1, StudentT(1.0), Sign()))
    assert step(StepLimit("4.3", eta=7.0).bind(setup, 1.0), gradient=5.0) == 7.0


def test_step_limit_of_the_first_order_model_without_noise_is_its_cap():
    setup = Setup(Quartic(10), Agents(3))
    assert step(StepLimit("4.1", eta=7.0, L1=2.0).bind(setup, 1.0), gradient=5.0) == 7.0


def test_step_limit_with_constants_of_its_own():
    c = Constants(L0=3, L1=1, dim=10, count=2, omega=4.0)
    schedule = StepLimit("4.2", eta=100.0, epsilon=0.5, constants=c).bind(SETUP, 1.0)
    assert step(schedule, gradient=2.0) == pytest.approx(1 / (5 * 3), rel=1e-12)
    stated = Constants(L0=3, L1=1, dim=10, count=2, nu=0.5, scale_max=1.0)
    printed = StepLimit("4.3", eta=100.0, constants=stated, form="printed").bind(SIGNS, 1.0)
    assert step(printed) == pytest.approx(step_limit("4.3", stated, form="printed"), rel=1e-12)


def test_the_expectation_rule_needs_all_runs():
    rule = StepLimit("4.2", eta=1.0, L1=2.0, expectation=True)
    plain = StepLimit("4.2", eta=1.0, L1=2.0)
    assert rule.needs_ensemble and rule.bind(SETUP, 1.0).needs_ensemble
    assert not plain.needs_ensemble and not plain.bind(SETUP, 1.0).needs_ensemble
    assert not any(s.needs_ensemble for s in (Constant(0.1), Clip(0.1, 1.0), LocalNorms(0.1), Polynomial(0.1, 1.0)))
    assert "E‖∇f‖" in rule.bind(SETUP, 1.0).source and "E‖∇f‖" not in plain.bind(SETUP, 1.0).source


@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_the_expectation_rule_takes_the_mean_over_the_runs(slope):
    """1/(offset + slope · mean ‖∇f‖), the same for every run."""
    setup = Setup(Function(jnp.sum, dim=2, smoothness=lambda L1: 3.0), Agents(1))
    rule = StepLimit("4.2", eta=100.0, epsilon=0.5, L1=slope, expectation=True).bind(setup, 1.0)
    norms = jnp.array([0.0, 1.0, 2.0, 7.0])

    def of(norm):
        return rule.step(jnp.asarray(0.0), seen()._replace(gradient_norm=norm))

    found = jax.vmap(of, axis_name=ENSEMBLE)(norms)
    np.testing.assert_allclose(found, np.full(4, 1 / (3 + slope * 2.5)), rtol=1e-14)


def test_notes_do_not_take_part_in_compilation():
    """All are equal, so that schedules of the same numbers are; what they say is kept."""
    assert Note("a") == Note("b") and hash(Note("a")) == hash(Note("b")) and Note("a") != "a"
    one, other = (StepLimit(name, eta=1.0, L1=2.0).bind(SETUP, 1.0) for name in ("4.1", "4.2"))
    assert jax.tree.structure(one) == jax.tree.structure(other) and str(one.source) != str(other.source)
    coupled = StepLimit("4.2", eta=1.0, L1=2.0, expectation=True).bind(SETUP, 1.0)
    assert jax.tree.structure(coupled) != jax.tree.structure(other)
    assert "Thm 4.2" in other.source and "L0 = 1, L1 = 2, ε = 0.5" in other.source


def test_step_limit_falls_with_the_gradient_and_never_exceeds_its_cap():
    schedule = StepLimit("4.2", eta=0.05, L1=2.0, power=0.5).bind(SETUP, 1.0)
    steps = [step(schedule, gradient=norm) for norm in np.geomspace(1e-6, 1e6, 60)]
    assert np.all(np.diff(steps) <= 0) and steps[-1] < 1e-6 and max(steps) <= 0.05
    for t in (0.0, 3.0, 1e6):
        assert step(schedule, t) <= 0.05 / np.sqrt(1 + t) * (1 + 1e-12)
    assert step(schedule, 1e10) == pytest.approx(0.05 * 1e-5, rel=1e-9)


def test_step_limit_without_a_limit_is_its_cap():
    """A linear function with exact gradients: L0 = L1 = B = 0."""
    setup = Setup(Function(jnp.sum, dim=2, smoothness=lambda L1: 0.0), Agents(1))
    assert step(StepLimit("4.2", eta=0.3, L1=0.0).bind(setup, 1.0), gradient=0.0) == 0.3


def test_step_limit_where_only_the_gradient_limits():
    """L0 = 0 and B = 0: the limit is 2ε/(L1‖∇f‖), and infinite at a stationary point."""
    setup = Setup(
        Function(lambda x: jnp.sum(jnp.exp(x)), dim=2, smoothness=lambda L1: 0.0 if L1 >= 1 else 1.0), Agents(1)
    )
    schedule = StepLimit("4.2", eta=0.3, epsilon=0.5, L1=1.0).bind(setup, 1.0)
    assert step(schedule, gradient=0.0) == 0.3 and step(schedule, gradient=10.0) == pytest.approx(0.1)


def test_step_limit_chooses_the_best_pair_at_the_first_gradient():
    problem = Quartic(10)
    best = problem.best_L1(8.0)
    chosen = StepLimit("4.2", eta=1.0).bind(SETUP, 8.0)
    given = StepLimit("4.2", eta=1.0, L1=best).bind(SETUP, 8.0)
    assert step(chosen, gradient=8.0) == pytest.approx(step(given, gradient=8.0), rel=1e-9)
    assert best == pytest.approx(2 * 8.0 ** (-1 / 3), rel=1e-3)


def other(*agents, problem=None):
    return Setup(problem or Quartic(10), *agents)


BAD = [
    (lambda: Constant(0.0), r"eta is 0\.0.*greater than 0"),
    (lambda: Constant(-0.1), r"eta is -0\.1"),
    (lambda: Constant(np.nan), "eta is nan"),
    (lambda: Constant([0.1, 0.2]), r"eta is \[0\.1, 0\.2\]"),
    (lambda: Polynomial(0.1, -0.5), r"power is -0\.5.*at least 0"),
    (lambda: Polynomial(-0.1, 0.5), r"eta is -0\.1"),
    (lambda: Polynomial(0.1, 0.5).phi(3, 1.0), "order is 3.*at most 2"),
    (lambda: LocalNorms(0.0), r"eta0 is 0\.0"),
    (lambda: Clip(0.1, 0.0), r"threshold is 0\.0"),
    (lambda: Clip(-1, 1.0), "eta is -1"),
    (lambda: Clip(0.1, 1.0).phi(1, 1.0), "φ is random"),
    (lambda: LocalNorms(0.1).phi(1, 1.0), "φ is random"),
    (lambda: Clip(0.1, 1.0).robbins_monro(), "known for Constant and Polynomial"),
    (lambda: Custom(0.1, 3.0), r"function is 3\.0.*must be a function of the time"),
    (lambda: Custom(0.1, lambda t: jnp.ones(2)), "must give one number"),
    (lambda: Custom(0.1, lambda t: math.exp(-t)), "failed on a time with .*Error.*; write it with jax.numpy"),
    (lambda: Custom(0.1, lambda t: 1.0 if t < 1 else 0.5), "failed on a time with Tracer.*; write it with jax.numpy"),
    (lambda: Custom(0.1, lambda: 1.0), "failed on a time with TypeError"),
    (lambda: StepLimit("B.7", 0.1), r'no result "B\.7".*Known'),
    (lambda: StepLimit("4.3", 0.1, form="prnted"), 'form is "prnted"'),
    (lambda: StepLimit("4.2", 0.1, L1=1.0, constants=Constants(L0=1, L1=1, dim=1)), r"L1 is 1\.0, but constants"),
    (lambda: StepLimit("b.2", 0.1), r'Did you mean "B\.2"'),
    (lambda: StepLimit("4.2", 0.1, epsilon=1.0), r"epsilon is 1\.0.*between 0 and 1"),
    (lambda: StepLimit("4.2", 0.1, epsilon=0.0), r"epsilon is 0\.0"),
    (lambda: StepLimit("4.2", 0.0), r"eta is 0\.0"),
    (lambda: StepLimit("4.2", 0.1, power=-1.0), r"power is -1\.0"),
    (lambda: StepLimit("B.2", 0.1, L1=1.0).bind(SETUP, 1.0), r"uncompressed messages, but omega is 4\.0; use 4\.2"),
    (lambda: StepLimit("B.5", 0.1, L1=1.0).bind(SETUP, 1.0), r"bounded variance, but sigma1_sq is 0\.04.*use 4\.2"),
    (lambda: StepLimit("4.2", 0.1, L1=0.5).bind(other(Agents(1), problem=Cosh(10, a=1.0)), 1.0), "L1"),
    (lambda: StepLimit("4.2", 0.1, L1=0.0).bind(other(Agents(1)), 1.0), "L1 > 0"),
    (lambda: StepLimit("4.2", 0.1, L1=1.0).bind(other(Agents(1, None, Sign())), 1.0), "signs.*use 4.3 or B.8"),
    (lambda: StepLimit("4.2", 0.1, L1=1.0).bind(other(Agents(1, None, TopK(1))), 1.0), "TopK is biased"),
    (lambda: StepLimit("4.3", 0.1, L1=1.0).bind(SETUP, 1.0), r"4\.3 needs Student-t noise"),
    (lambda: StepLimit("4.3", 0.1, L1=1.0).bind(other(Agents(1, StudentT(0.5), Sign())), 1.0), "needs nu ≥ 1"),
    (lambda: StepLimit("4.3", 0.1, L1=1.0).bind(other(Agents(1, Gaussian(0.1, 0.1), Sign())), 1.0), "fixed scale"),
    (lambda: StepLimit("4.2", 0.1).bind(SETUP, 0.0), "the gradient at x0 is 0.*give L1"),
    (lambda: StepLimit("4.2", 0.1, L1=1.0).bind(other(Agents(1, StudentT(2.0))), 1.0), "df > 2"),
    (
        lambda: StepLimit("4.2", 0.1, L1=1.0).bind(other(Agents(1), Agents(1, problem=Quadratic(np.ones(10)))), 1.0),
        "not known; give dissimilarity",
    ),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        wrong()


def test_only_local_norms_need_agents():
    assert LocalNorms(0.1).needs_agents and LocalNorms(0.1).eta == 0.1
    assert not any(s.needs_agents for s in (Constant(0.1), Clip(0.1, 1.0), StepLimit("4.2", 0.1), Polynomial(0.1, 1.0)))
    assert Identity().deterministic
