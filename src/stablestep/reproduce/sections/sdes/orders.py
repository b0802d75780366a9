"""The weak orders of the three SDEs of SGD."""

import jax.numpy as jnp
import numpy as np

from stablestep import noise, plot, problem
from stablestep.claim import Claim
from stablestep.compare import quadratic_order, weak_order
from stablestep.report import Figure
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import order_check
from stablestep.setup import Agents, Setup

KINDS, ORDERS = ("first", "classic", "new"), (1, 2, 1)


def _setups() -> dict[str, Setup]:
    def log_cosh(x):
        return jnp.sum(jnp.logaddexp(x, -x))

    return {
        "quartic": Setup(problem.Quartic(1), Agents(1, noise.Gaussian(sigma0=0.3))),
        "user's log cosh": Setup(problem.Function(log_cosh, dim=1), Agents(1, noise.Gaussian(sigma0=0.1))),
    }


def orders_of(context: Context) -> dict:
    etas = {"quartic": (0.2, 0.1, 0.05, 0.025), "user's log cosh": (0.5, 0.25, 0.125, 0.0625)}
    quadratic = Setup(problem.Quadratic([1.0, 2.0]), Agents(1, noise.Gaussian(sigma0=1.0)))
    found = {
        ("quadratic", kind): quadratic_order(quadratic, kind, (0.02, 0.01, 0.005, 0.0025), np.ones(2), 1.0)
        for kind in KINDS
    }
    for name, setup in {} if context.quick else _setups().items():
        for kind in KINDS:
            found[name, kind] = weak_order(
                setup, kind, etas=etas[name], x0=1.0, time=1.0, runs=100_000, seed=context.seed
            )
    return found


def order_claim(orders) -> Claim:
    checks = []
    for (name, kind), found in orders.items():
        checks.append(order_check(found, ORDERS[KINDS.index(kind)], f"slope, {name}, {kind}"))
    return Claim(
        "sde.order",
        "P A.5, Def. 3.4",
        "Weak orders of the three SDEs of SGD: 1, 2, 1.",
        tuple(checks),
        detail="Slopes of E f(X) − E f(x) as η → 0; what the first term of higher order does to them is allowed for.",
    )


def order_figure(orders) -> Figure:
    names = list(dict.fromkeys(name for name, _ in orders))
    figure, axes = plot.panels(1, len(names))
    axes = np.atleast_1d(axes)
    for (name, kind), found in orders.items():
        label, color = f"{kind}: order {found.order}, slope {found.slope:.2f}", plot.CATEGORIES[KINDS.index(kind)]
        ax = axes[names.index(name)]
        ax.errorbar(found.eta, np.abs(found.error), 2 * found.stderr, fmt="o-", color=color, label=label)
    for ax, name in zip(axes, names):
        ax.set(xlabel="η", ylabel="|E f(X) − E f(x)|", xscale="log", yscale="log", title=name)
        plot.plain_ticks(ax.xaxis)
        plot.dress(ax)
    caption = (
        "Weak error of the three SDEs against η: exact on the quadratic, on paths coupled to the optimizer elsewhere."
    )
    return Figure("sdes_order", figure, caption)
