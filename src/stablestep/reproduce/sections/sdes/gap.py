"""The gap between SGD and its SDEs over time."""

import xarray as xr

from stablestep import noise, plot, problem, schedule
from stablestep.compare import compare
from stablestep.report import Figure
from stablestep.reproduce.context import Context
from stablestep.reproduce.sections.sdes.orders import KINDS
from stablestep.setup import Agents, Setup


def gap_over_time(context: Context) -> xr.Dataset:
    return compare(
        Setup(problem.Quadratic([1.0]), Agents(1, noise.Gaussian(sigma0=1.0))),
        schedule=schedule.Constant(0.4),
        models=KINDS,
        x0=2.0,
        time=8.0,
        runs=20_000,
        seed=context.seed,
    )


def gap_figure(table) -> Figure:
    figure, axes = plot.panels(1, 2)
    axes[0].plot(
        table.time,
        table.loss_discrete[0] if "model" in table.loss_discrete.dims else table.loss_discrete,
        "o",
        color="black",
        label="SGD",
    )
    for kind in table.model.values:
        row, color = table.sel(model=kind), plot.CATEGORIES[KINDS.index(kind)]
        axes[0].plot(row.time, row.loss_model, color=color, lw=1.8, label=kind)
        axes[1].plot(row.time, row.model_error, color=color, lw=1.8, label=kind)
        axes[1].fill_between(row.time, row.model_error_low, row.model_error_high, color=color, alpha=0.2, lw=0)
    axes[0].set(xlabel="t = kη", ylabel="mean of f(x)", yscale="log", title="x²/2 with additive noise, η = 0.4")
    axes[1].set(xlabel="t = kη", ylabel="model error, 95 % interval", title="what is left of the gap for the model")
    for ax in axes:
        plot.dress(ax)
    caption = (
        "SGD and its three SDEs. The stationary loss of the new SDE is that of SGD; "
        "its transient is farther off than the classic one's."
    )
    return Figure("sdes_gap", figure, caption)
