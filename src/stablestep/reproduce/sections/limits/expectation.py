"""The step rule with E‖∇f‖ in the place of the path's own ‖∇f‖."""

from typing import Any

import numpy as np

from stablestep import compressor, noise, plot, problem, schedule, theorem
from stablestep.claim import Claim
from stablestep.report import Figure
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import check
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

ESCAPE = 1e3  # E min(left side, this) ≤ E (left side): a lower bound whose error is small


def ensembles_of(context: Context) -> dict[str, Any]:
    """Both rules on x⁴/4: for each ensemble the mean over its runs of Σ h ‖∇f‖², and one ensemble's mean loss over time."""
    count, runs, steps = (8, 4000, 60) if context.quick else (8, 4000, 1000)
    setup = Setup(problem.Quartic(1), Agents(1, noise.Gaussian(sigma1=0.1), compressor.RandomSparsification(omega=4.0)))
    c = theorem.constants(setup, L1=2.0, x0=2.0)
    found: dict[str, Any] = {}
    for rule, expectation in (("pathwise", False), ("E‖∇f‖", True)):
        limit = schedule.StepLimit("4.2", eta=1.0, epsilon=0.9, constants=c, expectation=expectation)
        results = [
            simulate(
                setup,
                schedule=limit,
                x0=2.0,
                steps=steps,
                runs=runs,
                seed=context.seed + 1000 * i,
                record="log",
                radius=1e7,
                dtype="float64",
            )
            for i in range(count)
        ]
        found[rule] = results
    return found


def _growth(results) -> np.ndarray:
    """For each ensemble, the mean loss at the end over that at the start, at most `ESCAPE`."""
    return np.array([min(ESCAPE, float(one.loss_mean[-1] / one.loss_mean[0])) for one in results])


def expectation(ensembles: dict[str, Any]) -> Claim:
    checks = {}
    for rule in ("pathwise", "E‖∇f‖"):
        grown = _growth(ensembles[rule])
        error = float(np.std(grown, ddof=1) / np.sqrt(len(grown)))
        norm = "the path's own norm" if rule == "pathwise" else rule
        label = f"mean loss at the end over its start, at most {ESCAPE:g}, rule with {norm}"
        checks[rule] = check((float(np.mean(grown)), error), "<=", 1.0, label)
    steps = int(ensembles["pathwise"][0].iteration[-1])
    ends = sorted(float(one.loss_mean[-1]) for one in ensembles["E‖∇f‖"])
    safe = max(float(one.loss_mean[-1]) for one in ensembles["pathwise"])
    return Claim(
        "limit.expectation-form",
        "P 4, 16, 69, 86, 103, 121",
        "The step rule may use E‖∇f‖ instead of the path's own ‖∇f‖.",
        (checks["E‖∇f‖"],),
        (checks["pathwise"],),
        detail=f"Mean loss after {steps} steps from 4: {ends[0]:.2g} to {ends[-1]:.2g} with E‖∇f‖ over {len(ends)} ensembles, at most "
        f"{safe:.2g} pathwise.",
    )


def figure_of(ensembles: dict[str, Any]) -> Figure:
    figure, axes = plot.panels(1, 2)
    for ax, rule, title in zip(axes, ("pathwise", "E‖∇f‖"), ("the path's own ‖∇f‖", "E‖∇f‖, as printed")):
        for index, one in enumerate(ensembles[rule]):
            ax.plot(one.iteration[1:], one.loss_mean[1:], lw=1.2, color=plot.CATEGORIES[index % len(plot.CATEGORIES)])
        ax.set(xscale="log", yscale="log", xlabel="iteration", title=title)
        plot.plain(ax)
    axes[0].set_ylabel("mean of f(x)")
    caption = (
        "Mean loss of independent ensembles under the step limit of Thm 4.2 on x⁴/4 with ω = 4. Left: each run uses its own gradient norm. "
        "Right: all runs use the mean, as Eq. 16 is printed; a few runs escape, and the mean never recovers."
    )
    return Figure("limits_expectation", figure, caption)
