"""The orders in which the three ODEs follow gradient descent, as iterates and as losses."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from stablestep import plot, problem
from stablestep.claim import Check, Claim
from stablestep.compare.scaling import largest, order_table
from stablestep.report import Figure
from stablestep.reproduce.measure import order_check
from stablestep.reproduce.sections.odes.flow import KINDS, descend, flow
from stablestep.reproduce.sections.odes.quadratic import LAMBDA

ETAS = (0.04, 0.02, 0.01, 0.005, 0.0025)


class Errors(NamedTuple):
    """A model's signed errors on x⁴/4 from 1, over η: of the iterate and the loss where they are largest up to t = 1, and of one step."""

    iterate: xr.Dataset
    loss: xr.Dataset
    one_step: xr.Dataset


def errors_of() -> dict[str, Errors]:
    """The errors of each model."""
    f, errors = problem.Quartic(1), {kind: [] for kind in KINDS}
    for eta in ETAS:
        marks = np.round(np.arange(26) * ETAS[0] / eta)  # the iterations at t = 0, 0.04, …, 1
        descent = descend(f, eta, 1.0, round(1 / eta), marks).loss_mean.values
        one = descend(f, eta, 1.0, 25).loss_mean.values[1]  # 25 steps, because another number would compile anew
        for kind in KINDS:
            path, step = flow(f, kind, eta, 1.0, 1.0).loss[::4], flow(f, kind, eta, 1.0, eta).loss[-1]
            point = (4 * path) ** 0.25 - (4 * descent) ** 0.25
            errors[kind].append((largest(point), largest(path - descent), float(step - one)))
    return {kind: Errors(*map(_over_eta, zip(*found))) for kind, found in errors.items()}


def _over_eta(errors) -> xr.Dataset:
    return order_table(ETAS, np.array(errors), np.zeros(len(ETAS)))


def order_claim(errors: dict[str, Errors]) -> Claim:
    orders = zip(KINDS, (1, 2, 1))
    checks = [order_check(errors[kind].iterate, order, f"slope of the error, {kind}") for kind, order in orders]
    return Claim(
        "ode.order",
        "P A.4, Def. 3.4",
        "As approximations of gradient descent the first-order, classic and new ODE have orders 1, 2, 1.",
        tuple(checks),
        detail="The largest of X_kη − x_k over k on x⁴/4; the slopes are those as η → 0.",
    )


def loss_order_claim(errors: dict[str, Errors]) -> Claim:
    new, first = errors["new"], errors["first"]
    ratio = float(new.one_step.error[-1] / first.one_step.error[-1])

    def is_of(order: int) -> tuple[Check, ...]:
        said = f"for a model of order {order}"
        one_step = order_check(new.one_step, order + 1, f"slope of the one-step loss error, {order + 1} {said}")
        return one_step, order_check(new.loss, order, f"slope of the loss error along the path, {order} {said}")

    twice = Check(ratio, 0.0, 2.0, "=", 0.05, label="one-step loss error of the new ODE over that of gradient flow")
    return Claim(
        "ode.loss-order",
        "P after 14",
        "The new ODE induces a second-order model of the discrete loss.",
        is_of(2),
        (*is_of(1), twice),
        detail="It matches the drift of the loss at each instant, not the loss along the path.",
    )


def figure_of(errors) -> Figure:
    figure, axes = plot.panels(1, 3)
    f = problem.Quadratic([LAMBDA])
    for ax, fraction in zip(axes[:2], (0.4, 1.1)):
        eta = fraction * 2 / LAMBDA
        for kind, color in zip((*KINDS, "principal"), plot.CATEGORIES):
            path = flow(f, kind, eta, 1.0, 8.0)
            label = f"{kind} ODE" if kind in KINDS else "principal flow"
            ax.plot(path.time, path.loss, color=color, lw=1.8, label=label)
        descent = descend(f, eta, 1.0, 20).sel(time=slice(0, 8.0 + 1e-9))
        ax.plot(descent.time, descent.loss_mean, "o", ms=5, color="black", label="gradient descent")
        ax.set(xlabel="t = kη", ylabel="f(x)", yscale="log", ylim=(1e-9, 1e4), title=f"λx²/2, η = {fraction:g} · 2/λ")
    for kind, color in zip(KINDS, plot.CATEGORIES):
        axes[2].loglog(ETAS, np.abs(errors[kind].iterate.error), "o-", color=color, label=kind)
    axes[2].set(xlabel="η", ylabel="sup |X − x|", title="x⁴/4: error of the iterates")
    plot.plain_ticks(axes[2].xaxis)
    for ax in axes:
        plot.dress(ax)
    caption = (
        "Left and middle: three ODEs and gradient descent on a quadratic, below and above the threshold 2/λ. Right: the error of the "
        "iterates against η: slope 2 for the classic ODE, 1 for the others, the new one with twice the error of gradient flow."
    )
    return Figure("odes", figure, caption)
