"""P Appendix A: the three ODEs of gradient descent on a quadratic and on the quartic, their expansions, and their orders."""

import math
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import sympy
from scipy import integrate, stats
from scipy.optimize import brentq

from stablestep import plot, problem, schedule, sde
from stablestep.claim import Check, Claim
from stablestep.problem import Problem
from stablestep.record import cast
from stablestep.report import Figure, Section
from stablestep.reproduce.context import Context
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

LAMBDA = 2.0
KINDS = ("first", "classic", "new")
STEPS = (0.5, 0.9, 1.0, 1.1, 1.5)  # as fractions of 2/λ
ETAS = (0.04, 0.02, 0.01, 0.005, 0.0025)


def run(context: Context) -> Section:
    claims = [*_quadratic()]
    context.progress(0.3)
    claims += _quartic()
    context.progress(0.6)
    claims.append(_taylor())
    errors = _errors()
    claims += [_order(errors), _loss_order(errors)]
    return Section(
        id="odes",
        title="Gradient descent as an ODE",
        paragraphs=[
            "P Appendix A compares gradient descent with gradient flow (first), with the classic second-order ODE ẋ = −g − (η/2)Hg, and "
            "with its new one, ẋ = −g + (η/2)Hg. The new one has the stability threshold of gradient descent on quadratics, exactly; it is "
            "not more accurate: as an approximation of the iterates and of the loss it is of first order, with twice the error of "
            "gradient flow.",
            "On x⁴/4 gradient descent contracts for ηx² < 2, the new ODE for ηx² < 2/3 only; beyond it explodes in finite time. The "
            "principal flow, drawn for comparison, is exact on quadratics and turns complex beyond η = 1/λ.",
        ],
        figures=[_figure(errors), _quartic_figure()],
        claims=claims,
        parameters={
            "quadratic": f"λx²/2, λ = {LAMBDA:g}, x0 = 1, η as a fraction of 2/λ: {', '.join(f'{s:g}' for s in STEPS)}",
            "quartic": "x⁴/4, η = 1, by ηx0²",
            "integrator": "DOP853 with a relative tolerance of 1e-11 (the library's own `sde.integrate` has diffrax's Tsit5)",
            "orders": f"x⁴/4 from x0 = 1 to t = 1, η = {', '.join(f'{eta:g}' for eta in ETAS)}",
        },
    )


class Path(NamedTuple):
    """The loss along a solution; ∞ after an explosion, whose time is NaN if there is none."""

    time: np.ndarray
    loss: np.ndarray
    explosion: float


def _flow(f: Problem, kind: str, eta: float, x0: float, time: float) -> Path:
    """The ODE's solution at 101 times; by SciPy, as compiling `sde.integrate` for each drift takes longer than all of these paths."""
    built = sde.model(Setup(f, Agents(1)), kind, schedule.Constant(eta))
    with jax.enable_x64(True):
        leaves, tree = jax.tree.flatten(cast(built, np.dtype("float64")))
        begin = np.array([x0], complex if kind == "principal" else float)
        solved = integrate.solve_ivp(
            lambda _, x: np.asarray(_drift(tree, leaves, x)),
            (0.0, time),
            begin,
            "DOP853",
            dense_output=True,
            rtol=1e-11,
            atol=1e-14,
            events=_outside,
        )
        times = np.linspace(0.0, time, 101)
        reached = times <= solved.t[-1]
        points = np.where(reached, solved.sol(np.minimum(times, solved.t[-1]))[0].real, np.inf)
        # Near an explosion the step gets shorter than rounding allows, or the solution leaves the ball first.
        return Path(times, np.asarray(_values(f, points)), math.nan if solved.status == 0 else solved.t[-1])


def _outside(_, x) -> float:
    return float(np.abs(x[0])) - 1e4


_outside.terminal = True


@partial(jax.jit, static_argnums=0)
def _drift(tree, leaves, x):
    return jax.tree.unflatten(tree, leaves).drift(0.0, x)


@eqx.filter_jit
def _values(f: Problem, points):
    return jax.vmap(f.value)(points[:, None])


def _descend(f: Problem, eta: float, x0: float, steps: int, record=None):
    setup = Setup(f, Agents(1))
    return simulate(setup, schedule=schedule.Constant(eta), x0=x0, steps=steps, runs=1, dtype="float64", record=record)


def _quadratic() -> list[Claim]:
    f = problem.Quadratic([LAMBDA])
    etas = [fraction * 2 / LAMBDA for fraction in STEPS]
    factors = {
        "first": lambda eta: 1.0,
        "classic": lambda eta: 1 + LAMBDA * eta / 2,
        "new": lambda eta: 1 - LAMBDA * eta / 2,
    }
    texts = {
        "first": ("P 6, 34-35", "First-order ODE on λx²/2: f(X_t) = f0 exp(−2λt), converges for every η."),
        "classic": ("P 7, 36-38", "Classic second-order ODE: f0 exp(−2λ(1+λη/2)t), converges for every η."),
        "new": (
            "P 15, 39-40",
            "New ODE: f0 exp(−2λ(1−λη/2)t), converges iff η < 2/λ, the threshold of gradient descent.",
        ),
    }
    claims = []
    for kind, (where, text) in texts.items():
        checks = []
        for fraction, eta in zip(STEPS, etas):
            ratio = float(_flow(f, kind, eta, 1.0, 1.0).loss[-1] / (LAMBDA / 2))
            predicted = math.exp(-2 * LAMBDA * factors[kind](eta))
            label = f"f(X_1)/f0 at η = {fraction:g} · 2/λ"
            checks.append(Check(ratio, 0.0, predicted, "=", model_error=1e-6 * max(1.0, predicted), label=label))
            if kind == "new":
                checks += _threshold(f, fraction, eta, ratio)
        claims.append(Claim(f"ode.quadratic.{kind}", where, text, tuple(checks)))
    return [*claims, _faster(f)]


def _threshold(f: Problem, fraction: float, eta: float, ratio: float) -> list[Check]:
    descent = float(_descend(f, eta, 1.0, 20).loss_mean[-1] / (LAMBDA / 2))
    relation = "=" if fraction == 1 else ("<=" if fraction < 1 else ">=")
    names = (("new ODE", ratio), ("gradient descent", descent))
    slack = 1e-6 if fraction == 1 else 0.0
    return [
        Check(value, 0.0, 1.0, relation, slack, label=f"{name}: loss over its start, η = {fraction:g} · 2/λ")
        for name, value in names
    ]


def _advantage(product: float) -> float:
    """The decay rate per unit t of gradient descent on a quadratic over that of gradient flow, measured on a run."""
    eta = product / LAMBDA
    steps = 20
    loss = _descend(problem.Quadratic([LAMBDA]), eta, 1.0, steps).loss_mean.values
    return float(np.log(loss[0] / loss[-1]) / (steps * eta) / (2 * LAMBDA))


def _faster(f: Problem) -> Claim:
    crossing = brentq(lambda product: _advantage(product) - 1, 1.1, 1.5, xtol=1e-9)
    assert isinstance(crossing, float)
    printed = [
        Check(_advantage(p), 0.0, 1.0, "<=", label=f"rate of gradient descent over gradient flow, ηλ = {p:g}")
        for p in (0.1, 0.5, 1.2)
    ]
    corrected = [Check(crossing, 0.0, 1.278465, "=", 1e-5, label="ηλ at which the rates are equal")]
    corrected.append(Check(_advantage(1.5), 0.0, 1.0, "<=", label="the ratio at ηλ = 1.5"))
    return Claim(
        "ode.quadratic.faster-is-inconsistent",
        "P 4.2",
        "Faster convergence as η grows is inconsistent with gradient descent.",
        tuple(printed),
        tuple(corrected),
        detail="For 0 < ηλ < 1.2785 gradient descent is faster than the flow per unit of t = kη.",
    )


def _quartic() -> list[Claim]:
    f = problem.Quartic(1)
    checks = []
    for x0, time in ((0.5, 1.0), (1.0, 3.0), (2.0, 10.0)):
        predicted = 1 / (4 * (2 * time + x0**-2) ** 2)
        value = float(_flow(f, "first", 0.1, x0, time).loss[-1])
        checks.append(Check(value, 0.0, predicted, "=", 1e-7 * predicted, label=f"f(X_t), X0 = {x0:g}, t = {time:g}"))
    first = Claim("ode.quartic.first", "P 42", "x⁴/4, first-order ODE: f = 1/(4(2t + X0⁻²)²).", tuple(checks))
    found = []
    for product, diverges in ((1.98, 0.0), (2.02, 1.0)):
        lost = float(_descend(f, 1.0, math.sqrt(product), 2000, record=9).diverged[-1])
        found.append(Check(lost, 0.0, diverges, "=", label=f"gradient descent diverges, ηx0² = {product:g}"))
    for product, diverges in ((0.66, 0.0), (0.68, 1.0), (10.0, 1.0)):
        lost = float(np.isfinite(_flow(f, "new", 1.0, math.sqrt(product), 50.0).explosion))
        found.append(Check(lost, 0.0, diverges, "=", label=f"new ODE explodes, ηX0² = {product:g}"))
    for kind in ("first", "classic"):
        lost = float(np.isfinite(_flow(f, kind, 1.0, 10.0, 50.0).explosion))
        found.append(Check(lost, 0.0, 0.0, "=", label=f"{kind} ODE explodes, ηX0² = 100"))
    for square, eta in ((1.0, 1.0), (4.0, 0.5), (1.0, 0.7)):
        when = _flow(f, "new", eta, math.sqrt(square), 2.0).explosion
        label = f"time of the explosion, X0² = {square:g}, η = {eta:g}"
        found.append(Check(when, 0.0, blow_up(square, eta), "=", 1e-6, label=label))
    second = Claim(
        "ode.quartic.instability",
        "P 43-44, A.3.2",
        "x⁴/4: gradient descent explodes for large ηx²; the first-order and classic ODE never do, the new ODE does.",
        tuple(found),
        detail="The thresholds differ: gradient descent contracts for ηx² < 2, the new ODE for ηx² < 2/3 only.",
    )
    return [first, second]


def blow_up(square: float, eta: float) -> float:
    """T* = −1/(2X0²) − (3η/4) ln(1 − 2/(3ηX0²)), the explosion time of the new ODE on x⁴/4.

    >>> round(blow_up(1.0, 1.0), 8)
    0.32395922
    """
    return -1 / (2 * square) - 3 * eta / 4 * math.log1p(-2 / (3 * eta * square))


def _taylor() -> Claim:
    """Both sides of P A.3-A.4 as polynomials in symbols for f', f'', …; the measured number is how many terms differ."""
    f = sympy.symbols("f1:6")  # f', f'', f''', f'''', f'''''
    alpha, beta, eta = sympy.symbols("alpha beta eta")

    def derivative(expression):
        return sympy.expand(sum(sympy.diff(expression, f[i]) * f[i + 1] for i in range(4)))

    speed = -f[0] + alpha * f[0] * f[1]
    second = sympy.expand(derivative(speed) * speed)
    third = sympy.expand(derivative(second) * speed)
    along = eta * speed + eta**2 / 2 * second + eta**3 / 6 * third
    cubic = derivative(derivative(speed)) * speed**2 + derivative(speed) ** 2 * speed
    printed = eta * speed + eta**2 / 2 * (
        f[0] * f[1]
        - alpha * (f[0] ** 2 * f[2] + 2 * f[0] * f[1] ** 2)
        + alpha**2 * (f[0] ** 2 * f[1] * f[2] + f[0] * f[1] ** 3)
    )
    printed += eta**3 / 6 * _printed_cubic(f, alpha)
    in_beta = -eta * f[0] + eta**2 * (beta + sympy.Rational(1, 2)) * f[0] * f[1]
    in_beta -= eta**3 / 6 * ((3 * beta + 1) * f[0] ** 2 * f[2] + (6 * beta + 1) * f[0] * f[1] ** 2)
    truncated = sympy.Add(*(sympy.expand(along.subs(alpha, beta * eta)).coeff(eta, k) * eta**k for k in range(4)))
    checks = [
        _same(third, cubic, "x''' = F''F² + (F')²F"),
        _same(along, printed, "the long expansion in α"),
        _same(truncated, in_beta, "the expansion for α = βη"),
    ]
    cases = {
        0: (sympy.Rational(-1, 6), sympy.Rational(-1, 6)),
        -1: (sympy.Rational(1, 12), sympy.Rational(1, 3)),
        1: (-sympy.Rational(5, 12), -sympy.Rational(2, 3)),
    }
    for twice, (left, right) in cases.items():
        value = sympy.Rational(twice, 2)
        special = (
            -eta * f[0]
            + eta**2 * (value + sympy.Rational(1, 2)) * f[0] * f[1]
            + eta**3 * (left * f[0] ** 2 * f[2] + right * f[0] * f[1] ** 2)
        )
        checks.append(_same(truncated.subs(beta, value), special, f"the special case β = {value}"))
    return Claim(
        "ode.taylor",
        "P A.3, A.4",
        "Expansions of x(t+η) for α = βη, β in {0, −½, +½}.",
        tuple(checks),
        detail="Computer algebra; the number is how many terms of the two sides differ.",
    )


def _printed_cubic(f, alpha):
    first = -(f[0] ** 2 * f[2] + f[0] * f[1] ** 2)
    linear = f[0] ** 3 * f[3] + 7 * f[0] ** 2 * f[1] * f[2] + 3 * f[0] * f[1] ** 3
    square = (
        2 * f[0] ** 3 * f[1] * f[3] + f[0] ** 3 * f[2] ** 2 + 11 * f[0] ** 2 * f[1] ** 2 * f[2] + 3 * f[0] * f[1] ** 4
    )
    cube = (
        f[0] ** 3 * f[1] ** 2 * f[3]
        + f[0] ** 3 * f[1] * f[2] ** 2
        + 5 * f[0] ** 2 * f[1] ** 3 * f[2]
        + f[0] * f[1] ** 5
    )
    return first + alpha * linear - alpha**2 * square + alpha**3 * cube


def _same(left, right, label: str) -> Check:
    difference = sympy.expand(left - right)
    count = 0 if difference == 0 else len(sympy.Add.make_args(difference))
    return Check(float(count), 0.0, 0.0, "=", label=label)


def _errors() -> dict[str, list[tuple[float, float, float]]]:
    """For each model and η on x⁴/4 from 1: sup of the error of the iterate and of the loss up to t = 1, and the loss error of one step."""
    f, errors = problem.Quartic(1), {kind: [] for kind in KINDS}
    for eta in ETAS:
        marks = np.round(np.arange(26) * ETAS[0] / eta)  # the iterations at t = 0, 0.04, …, 1
        descent = _descend(f, eta, 1.0, round(1 / eta), marks).loss_mean.values
        one = _descend(f, eta, 1.0, 25).loss_mean.values[1]  # 25 steps, because another number would compile anew
        for kind in KINDS:
            flow, step = _flow(f, kind, eta, 1.0, 1.0).loss[::4], _flow(f, kind, eta, 1.0, eta).loss[-1]
            point = np.abs((4 * flow) ** 0.25 - (4 * descent) ** 0.25)
            errors[kind].append((float(point.max()), float(np.abs(flow - descent).max()), float(abs(one - step))))
    return errors


def _slope(errors: list[float]) -> tuple[float, float]:
    fit: Any = stats.linregress(np.log(ETAS), np.log(errors))  # its fields are made at run time
    return float(fit.slope), float(fit.stderr)


def _order(errors) -> Claim:
    checks = []
    for kind, order in zip(KINDS, (1, 2, 1)):
        slope, stderr = _slope([error[0] for error in errors[kind]])
        low, high = (slope + sign * stats.t.ppf(0.975, len(ETAS) - 2) * stderr for sign in (-1, 1))
        label = f"slope of the error, {kind} (95 % interval {low:.3f} to {high:.3f})"
        checks.append(Check(slope, stderr, order, "=", model_error=0.05, label=label))
    return Claim(
        "ode.order",
        "P A.4, Def. 3.4",
        "As approximations of gradient descent the first-order, classic and new ODE have orders 1, 2, 1.",
        tuple(checks),
        detail="sup over k of |X_kη − x_k| on x⁴/4; the slopes approach the orders as η → 0.",
    )


def _loss_order(errors) -> Claim:
    one_step = {kind: [error[2] for error in errors[kind]] for kind in KINDS}
    slope, stderr = _slope(one_step["new"])
    path, path_stderr = _slope([error[1] for error in errors["new"]])
    ratio = one_step["new"][-1] / one_step["first"][-1]
    return Claim(
        "ode.loss-order",
        "P after 14",
        "The new ODE induces a second-order model of the discrete loss.",
        (
            Check(slope, stderr, 3.0, "=", 0.05, label="slope of the one-step loss error (3 for a second-order model)"),
            Check(
                path,
                path_stderr,
                2.0,
                "=",
                0.05,
                label="slope of the loss error along the path (2 for a second-order model)",
            ),
        ),
        (
            Check(slope, stderr, 2.0, "=", 0.05, label="slope of the one-step loss error (2 for a first-order model)"),
            Check(
                path,
                path_stderr,
                1.0,
                "=",
                0.05,
                label="slope of the loss error along the path (1 for a first-order model)",
            ),
            Check(ratio, 0.0, 2.0, "=", 0.05, label="one-step loss error of the new ODE over that of gradient flow"),
        ),
        detail="It matches the drift of the loss at each instant, not the loss along the path.",
    )


def _figure(errors) -> Figure:
    figure, axes = plot.panels(1, 3)
    f = problem.Quadratic([LAMBDA])
    for ax, fraction in zip(axes[:2], (0.4, 1.1)):
        eta = fraction * 2 / LAMBDA
        for kind, color in zip((*KINDS, "principal"), plot.CATEGORIES):
            path = _flow(f, kind, eta, 1.0, 8.0)
            label = f"{kind} ODE" if kind in KINDS else "principal flow"
            ax.plot(path.time, path.loss, color=color, lw=1.8, label=label)
        descent = _descend(f, eta, 1.0, 20).sel(time=slice(0, 8.0 + 1e-9))
        ax.plot(descent.time, descent.loss_mean, "o", ms=5, color="black", label="gradient descent")
        ax.set(xlabel="t = kη", ylabel="f(x)", yscale="log", ylim=(1e-9, 1e4), title=f"λx²/2, η = {fraction:g} · 2/λ")
    for kind, color in zip(KINDS, plot.CATEGORIES):
        axes[2].loglog(ETAS, [error[0] for error in errors[kind]], "o-", color=color, label=kind)
    axes[2].set(xlabel="η", ylabel="sup |X − x|", title="x⁴/4: error of the iterates")
    plot.plain_ticks(axes[2].xaxis)
    for ax in axes:
        plot.dress(ax)
    caption = (
        "Left and middle: three ODEs and gradient descent on a quadratic, below and above the threshold 2/λ. Right: the error of the "
        "iterates against η: slope 2 for the classic ODE, 1 for the others, the new one with twice the error of gradient flow."
    )
    return Figure("odes", figure, caption)


def _quartic_figure() -> Figure:
    figure, axes = plot.panels(1, 2)
    f = problem.Quartic(1)
    for ax, product in zip(axes, (0.6, 1.2)):
        for kind, color in zip(KINDS, plot.CATEGORIES):
            path = _flow(f, kind, 1.0, math.sqrt(product), 8.0)
            finite = np.isfinite(path.loss)
            ax.plot(path.time[finite], path.loss[finite], color=color, lw=1.8, label=f"{kind} ODE")
        descent = _descend(f, 1.0, math.sqrt(product), 8)
        ax.plot(descent.time, descent.loss_mean, "o", ms=5, color="black", label="gradient descent")
        ax.set(xlabel="t = kη", ylabel="f(x)", yscale="log", ylim=(1e-5, 1e2), title=f"x⁴/4, ηx0² = {product:g}")
    for ax in axes:
        plot.dress(ax)
    caption = "x⁴/4 with η = 1. At ηx0² = 1.2 gradient descent still converges, the new ODE explodes: its threshold is 2/3, not 2."
    return Figure("odes_quartic", figure, caption)
