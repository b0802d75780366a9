"""Effective-step models of linear memories (theory2 sections 1, 2, 4.3, 8): delay, κ, θ̂, start, drift, and who has none."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from stablestep import compare, integrate
from stablestep.compressor import (
    EF21,
    ErrorFeedback,
    Identity,
    LocalClip,
    Momentum,
    RandK,
    RandomSparsification,
    Sign,
    TopK,
)
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, Minibatch
from stablestep.problem import FiniteSum, Function, Quadratic
from stablestep.schedule import Constant, Polynomial, StepLimit
from stablestep.sde import loss_process, model
from stablestep.sde.exact import linear_parts
from stablestep.sde.memory import held_average, linear_memory
from stablestep.server import HeavyBall, Majority
from stablestep.setup import Agents, Setup

LINE = Quadratic([1.0])


def mask(p):
    return RandomSparsification(1 / p - 1, scaled=False)


def setup(compressor=None, server=None, count=1, noise=None, problem=LINE, shared=False):
    agents = Agents(count, Gaussian(1.0) if noise is None else noise, compressor, mask="shared" if shared else "own")
    return Setup(problem, agents, server=server)


def momentum(p, mu, **options):
    return Momentum(EF21(mask(p), **options), beta=1 - mu, **options)


@pytest.mark.parametrize(
    ("made", "coefficient"),
    [
        (setup(server=HeavyBall(0.8)), 9),
        (setup(server=HeavyBall(0.8, nesterov=True)), 7.4),
        (setup(server=HeavyBall(0.8, average=True)), 9),
        (setup(Momentum(Identity(), beta=0.8)), 9),
        (setup(ErrorFeedback(mask(0.25))), 7),
        (setup(ErrorFeedback(mask(0.25), step="outside")), 7),
        (setup(EF21(mask(0.25))), 7),
        (setup(EF21(RandK(k=1, scaled=False)), problem=Quadratic(np.ones(4))), 7),
        (setup(momentum(0.25, 0.3)), 35 / 3),
        (setup(ErrorFeedback(mask(0.25)), HeavyBall(0.8)), 15),
    ],
)
def test_delay_coefficients(made, coefficient):
    """1 + 2τ (theory2 section 8, 14), and the classic drift −λx − (η_e/2)(1 + 2τ)λ²x with it."""
    built = model(made, "classic", Constant(0.01))
    assert 1 + 2 * built.delay == pytest.approx(coefficient, rel=1e-12)
    x = jnp.full(made.dim, 0.7)
    expected = -0.7 - built.eta_effective / 2 * coefficient * 0.7
    np.testing.assert_allclose(built.drift(0.0, x), np.full(made.dim, expected), rtol=1e-12)


@pytest.mark.parametrize(
    ("server", "gain"), [(HeavyBall(0.8), 5), (HeavyBall(0.8, nesterov=True), 5), (HeavyBall(0.8, average=True), 1)]
)
def test_effective_step(server, gain):
    built = model(setup(server=server), "first", Constant(0.01))
    assert built.eta_effective == pytest.approx(0.01 * gain) and built.eta == 0.01
    assert float(built.covariance(0.0, jnp.ones(1)).as_matrix()[0, 0]) == pytest.approx(0.01 * gain)


@pytest.mark.parametrize(
    ("mu", "p", "kappa"), [(0.1, 0.1, 1.4986149585), (0.3, 0.25, 1.6687306502), (1, 0.1, 19), (0.01, 0.1, 1.0082983726)]
)
def test_what_ef21_makes_of_noise(mu, p, kappa):
    """Theory2 section 8, 6; error feedback and momentum leave noise as it is."""
    assert held_average(mu, p) == pytest.approx(kappa, rel=1e-6)
    assert model(setup(momentum(p, mu)), "first", Constant(0.1)).kappa == pytest.approx(kappa, rel=1e-6)
    plain = (ErrorFeedback(mask(p)), Momentum(Identity(), beta=1 - mu), EF21(Identity()))
    assert {model(setup(c), "first", Constant(0.1)).kappa for c in plain} == {1.0}


def long_run(noise, kept, mu):
    """Σ over time of what EF21-SGDM's messages have of given fresh noise: the weights of each source, whose square's mean is κ."""
    average = held = 0.0
    total = 0.0
    for value, keeps in zip(noise, kept, strict=True):
        average = (1 - mu) * average + mu * value
        held = average if keeps else held
        total += held
    return total


@pytest.mark.parametrize(("mu", "p"), [(1.0, 0.5), (0.6, 0.5)])
def test_kappa_is_the_long_run_variance(mu, p):
    """By enumeration of all masks over 14 steps after one impulse; the rest of the weight is that of a held value, in the mean."""
    mean = square = 0.0
    length = 14
    for kept in itertools.product((0, 1), repeat=length):
        weight = p ** sum(kept) * (1 - p) ** (length - sum(kept))
        total = long_run([1.0] + [0.0] * (length - 1), kept, mu)
        mean, square = mean + weight * total, square + weight * total**2
    assert mean == pytest.approx(1, abs=2e-3)
    assert square == pytest.approx(held_average(mu, p), rel=1e-2)


@pytest.mark.parametrize(
    ("made", "edge"),
    [
        (setup(server=HeavyBall(0.9)), 3.8 * 10),  # in η_e = 10η
        (setup(server=HeavyBall(0.9, average=True)), 38),
        (setup(Momentum(Identity(), beta=0.9), count=3), 38),
        (setup(ErrorFeedback(mask(0.1))), 0.1052631579),
        (setup(EF21(mask(0.25)), count=2), 0.56),
        (setup(EF21(mask(0.25)), count=2, shared=True), 0.2857142857),
        (setup(ErrorFeedback(mask(0.1)), count=11), 1.1266846361),
    ],
)
def test_theta_is_two_over_the_mean_square_edge(made, edge):
    """θ̂ = 2/(η_e λ)* without relative noise (theory2 section 2.3, 8.1 and 8.3)."""
    assert 2 / model(made, "new", Constant(0.01)).theta == pytest.approx(edge, rel=1e-9)


@pytest.mark.parametrize(
    ("made", "eta", "level"),
    [
        (setup(server=HeavyBall(0.9)), 0.05, 0.1266666667),
        (setup(ErrorFeedback(mask(0.1))), 0.02, 0.0061728395),
        (setup(EF21(mask(0.1))), 0.02, 0.1172839506),
        (setup(EF21(mask(0.1)), count=2), 0.02, 0.0525014543),
    ],
)
def test_new_has_the_stationary_loss_of_the_method(made, eta, level):
    """η_e κ q/(2·2A), A = λ − (η_e/2)θ̂λ² (theory2 sections 4.1, 8.2, 8.5); with κ = 1 or θ̂ = 1 it is another."""
    built = model(made, "new", Constant(eta))
    drift, covariance = linear_parts(built)
    assert float(covariance[0, 0] / (4 * drift[0, 0])) == pytest.approx(level, rel=1e-8)
    wrong = linear_parts(model(made, "first", Constant(eta)))[0]
    assert float(covariance[0, 0] / (4 * wrong[0, 0])) != pytest.approx(level, rel=1e-3)


STARTS = [
    *(HeavyBall(0.7, nesterov=nesterov, average=average) for nesterov in (False, True) for average in (False, True)),
    *(HeavyBall(0.7, warm=True, nesterov=nesterov) for nesterov in (False, True)),
    *(ErrorFeedback(mask(0.4), step=step) for step in ("inside", "outside")),
    *(EF21(mask(0.4), warm=warm) for warm in (False, True)),
    *(Momentum(Identity(), beta=0.7, warm=warm) for warm in (False, True)),
    *(Momentum(EF21(mask(0.4), warm=w), beta=0.7, warm=v) for w in (False, True) for v in (False, True)),
    *(Momentum(ErrorFeedback(mask(0.4)), beta=0.7, warm=warm) for warm in (False, True)),
    Momentum(Momentum(Identity(), beta=0.5), beta=0.7),
]


@pytest.mark.parametrize("part", STARTS, ids=str)
def test_the_start_is_what_a_memory_owes(part):
    """Under a constant gradient of 1 the mean point lags for ever by η_e times the cold part of τ."""
    server = part if isinstance(part, HeavyBall) else HeavyBall(0.0)
    compressor = Identity() if isinstance(part, HeavyBall) else part
    memory = linear_memory(setup(None if isinstance(part, HeavyBall) else part, server))[1]
    step, one, owed = jnp.asarray(0.1), jnp.ones(1), 0.0
    kept, state, late = 0.4, compressor.memory(one, one), server.memory(one)
    for _ in range(150):
        # The mean of a mask: both messages and memories are linear in what is kept.
        ends = [compressor.send(jnp.full(1, u), one, state, step) for u in (0.0, 0.99)]
        message, state = jax.tree.map(
            lambda on, off: on if on.dtype == bool else kept * on + (1 - kept) * off, ends[0], ends[1]
        )
        direction, late = server.turn(message, late)
        owed += 1 - float(direction[0]) / memory.gain
    assert owed == pytest.approx(float(memory.cold), abs=1e-9)


def test_start_and_its_option():
    x0 = np.array([1.0])
    cold, warm = (model(setup(server=HeavyBall(0.5, warm=w)), "classic", Constant(0.1)) for w in (False, True))
    np.testing.assert_allclose(cold.start(jnp.asarray(x0)), [1.2], rtol=1e-12)
    np.testing.assert_allclose(warm.start(jnp.asarray(x0)), x0)
    first = {}
    for kind, start in itertools.product(("first", "classic", "new"), (None, "shifted", "given")):
        built = model(setup(server=HeavyBall(0.5)), kind, Constant(0.1))
        found = integrate(built, x0=x0, time=0.4, runs=2, start=start, error=False)
        first[kind, start] = float(found.loss_mean[0])
        assert found.start == (start or ("given" if kind == "new" else "shifted"))
        assert found.iteration[-1] == 2 and found.time.long_name == "t = kη_e"
    for kind in ("first", "classic"):
        assert first[kind, None] == first[kind, "shifted"] == pytest.approx(0.72, rel=1e-6)
    assert first["new", None] == first["classic", "given"] == 0.5
    with pytest.raises(InvalidInput, match='start is "cold", but must be "shifted" or "given"'):
        integrate(cold, x0=1.0, time=1.0, start="cold")


QUARTIC = Function(lambda x: jnp.sum(x**2 / 2 + x**4 / 4), dim=1)
FINE = np.array([0.04, 0.02, 0.01, 0.005])


def orbit(server, eta, power, steps):
    x, memory = np.array([0.9]), np.asarray(server.memory(np.array([0.9 + 0.9**3])))
    for k in range(steps):
        g = x + x**3
        direction, memory = server.turn(g, memory)
        x = x - eta * (1 + k * eta) ** -power * direction
    return x[0]


def path(built, start, time):
    drift = jax.jit(lambda t, x: built.drift(t, x))
    flow = solve_ivp(lambda t, x: np.asarray(drift(t, jnp.asarray(x))), (0, time), start, rtol=1e-11, atol=1e-13)
    return flow.y[0, -1]


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize(
    "server", [HeavyBall(0.5), HeavyBall(0.5, warm=True), HeavyBall(0.5, nesterov=True), HeavyBall(0.8, average=True)]
)
def test_order_two_off_quadratics_under_every_schedule(server, power):
    """x²/2 + x⁴/4 without noise (theory2 section 2.3), the schedule η (1 + kη)^−a; without the start, or the delay, order 1."""
    time, errors = 1.6, {"right": [], "no start": [], "no delay": []}
    for eta_effective in FINE / 2:
        eta = float(eta_effective if server.average else eta_effective * (1 - server.beta))
        schedule = Polynomial(eta, power) if power else Constant(eta)
        made = setup(server=server, noise=Gaussian(), problem=QUARTIC)
        end = orbit(server, eta, power, round(time / eta_effective))
        built = model(made, "classic", schedule)
        x0 = jnp.array([0.9])
        errors["right"].append(path(built, np.asarray(built.start(x0)), time) - end)
        errors["no start"].append(path(built, np.asarray(x0), time) - end)
        first = model(made, "first", schedule)
        errors["no delay"].append(path(first, np.asarray(first.start(x0)), time) - end)
    slopes = {name: np.polyfit(np.log(FINE), np.log(np.abs(values)), 1)[0] for name, values in errors.items()}
    assert slopes["right"] == pytest.approx(2, abs=0.25)
    assert slopes["no delay"] == pytest.approx(1, abs=0.25)
    if not server.warm:
        assert abs(errors["no start"][-1]) > 3 * abs(errors["right"][-1]) and slopes["no start"] < 1.5


@pytest.mark.parametrize("step", ["inside", "outside"])
def test_a_step_inside_the_memory_delays_displacements(step):
    """The mean of EF on λx²/2 under η/(1 + kη): each kind has its own classic drift of order 2, and the other's is of order 1."""
    p, time = 0.25, 1.2
    slopes = {}
    for other in ("inside", "outside"):
        errors = []
        for eta in (FINE / 4).tolist():
            x, e = 0.9, 0.0
            for k in range(round(time / eta)):
                h = eta / (1 + k * eta)
                share = h * x if step == "inside" else x
                e, sent = (1 - p) * (e + share), p * (e + share)
                x -= sent if step == "inside" else h * sent
            built = model(setup(ErrorFeedback(mask(p), step=other), noise=Gaussian()), "classic", Polynomial(eta, 1.0))
            errors.append(path(built, np.asarray(built.start(jnp.array([0.9]))), time) - x)
        slopes[other] = np.polyfit(np.log(FINE), np.log(np.abs(errors)), 1)[0]
    assert slopes.pop(step) == pytest.approx(2, abs=0.25)
    assert next(iter(slopes.values())) < 1.5


def test_ef21_amplifies_variances_alone():
    """Under noise whose coordinates are correlated, own masks of coordinates leave covariances as they are: E[D_j D_l] = 1."""
    rows = np.array([[1.0, 2.0], [0.5, -1.0], [-2.0, 0.3]])
    data = FiniteSum(lambda x, row: jnp.sum((x - row) ** 2 * jnp.array([1.0, 0.5])), rows, 2)
    x = jnp.array([0.2, -0.4])
    plain, held = (
        np.asarray(
            model(Setup(data, Agents(2, Minibatch(1), c)), "first", Constant(0.1)).covariance(0.0, x).as_matrix()
        )
        for c in (Identity(), EF21(mask(0.25)))
    )
    np.testing.assert_allclose(held, plain + 6 * np.diag(np.diag(plain)), rtol=1e-10)
    root = model(Setup(data, Agents(2, Minibatch(1), EF21(mask(0.25)))), "first", Constant(0.1)).diffusion(0.0, x)
    np.testing.assert_allclose(root.as_matrix() @ root.as_matrix().T, held, rtol=1e-9)
    with pytest.raises(InvalidInput, match=r"EF21 around RandK has no known covariance .*use RandomSparsification"):
        model(Setup(data, Agents(2, Minibatch(1), EF21(RandK(k=1, scaled=False)))), "first", Constant(0.1))


UNKNOWN = [
    (setup(ErrorFeedback(TopK(k=1))), "ErrorFeedback around TopK"),
    (setup(EF21(TopK(k=1))), "EF21 around TopK"),
    (setup(ErrorFeedback(RandomSparsification(1.0))), "ErrorFeedback around RandomSparsification"),
    (setup(EF21(ErrorFeedback(mask(0.5)))), "EF21 around ErrorFeedback"),
    (setup(Momentum(TopK(k=1), beta=0.5)), "Momentum around TopK"),
    (setup(LocalClip(ErrorFeedback(mask(0.5)), threshold=1.0)), "LocalClip around ErrorFeedback"),
    (setup(Momentum(LocalClip(Identity(), threshold=1.0), beta=0.5)), "Momentum around LocalClip"),
    (setup(Momentum(Momentum(EF21(mask(0.5)), beta=0.5), beta=0.5)), "two averages before EF21"),
    (setup(Sign(), Majority()), "Majority"),
]


@pytest.mark.parametrize(("made", "name"), UNKNOWN, ids=[name for _, name in UNKNOWN])
@pytest.mark.parametrize("kind", ["first", "classic", "new"])
def test_memories_without_a_model_say_which_have_one(made, name, kind):
    with pytest.raises(InvalidInput, match=f"no continuous model of {name} is known; every linear memory") as caught:
        model(made, kind, Constant(0.1))
    assert "\n" not in str(caught.value) and "Signum" in str(caught.value)


NESTEROV = setup(server=HeavyBall(0.9, nesterov=True))


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda: model(NESTEROV, "new", Constant(0.1)), 'the model "new" of HeavyBall here has no θ̂.*use "classic"'),
        (lambda: model(setup(momentum(0.5, 0.5)), "new", Constant(0.1)), 'the model "new" of Momentum here has no θ̂'),
        (lambda: model(setup(EF21(mask(0.5)), HeavyBall(0.5)), "new", Constant(0.1)), "each alone"),
        (lambda: model(NESTEROV, "flip", Constant(0.1)), 'no model "flip" of HeavyBall'),
        (lambda: model(NESTEROV, "principal", Constant(0.1)), 'no model "principal" of HeavyBall'),
        (lambda: model(NESTEROV, "classic", Constant(0.1), form="printed"), "of the papers, not for HeavyBall"),
        (lambda: model(NESTEROV, "first", StepLimit("4.2", 0.1, L1=0.0)), "HeavyBall"),
        (
            lambda: model(
                Setup(LINE, Agents(1, None, EF21(mask(0.5))), Agents(1, None, EF21(mask(0.2)))), "first", Constant(0.1)
            ),
            "different memories",
        ),
    ],
)
def test_what_else_is_refused(ask, match):
    with pytest.raises(InvalidInput, match=match) as caught:
        ask()
    assert "\n" not in str(caught.value)


def test_memory_of_nothing_is_no_memory():
    """β = 0, p = 1: the drift and the noise of the method without memory."""
    x = jnp.array([0.7])
    plain = model(setup(), "classic", Constant(0.1))
    for made in (setup(server=HeavyBall(0.0)), setup(ErrorFeedback(Identity())), setup(EF21(mask(1.0)))):
        built = model(made, "classic", Constant(0.1))
        np.testing.assert_allclose(built.drift(0.0, x), plain.drift(0.0, x), rtol=1e-14)
        np.testing.assert_allclose(built.diffusion(0.0, x).as_matrix(), plain.diffusion(0.0, x).as_matrix(), rtol=1e-14)
        np.testing.assert_allclose(built.start(x), x)


def test_the_loss_as_a_process_with_memory(seed):
    built = model(setup(server=HeavyBall(0.5)), "classic", Constant(0.05))
    found = loss_process(built, x0=1.0, time=1.0, dt=0.002, runs=50, seed=seed)
    assert float(abs(found.loss - found.process).max()) < 0.1
    with pytest.raises(InvalidInput, match="has a momentum beside the point"):
        loss_process(model(setup(server=HeavyBall(0.5)), "underdamped-b", Constant(0.05)), x0=1.0, time=1.0)


def test_compare_runs_every_model_over_the_same_iterations(seed):
    """Heavy ball β = .5: t = kη_e, the same iterations for all; classic is nearest, and the discrete loss is that of the recursion."""
    kinds = ["first", "classic", "underdamped-a-classic", "underdamped-b"]
    made = setup(server=HeavyBall(0.5))
    table = compare(made, schedule=Constant(0.05), models=kinds, x0=1.0, time=2.0, runs=4000, seed=seed)
    np.testing.assert_allclose(table.time, 0.1 * np.arange(21), rtol=1e-12)
    np.testing.assert_array_equal(table.iteration, np.arange(21))
    gap = dict(zip(kinds, np.abs(table.model_error.values[:, -1]), strict=True))
    assert gap["classic"] < 0.008 and gap["underdamped-a-classic"] < 0.025 and gap["underdamped-b"] < 0.03
    given = integrate(
        model(made, "first", Constant(0.05)), x0=1.0, time=2.0, runs=4000, seed=seed, method="exact", start="given"
    )
    wrong = abs(float(given.loss_mean[10 * 16] - table.loss_discrete[0, 10]))
    assert wrong > 3 * abs(float(table.model_error[1, 10]))
