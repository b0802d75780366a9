"""Heavy ball with compressed gradients: how large a step is stable in the mean square, on quadratics and on x⁴/4."""

from typing import NamedTuple

import jax
import numpy as np

from stablestep import compressor, problem, schedule, server, stability, theorem
from stablestep.claim import Check, Claim
from stablestep.reproduce.context import Context
from stablestep.reproduce.edges import mean_square_edge
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

CASES = ((0.9, 0.0), (0.9, 4.0), (0.9, 8.0), (0.5, 4.0), (0.95, 0.25))  # β, a = ω/N
SIMULATED, AGENTS = 0.25, 16  # a, N of what is simulated
BETAS = (0.0, 0.5, 0.8, 0.9, 0.95)
SLOW = (0.9, 0.99, 0.999, 0.9999)
OMEGA = 8.0  # with N = 16, a = ½
# ηx0² at which heavy ball from rest first diverges on x⁴/4.
QUARTIC = {0.0: 2.0, 0.5: 2.166, 0.9: 1.186, 0.99: 0.802}


class Edges(NamedTuple):
    """Simulated mean-square edges on a quadratic by β, and first diverging ηx0² on x⁴/4 by β."""

    quadratic: dict[float, float]
    quartic: dict[float, float]


def threshold(beta: float, a: float) -> float:
    """ηλ at the mean-square edge: 2(1+β)/(1 + a(1+β)/(1−β)).

    >>> round(threshold(0.9, 4.0), 10), round(threshold(0.9, 0.0), 10)
    (0.0493506494, 3.8)
    """
    return 2 * (1 + beta) / (1 + a * (1 + beta) / (1 - beta))


def momentum(beta: float, a: float, count: int = 1, dim: int = 1) -> Setup:
    """Heavy ball on ‖x‖²/2, with masks that give the mean message the relative variance a."""
    masks = Agents(count, compressor=compressor.RandomSparsification(omega=a * count))
    return Setup(problem.Quadratic(np.ones(dim)), masks, server=server.HeavyBall(beta=beta))


def exact(setup: Setup) -> float:
    """The mean-square edge by exact moments."""
    return stability.critical_step(setup, x0=1.0, method="moments").step


def edges(context: Context) -> Edges:
    betas = (0.0, 0.9) if context.quick else BETAS
    dim, runs = (4096, 8) if context.quick else (4096, 24)
    quadratic = {}
    for beta in betas:
        setup, near = momentum(beta, SIMULATED, AGENTS, dim), threshold(beta, SIMULATED)
        # After the memory has settled, and before the mean is made by what no run meets.
        window = round(4 / (1 - beta)) - 2, round(10 / (1 - beta)) - 2
        quadratic[beta] = mean_square_edge(setup, near, window, runs, context.seed)
    quartic = (0.0, 0.9) if context.quick else QUARTIC
    return Edges(quadratic, {beta: _first_diverging(beta, context) for beta in quartic})


def _first_diverging(beta: float, context: Context) -> float:
    """The smallest ηx0² of runs from many x0, by scaling with η = 1, that diverges."""
    setup = Setup(problem.Quartic(1), Agents(1), server=server.HeavyBall(beta=beta))
    found = simulate(
        setup,
        schedule=schedule.Constant(1.0),
        x0=_start,
        steps=1000,
        runs=4000,
        seed=context.seed,
        record=2,
        observe={"x": _first},
        dtype="float64",
    )
    starts = found.x.isel(time=0).values ** 2
    gone = np.isfinite(found.divergence_iteration.values)
    return float(starts[gone].min())


def _start(key):
    """x0² uniform on [0.6, 2.4]."""
    return jax.random.uniform(key, (1,), minval=0.6, maxval=2.4) ** 0.5


def _first(x):
    return x[0]


def hb_threshold(found: Edges) -> Claim:
    checks = []
    for beta, a in CASES:
        label = f"edge by exact moments, β = {beta:g}, a = {a:g}, against the formula"
        value = threshold(beta, a)
        checks.append(Check(exact(momentum(beta, a)), 0.0, value, "=", model_error=1e-9 * value, label=label))
    for beta, edge in found.quadratic.items():
        label = f"edge by simulation over the formula, β = {beta:g}, a = {SIMULATED:g}"
        checks.append(Check(edge / threshold(beta, SIMULATED), 0.0, 1.0, "=", model_error=0.08, label=label))
    return Claim(
        "mem.hb.threshold",
        "theory of linear memories",
        "Heavy ball with relative noise a is mean-square stable on a quadratic iff ηλ < 2(1+β)/(1 + a(1+β)/(1−β)).",
        tuple(checks),
        detail="a = ω/N for random masks. By simulation: where the mean of f neither grows nor falls, in thousands of coordinates.",
    )


def first_order_limit() -> Claim:
    a = OMEGA / AGENTS
    plain = theorem.Constants(L0=1.0, L1=0.0, dim=1, omega=OMEGA, count=AGENTS)
    first, second = (theorem.step_limit(name, plain, 0.0, 1 - 1e-12) for name in ("4.1", "4.2"))
    checks = []
    for beta in SLOW:
        edge = exact(momentum(beta, a, AGENTS)) / (1 - beta)
        c = theorem.Constants(L0=1.0, L1=0.0, dim=1, omega=OMEGA, count=AGENTS, beta=beta)
        label = f"η_eλ at the edge by exact moments, β = {beta:g}, against the SDE theorem with momentum as ε → 1"
        checks.append(
            Check(edge, 0.0, theorem.step_limit("momentum", c, 0.0, 1 - 1e-12), "=", model_error=1e-6, label=label)
        )
        label = f"η_eλ at the edge, β = {beta:g}, against twice the limit of 4.2"
        checks.append(Check(edge, 0.0, 2 * second, ">=", label=label))
    off = 2 * (1 - SLOW[-1]) / a
    label = f"η_eλ at the edge, β = {SLOW[-1]:g}, against the limit of 4.1"
    checks.append(Check(edge, 0.0, first, "=", model_error=off * first, label=label))
    return Claim(
        "mem.hb.first-order-limit",
        "P 4.1, 4.2",
        "As β → 1 at a fixed effective step the critical step of compressed heavy ball is that of P 4.1, not of P 4.2.",
        tuple(checks),
        detail=f"η_eλ = 2/(θ + a), θ = (1−β)/(1+β), with a = {a:g}: {second:.4g} without momentum (4.2), {first:.4g} in the limit (4.1).",
    )


def larger_steps(found: Edges) -> Claim:
    base = found.quartic[0.0]
    printed = [
        Check(
            found.quartic[0.9], 0.0, base, ">=", label="first diverging ηx0² on x⁴/4 from rest, β = 0.9, against β = 0"
        ),
        Check(
            exact(momentum(0.9, 4.0)),
            0.0,
            exact(momentum(0.0, 4.0)),
            ">=",
            label="edge on a quadratic, a = 4, β = 0.9, against β = 0",
        ),
    ]
    corrected = []
    for beta, a in ((0.9, 0.0), (0.5, 0.0), (0.9, 0.04), (0.9, 0.06)):
        ratio = exact(momentum(beta, a)) / exact(momentum(0.0, a))
        share = threshold(beta, a) / threshold(0.0, a)
        relation = ">=" if a < (1 - beta) / (1 + beta) else "<="
        label = f"edge over that at β = 0, β = {beta:g}, a = {a:g}, (1−β)/(1+β) = {(1 - beta) / (1 + beta):.3g}"
        corrected += [
            Check(ratio, 0.0, 1.0, relation, label=label),
            Check(ratio, 0.0, share, "=", model_error=1e-9, label=f"{label}, against the formula"),
        ]
    for a in (0.25, 4.0):
        label = f"effective edge over that at β = 0, β = 0.9, a = {a:g}"
        corrected.append(Check(10 * exact(momentum(0.9, a)) / exact(momentum(0.0, a)), 0.0, 1.0, ">=", label=label))
    corrected += [
        Check(
            edge,
            0.0,
            QUARTIC[beta],
            "=",
            model_error=0.005,
            label=f"first diverging ηx0² on x⁴/4 from rest, β = {beta:g}",
        )
        for beta, edge in found.quartic.items()
    ]
    return Claim(
        "mem.hb.larger-steps",
        "folklore",
        "Momentum enlarges the stable η, to 2(1+β)/λ.",
        tuple(printed),
        tuple(corrected),
        detail="On quadratics it enlarges η iff a < (1−β)/(1+β), and the effective step always. Elsewhere it need not: "
        "on x⁴/4 from rest, without any noise, heavy ball with β = 0.9 diverges from steps at which gradient descent converges.",
    )
