"""Weak orders of the models of memories (theory2 section 2.3): exactly on quadratics, on coupled paths off them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep import quadratic_order, simulate, weak_order
from stablestep.compare.recursion import second_moments
from stablestep.compare.scaling import scaling
from stablestep.compressor import EF21, ErrorFeedback, Identity, Momentum, RandK, RandomSparsification
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian
from stablestep.problem import Function, Quadratic
from stablestep.schedule import Constant
from stablestep.sde import model
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from tests.statistics import assert_fails, assert_mean

FINE = np.array([0.01, 0.005, 0.0025, 0.00125])
COARSE = np.array([0.04, 0.02, 0.01, 0.005])
ONE = np.ones(1)


def mask(p):
    return RandomSparsification(1 / p - 1, scaled=False)


def line(compressor=None, server=None, count=1):
    return Setup(Quadratic([1.0]), Agents(count, Gaussian(1.0), compressor), server=server)


def order(made, kind, etas=FINE, start=None, time=2.0):
    return quadratic_order(made, kind, list(etas), ONE, time, start)


def slopes(found):
    return np.diff(np.log2(np.abs(found.error.values))) / np.diff(np.log2(found.eta.values))


@pytest.mark.parametrize(
    ("made", "start", "near"),
    [
        (line(server=HeavyBall(0.5)), None, (2.06, 2.07)),
        (line(server=HeavyBall(0.5)), "given", (1.01, 1.03)),
        (line(server=HeavyBall(0.5, warm=True)), None, (2.00, 2.00)),
        (line(server=HeavyBall(0.5, nesterov=True)), None, (2.04, 2.05)),
        (line(server=HeavyBall(0.5, nesterov=True, warm=True)), None, (2.00, 2.00)),
        (line(ErrorFeedback(mask(0.25))), None, (2.02, 2.19)),
        (line(ErrorFeedback(mask(0.25))), "given", (1.19, 1.15)),
        (line(EF21(mask(0.25), warm=True)), None, (2.03, 2.02)),
        (line(EF21(mask(0.25), warm=True), count=2), None, (2.00, 2.00)),
    ],
)
def test_local_slopes(made, start, near):
    """Between η_e = .04, .02, .01; theory2: 2.07–2.23 cold with the start, 1.03–1.13 without, 2.00 warm, EF 2.19 and 1.15, EF21 2.02."""
    gain = 1 / (1 - made.server.beta) if isinstance(made.server, HeavyBall) else 1
    found = order(made, "classic", COARSE / gain, start)
    np.testing.assert_allclose(slopes(found)[:2], near, atol=0.03)


COLD = {
    "heavy ball": line(server=HeavyBall(0.5)),
    "nesterov": line(server=HeavyBall(0.5, nesterov=True)),
    "EF": line(ErrorFeedback(mask(0.25))),
    "EF, three agents": line(ErrorFeedback(mask(0.25)), count=3),
    "EF, step outside": line(ErrorFeedback(mask(0.25), step="outside")),
    "EF21": line(EF21(mask(0.25))),
    "EF21-SGDM": line(Momentum(EF21(mask(0.25)), beta=0.7)),
    "EF21-SGDM, EF21 warm": line(Momentum(EF21(mask(0.25), warm=True), beta=0.7)),
    "client momentum": line(Momentum(Identity(), beta=0.5), count=2),
    "EF and heavy ball": line(ErrorFeedback(mask(0.5)), HeavyBall(0.5)),
}


@pytest.mark.parametrize("name", COLD)
def test_cold_memories_need_the_start(name):
    """Classic is of order 2 from model.start(x0) and of order 1 from x0; there it is worse than "first" from its start."""
    right, wrong = (order(COLD[name], "classic", start=start) for start in (None, "given"))
    assert (right.order, wrong.order) == (2, 1), (right.reason, wrong.reason)
    first = order(COLD[name], "first")
    assert first.order == 1
    assert np.all(np.abs(right.error) < np.abs(first.error))


WARM = {
    "heavy ball": line(server=HeavyBall(0.8, warm=True)),
    "EF21": line(EF21(mask(0.25), warm=True)),
    "EF21-SGDM": line(Momentum(EF21(mask(0.25), warm=True), beta=0.7, warm=True)),
}


@pytest.mark.parametrize("name", WARM)
def test_warm_memories_start_at_x0(name):
    made = WARM[name]
    gain = 1 / (1 - made.server.beta) if isinstance(made.server, HeavyBall) else 1
    assert order(made, "classic", FINE / gain).order == 2
    if name != "EF21-SGDM":
        assert order(made, "new", FINE / gain).order == 1


def test_the_wrong_start_is_worse_than_no_correction():
    """Heavy ball β = .8, η_e = .01: classic from x0 errs more than first from x0 + τη_e g (theory2 section 0, item 2)."""
    etas = FINE / 5
    made = line(server=HeavyBall(0.8))
    wrong, first, right = (
        abs(order(made, kind, etas, start).error.values[0])
        for kind, start in (("classic", "given"), ("first", None), ("classic", None))
    )
    assert wrong > 1.5 * first > 4 * right


@pytest.mark.parametrize(
    ("made", "kappa", "late"), [(line(EF21(mask(0.25), warm=True)), 7, 3), (WARM["EF21-SGDM"], 1.66873, 3 + 7 / 3)]
)
def test_order_two_sees_kappa_and_the_delay(made, kappa, late):
    """The model's moments by hand: with κ = 1, or with another delay, the same comparison is of order 1."""

    def errors(kappa, coefficient):
        found = []
        for eta in FINE:
            rate, second, worst = 1 + eta / 2 * coefficient, 1.0, 0.0
            for k, discrete in zip(range(1, round(2 / eta) + 1), second_moments(made, eta, ONE), strict=False):
                second = np.exp(-2 * rate * eta) * second - eta * kappa * np.expm1(-2 * rate * eta) / (2 * rate)
                gap = float(second - discrete[0, 0]) / 2
                worst = gap if k * eta >= 0.5 and abs(gap) > abs(worst) else worst
            found.append(worst)
        return np.array(found)

    right = errors(kappa, 1 + 2 * late)
    np.testing.assert_allclose(right, order(made, "classic").error, rtol=2e-2)
    assert scaling(FINE, right, np.zeros(4)).order == 2
    for mutant in (errors(1, 1 + 2 * late), errors(kappa, 1), errors(kappa, 2 * late)):
        assert scaling(FINE, mutant, np.zeros(4)).order == 1


@pytest.mark.parametrize(
    ("kind", "expected"), [("underdamped-a", 1), ("underdamped-a-classic", 2), ("underdamped-b", 0.5)]
)
def test_underdamped_orders(kind, expected):
    """A: 1 − β = 1.5η, orders 1 and 2; B: 1 − β = √η, order 1 in √η, which is ½ in η (theory2 section 2.3)."""

    def made(eta):
        b = kind == "underdamped-b"
        return line(server=HeavyBall(1 - (eta**0.5 if b else 1.5 * eta), average=not b))

    found = quadratic_order(made, kind, list(COARSE / (20 if kind == "underdamped-b" else 1)), ONE, 2.0)
    assert found.order == pytest.approx(expected, abs=0.02), found.reason
    assert found.slope_low < expected < found.slope_high


MATRIX, START = np.array([[1.0, 0.6], [0.6, 0.8]]), np.array([1.0, -0.5])


@pytest.mark.parametrize(
    ("compressor", "server", "shared"),
    [
        (ErrorFeedback(mask(0.4)), None, False),
        (ErrorFeedback(mask(0.4)), None, True),
        (Momentum(EF21(mask(0.4), warm=True), beta=0.5, warm=True), None, False),
        (EF21(mask(0.4), warm=True), HeavyBall(0.5), True),
        (Momentum(Identity(), beta=0.5), HeavyBall(0.5, nesterov=True), False),
    ],
)
def test_second_moments_are_those_of_the_method(compressor, server, shared, seed):
    """Against 20 000 runs of `simulate`, two groups with data of their own; the mutant is the other kind of mask, or no memory."""

    def made(chosen, shared, server=server):
        far = Agents(1, Gaussian(0.5), chosen, problem=Quadratic(2 * MATRIX), mask="shared" if shared else "own")
        return Setup(
            Quadratic(MATRIX),
            Agents(2, Gaussian([0.3, 0.8]), chosen, mask="shared" if shared else "own"),
            far,
            server=server,
        )

    eta, steps = 0.3, 6
    found = simulate(
        made(compressor, shared),
        schedule=Constant(eta),
        x0=START,
        steps=steps,
        runs=20_000,
        seed=seed,
        record=2,
        final=True,
        dtype="float64",
    )
    x = found.final_state.values
    products = x[:, :, None] * x[:, None, :]

    def exact(setup):
        return next(moment for k, moment in enumerate(second_moments(setup, eta, START), start=1) if k == steps)

    assert_mean(products, exact(made(compressor, shared)))
    with assert_fails("no memory"):
        assert_mean(products, exact(made(Identity(), False, None)))


def feedback_recursion(h, q, p, count, eta, start, steps):
    """E xxᵀ and E xeᵢᵀ of EF with own masks by theory2 section 2.2, in plain NumPy."""
    a, b = np.outer(start, start), np.zeros((2, 2))
    c, d = np.zeros((2, 2)), np.zeros((2, 2))
    for _ in range(steps):
        r = eta * h @ b + eta * b.T @ h + eta**2 * h @ a @ h
        p2, p11, x = c + r + eta**2 * q, d + r, b + eta * a @ h
        crossed = p * (1 - p) * (p2 - np.diag(np.diag(p2)))
        kept = p**2 * p2 + p * (1 - p) * np.diag(np.diag(p2))
        a = a - p * (x + x.T) + kept / count + (1 - 1 / count) * p**2 * p11
        b = (1 - p) * x - (crossed + (count - 1) * p * (1 - p) * p11) / count
        c, d = (1 - p) ** 2 * p2 + p * (1 - p) * np.diag(np.diag(p2)), (1 - p) ** 2 * p11
    return a, b


def test_error_feedback_is_the_matrix_recursion():
    """H not diagonal, p = .3, N = 3, η = .2: the recursion has the fixed point of theory2 section 8, 7, and the library is it."""
    fixed, cross = feedback_recursion(MATRIX, np.array([[1.0, 0.3], [0.3, 0.5]]), 0.3, 3, 0.2, START, 2000)
    np.testing.assert_allclose(fixed, [[0.06166394, -0.01185382], [-0.01185382, 0.04451308]], atol=5e-9)
    np.testing.assert_allclose(cross, [[0.01769125, 0.00120968], [-0.00469892, 0.00896866]], atol=5e-9)
    made = Setup(Quadratic(MATRIX), Agents(3, Gaussian(np.sqrt([1.0, 0.5])), ErrorFeedback(mask(0.3))))
    for steps, moment in zip(range(1, 41), second_moments(made, 0.2, START), strict=False):
        if steps in (1, 2, 7, 40):
            expected, _ = feedback_recursion(MATRIX, np.diag([1.0, 0.5]), 0.3, 3, 0.2, START, steps)
            np.testing.assert_allclose(moment, expected, rtol=1e-10, atol=1e-13)


QUARTIC = Function(lambda x: jnp.sum(x**2 / 2 + x**4 / 4), 1)


def curved(server, sigma):
    return Setup(QUARTIC, Agents(1, Gaussian(sigma)), server=server)


@pytest.mark.parametrize("warm", [False, True])
def test_weak_order_without_noise(warm):
    """x²/2 + x⁴/4 from 1, β = .5: order 2; without the correction 1 (theory2 section 2.3)."""
    found = weak_order(
        curved(HeavyBall(0.5, warm=warm), 0.0), "classic", etas=COARSE.tolist(), x0=1.0, time=1.6, runs=2, substeps=32
    )
    assert found.order == 2 and np.all(found.stderr < 1e-15), found.reason
    first = weak_order(
        curved(HeavyBall(0.5, warm=warm), 0.0), "first", etas=COARSE.tolist(), x0=1.0, time=1.6, runs=2, substeps=32
    )
    assert first.order == 1


@pytest.mark.parametrize(("kind", "expected", "runs"), [("first", 1, 2000), ("classic", 2, 20_000)])
def test_weak_order_of_heavy_ball_with_noise(kind, expected, runs, seed):
    made = curved(HeavyBall(0.5, warm=True), 0.2)
    found = weak_order(made, kind, etas=COARSE.tolist(), x0=1.0, time=1.6, runs=runs, seed=seed)
    assert found.order == expected, found.reason


@pytest.mark.parametrize(("kind", "expected"), [("underdamped-a", 1), ("underdamped-a-classic", 2)])
def test_weak_order_of_underdamped_models(kind, expected, seed):
    found = weak_order(
        lambda eta: curved(HeavyBall(1 - 1.5 * eta, average=True), 0.2),
        kind,
        etas=[0.1, 0.05, 0.025, 0.0125],
        x0=1.0,
        time=1.0,
        runs=4000,
        seed=seed,
    )
    assert found.order == expected, found.reason


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda: order(line(EF21(RandK(k=1, scaled=False))), "classic"), "closed moments of a memory .* use compare"),
        (lambda: order(line(server=HeavyBall(0.5)), "flip"), 'no model "flip" of HeavyBall'),
        (lambda: order(line(server=HeavyBall(0.5)), "classic", start="cold"), 'start is "cold"'),
        (
            lambda: weak_order(line(ErrorFeedback(mask(0.5))), "classic", etas=FINE.tolist(), x0=1.0, time=1.0),
            "needs Identity messages under Gaussian noise",
        ),
        (
            lambda: weak_order(line(server=HeavyBall(0.5)), "classic", etas=[0.1, 0.05, 0.03, 0.01], x0=1.0, time=1.0),
            "η = 0.03 does not divide time = 1.0 into whole iterations of 0.06",
        ),
    ],
)
def test_bad_input(ask, match):
    with pytest.raises(InvalidInput, match=match):
        ask()


def test_a_model_without_a_start_of_its_own():
    """The start is part of the model: x0 + τη_e g(x0), vectorised over runs as integrate does it."""
    built = model(line(ErrorFeedback(mask(0.25))), "classic", Constant(0.01))
    points = jnp.array([[1.0], [-2.0]])
    np.testing.assert_allclose(jax.vmap(built.start)(points), 1.03 * points, rtol=1e-12)
