"""The theorems on DSignSGD: as printed, with their counterexamples, and corrected, held against simulation."""

from typing import Any

import numpy as np
from scipy.integrate import quad

from stablestep import plot, problem, schedule, theorem
from stablestep.claim import Check, Claim
from stablestep.noise.student import Xi, slope, sup_density
from stablestep.report import Figure, Section, Table
from stablestep.reproduce.both_sides import COSH, Case, Sides, paths, signs, weighted
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import check, fraction, mean
from stablestep.setup import Setup

LINE, QUARTIC, STEEP = problem.Quadratic([1.0]), problem.Quartic(1), problem.Cosh(1, 1.0)
# Problem, x0, L1, T, scales of the agents, ν; all with η = 0.1, η_t = (1+t)^-½, and within the printed step limits.
PRINTED = {
    "x²/2 from 100": (LINE, 100.0, 0.0, 100.0, (1.0,), 1.0),
    "x²/2 from 5": (LINE, 5.0, 0.0, 100.0, (1.0,), 1.0),
    "x⁴/4 from 3": (QUARTIC, 3.0, 2.0, 50.0, (1.0,), 1.0),
    "cosh x from 6": (STEEP, 6.0, 1.0, 100.0, (1.0,), 1.0),
}
CORRECTED = {
    "cosh x from 6": (STEEP, 6.0, 1.0, 100.0, (1.0,), 1.0),
    "x⁴/4 from 3": (QUARTIC, 3.0, 2.0, 50.0, (1.0,), 1.0),
    "Σ cosh x, d = 3, σ = 0.5, 1, 2, 4": (COSH, 3.0, 1.0, 100.0, (0.5, 1.0, 2.0, 4.0), 1.0),
    "cosh x from 6, ν = 5, N = 2": (STEEP, 6.0, 1.0, 100.0, (1.0, 2.0), 5.0),
}
IN_QUICK = {"cosh x from 6"}
ETA, NU = 0.1, 1.0
WORDS = [
    "P's bounds on DSignSGD (B.8, 4.3 = B.9) rest on 2yΞ_ν(y) ≥ ℓ_ν y², which is reversed for every ν: Ξ_ν is concave, so the sign "
    "descends more slowly than its slope at 0 says. They fail on x²/2 already. What is true is ℓy/(1 + ℓy) ≤ 2Ξ_ν(y), which gives "
    "bounds on E Ψ(∇f), Ψ = ℓ‖∇f‖²/(σ̄ + ℓ‖∇f‖): quadratic for small gradients, linear for large ones.",
    "The corrected step limits, 2N/(dL1) and 2/(dL1), contain neither the noise nor its tail. That DSignSGD needs no step that "
    "shrinks with the gradient norm is confirmed.",
]


def run(context: Context) -> Section:
    printed = _held(context, PRINTED, "printed")
    context.progress(0.4)
    corrected = _held(context, CORRECTED, "corrected")
    context.progress(0.9)
    return Section(
        id="sign-bounds",
        title="Step limits and bounds: DSignSGD",
        paragraphs=WORDS,
        figures=[_figure()],
        tables=[_table(printed, corrected)],
        claims=[
            _constants(),
            _bounds(printed, corrected),
            _denominators(),
            _noiseless(),
            _no_norm(context),
        ],
        parameters={
            "η, η_t, ν": f"{ETA}, (1+t)^-½, {NU:g} unless said otherwise",
            "weights": "the theorem's own density of the random time",
        },
    )


def _held(context: Context, cases: dict[str, Any], form: str) -> list[Sides]:
    runs, held = 250 if context.quick else 1000, []
    for label, (landscape, x0, L1, end, scales, nu) in cases.items():
        if context.quick and label not in IN_QUICK:
            continue
        agents = signs(scales, nu)
        c = theorem.constants(Setup(landscape, *agents), L1=L1, x0=x0)
        case = Case(label, landscape, agents, x0, schedule.Polynomial(ETA, 0.5), round(end / ETA))
        for name in ("B.8", "4.3"):
            # As printed, 4.3 is about the SDE as printed (Eq. 134); in quick runs the first-order one stands for both.
            own = form == "printed" and name == "4.3" and not context.quick
            kind = "new" if name == "4.3" and (own or form == "corrected") else "first"
            shape = "printed" if own else "corrected"
            held.append(weighted(name, case, kind, c, runs, context.seed, shape, form=form))
    return held


def _bounds(printed: list[Sides], corrected: list[Sides]) -> Claim:
    checks: dict[str, list[Check]] = {"printed": [], "corrected": []}
    for form, all_held in (("printed", printed), ("corrected", corrected)):
        what = "E‖∇f‖²" if form == "printed" else "E Ψ(∇f)"
        for one in all_held:
            at = f"{what}, {one.name}, {one.case.label}"
            checks[form].append(check(one.model, "<=", one.right, f"{at}, SDE"))
            if form == "printed":
                checks[form].append(check(one.optimizer, "<=", one.right, f"{at}, optimizer"))
    worst = max(printed, key=lambda one: one.optimizer[0] / one.right)
    return Claim(
        "bound.sign",
        "P 4.3 = B.9, B.8; S2 4.4",
        "DSignSGD: below the step limit, E‖∇f(X_t̃)‖² is at most the printed bound.",
        tuple(checks["printed"]),
        tuple(checks["corrected"]),
        detail=f"Worst here: {worst.name} on {worst.case.label}, left {worst.optimizer[0]:.4g}, right {worst.right:.4g}. Corrected: a "
        "bound on E Ψ, which holds in every case.",
    )


def _constants() -> Claim:
    checks = []
    for nu in (1.0, 2.0, 5.0, np.inf):
        grid = np.linspace(-4, 4, 8001)
        density = np.gradient(Xi(grid, nu), grid)
        label = f"2 sup Ξ' on a grid, ν = {nu:g}, against ℓ_ν"
        checks.append(Check(2 * float(density.max()), 0.0, slope(nu), "=", model_error=1e-5, label=label))
        label = f"where Ξ' is largest, ν = {nu:g}"
        checks.append(Check(float(grid[density.argmax()]), 0.0, 0.0, "=", model_error=2e-3, label=label))
        label = f"ℓ_ν/M_ν, ν = {nu:g}"
        checks.append(Check(slope(nu) / sup_density(nu), 0.0, 2.0, "=", model_error=1e-12, label=label))
    return Claim(
        "sign.constants",
        "P B.8, B.9",
        "ℓ_ν = 2Ξ'(0) and M_ν = sup Ξ' = Ξ'(0), so that ℓ_ν = 2M_ν.",
        tuple(checks),
    )


def _denominators() -> Claim:
    c = theorem.Constants(L0=1.0, L1=2.0, dim=4, count=2, nu=1.0, scale_max=[1.0, 3.0], initial_gap=3.0)
    decay = schedule.Polynomial(0.1, 0.6)
    common: dict[str, Any] = dict(eta=0.1, phi1=decay.phi(1, 100.0), phi2=decay.phi(2, 100.0), form="printed")
    main, appendix = (theorem.bound(name, c, **common) for name in ("4.3", "B.9"))
    total = _mass("4.3", c, common)
    # By the proof's own last line: φ¹ℓ/σ_H − φ²ηdK with K = L1/(2N) + (L0 + L1)M/(σ_H √d).
    harmonic, ell = 1.5, 2 / np.pi
    K = 2 / 4 + 3 / np.pi / (harmonic * 2)
    top = 3.0 + common["phi2"] * 0.1 * 3 * 4 * (1 / 4 + 1 / np.pi / (harmonic * 2))
    proof = top / (common["phi1"] * ell / harmonic - common["phi2"] * 0.1 * 4 * K)
    return Claim(
        "bound.sign-denominators",
        "P 135, 144",
        "Denominators of B.9: φ¹ℓ_ν/σ_H − φ²K.",
        (
            Check(
                appendix,
                0.0,
                proof,
                "=",
                model_error=1e-9,
                label="bound of B.9 as printed, against the last line of its proof",
            ),
        ),
        (
            Check(
                main, 0.0, proof, "=", model_error=1e-9, label="bound of 4.3 (which has the factor dη) against the same"
            ),
            Check(total, 0.0, 1.0, "=", model_error=1e-6, label="mass of the density of 4.3"),
        ),
        error="misprint",
        detail=f"Printed {appendix:.6g}, with dη {main:.6g}.",
    )


def _mass(name: str, c: theorem.Constants, common: dict[str, Any]) -> float:
    """The integral of the result's density over [0, 100]."""
    return float(quad(lambda t: theorem.density(name, c, eta_t=(1 + t) ** -0.6, **common), 0, 100.0, epsrel=1e-9)[0])


def _noiseless() -> Claim:
    c = theorem.Constants(L0=1.0, L1=2.0, dim=4, nu=1.0, scale_max=0.0)
    scaled = theorem.step_limit("4.3", c, form="printed") * 2 * 3
    return Claim(
        "limit.sign-noiseless",
        "P after 18",
        "With σ_max = 0 the limit of 4.3 is ηη_t < 1/(√d(L0 + L1)).",
        (Check(scaled, 0.0, 1.0, "=", label="limit of 4.3 as printed × √d(L0 + L1), σ_max = 0"),),
        (
            Check(scaled, 0.0, 2.0, "=", model_error=1e-9, label="the same, against 2 (as ℓ_ν = 2M_ν)"),
            Check(
                theorem.step_limit("4.3", c),
                0.0,
                2 / (4 * 2),
                "=",
                model_error=1e-12,
                label="corrected limit, against 2/(dL1)",
            ),
        ),
        error="misprint",
        detail="The limit σ_max → 0 of the printed condition is 2/(√d(L0 + L1)); that of the corrected theorem is 2/(dL1).",
    )


def _no_norm(context: Context) -> Claim:
    """One constant step, from ever further away: signs always come back, gradient descent is gone at once."""
    runs = 250 if context.quick else 1000
    setup = Setup(STEEP, *signs((1.0,), NU))
    c = theorem.constants(setup, L1=1.0)
    checks = [
        Check(
            theorem.step_limit("4.3", c, gradient_norm=norm, form=form),
            0.0,
            theorem.step_limit("4.3", c, form=form),
            "=",
            label=f"limit of 4.3 ({form}) at ‖∇f‖ = {norm:g}, against that at any other",
        )
        for norm in (1.0, 1e6)
        for form in ("printed", "corrected")
    ]
    for start in (3.0, 10.0, 30.0):
        case = Case("cosh x", STEEP, setup.groups, start, schedule.Polynomial(ETA, 0.0), 1000)
        norms, _ = paths(case, None, runs, context.seed)
        at = f"from x0 = {start:g}, ‖∇f‖ = {norms[0, 0]:.3g}"
        checks.append(check(fraction(np.isinf(norms[:, -1])), "=", 0.0, f"fraction diverged {at}", margin=0.2))
        checks.append(check(mean(norms[:, -1] / norms[:, 0]), "<=", 1.0, f"‖∇f‖ after 1000 steps over its start, {at}"))
        if start > 3:
            # Beyond 700 the hyperbolic sine overflows.
            grown = float(np.sinh(min(700.0, abs(start - ETA * np.sinh(start)))) / np.sinh(start))
            label = f"‖∇f‖ after one step of gradient descent over its start, {at}"
            checks.append(Check(min(grown, 1e6), 0.0, 1.0, ">=", label=label))
    return Claim(
        "limit.sign-no-gradient-norm",
        "P after 18",
        "DSignSGD needs no scaling of the step with the inverse gradient norm.",
        tuple(checks),
        detail="The same constant step from ever further out on cosh x, where one step of gradient descent is enough to be lost.",
    )


def _table(printed: list[Sides], corrected: list[Sides]) -> Table:
    rows: list[list[str | float]] = []
    for form, all_held in (("printed", printed), ("corrected", corrected)):
        for one in all_held:
            verdict = "holds" if max(one.optimizer[0], one.model[0]) <= one.right else "fails"
            sides = [float(f"{value:.4g}") for value in (one.optimizer[0], one.model[0], one.right, one.tightness)]
            rows.append([one.name, form, one.case.label, *sides, verdict])
    columns = ["theorem", "form", "problem", "left, optimizer", "left, SDE", "right", "right/left", ""]
    return Table(
        columns, rows, "Left: E‖∇f‖² (printed) or E Ψ(∇f) (corrected) at the theorem's random time; right: its bound."
    )


def _figure() -> Figure:
    figure, ax = plot.panels(width=6.4)
    y = np.linspace(0.01, 6, 120)
    ell = slope(NU)
    ax.plot(y, 2 * y * Xi(y, NU), color=plot.CATEGORIES[0], lw=2.4, label="2yΞ(y), the expected descent")
    ax.plot(
        y, ell * y**2, color=plot.CATEGORIES[1], lw=1.8, ls="--", label="ℓy², which the printed proofs put below it"
    )
    ax.plot(y, ell * y**2 / (1 + ell * y), color=plot.CATEGORIES[2], lw=1.8, label="ℓy²/(1 + ℓy), which is below it")
    ax.set(xlabel="y = |∂f|/σ", ylim=(0, 6), title="ν = 1")
    plot.dress(ax)
    caption = "Why the printed bounds fail: the expected descent of the sign lies below ℓy² (dashed), not above it, for every y > 0."
    return Figure("sign_descent", figure, caption)
