"""Five drifts of sign descent, without sampling."""

import equinox as eqx
import jax
import numpy as np

from stablestep import compressor, noise, plot, problem, schedule, sde
from stablestep.claim import Claim
from stablestep.compare.scaling import largest, order_table
from stablestep.record import cast
from stablestep.report import Figure
from stablestep.reproduce.context import Context
from stablestep.reproduce.kolmogorov import continuous_losses, discrete_losses
from stablestep.reproduce.measure import check, mean, order_check
from stablestep.reproduce.sections.sdes.loss import TIGHT, ito
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

DRIFTS = (
    ("first", "corrected"),
    ("classic", "corrected"),
    ("new", "printed"),
    ("flip", "corrected"),
    ("new", "corrected"),
)
NAMES = {
    ("new", "printed"): "P Eq. 134",
    ("new", "corrected"): "new (loss-matching)",
    ("classic", "printed"): "S2 Eq. 102",
}


def _sign_setup(f: problem.Problem, df: float = 1.0, sigma: float = 1.0, count: int = 1) -> Setup:
    return Setup(f, Agents(count, noise.StudentT(df, sigma), compressor.Sign()))


def tail(context: Context) -> float:
    """ν of the noise on signs; the distribution function of ν = 2 is elementary, that of ν = 1 takes long to compile in float64."""
    return 2.0 if context.quick else 1.0


def sign_new(context: Context) -> Claim:
    matrix = np.array([[2.0, 0.8, 0.0], [0.8, 1.5, -0.5], [0.0, -0.5, 1.0]])
    groups = [Agents(1, noise.StudentT(tail(context), scale), compressor.Sign()) for scale in (0.5, 2.0)]
    setup, eta, x = Setup(problem.Quadratic(matrix), *groups), 0.5, np.array([0.3, -0.8, 0.5])
    runs = 50_000 if context.quick else 1_000_000
    result = simulate(setup, schedule=schedule.Constant(eta), x0=x, steps=1, runs=runs, seed=context.seed, final=True)
    after = np.einsum("ri,ij,rj->r", result.final_state.values, matrix, result.final_state.values) / 2
    measured = mean((after - x @ matrix @ x / 2) / eta)
    drifts = {form: ito(setup, eta, x, form) for form in ("printed", "corrected")}
    label = "E[f(x₁) − f(x)]/η of DSignSGD against the Itô drift of the loss"
    return Claim(
        "sde.sign-new",
        "P 134, A.2",
        "P Eq. 134 matches the discrete one-step loss drift of DSignSGD.",
        (check(measured, "=", drifts["printed"], label),),
        (check(measured, "=", drifts["corrected"], label),),
        detail=f"On a quadratic in three dimensions with two agents, ν = {tail(context):g}; corrected: c = diag(m/g) H m.",
    )


@eqx.filter_jit
def _on_grid(models: list[sde.Model], grid):
    """The mean message and each model's drift at each point of a grid in one dimension: in one kernel, as they share their costly parts."""
    points = grid[:, None]
    drifts = [jax.vmap(lambda x, built=built: built.drift(0.0, x))(points)[:, 0] for built in models]
    return jax.vmap(models[0].law.mean)(points)[:, 0], drifts


def _sign_losses(f, kinds, df: float, sigma: float, eta: float, time: float, middle: float, fine: int = 1) -> dict:
    """E f along time of sign descent and of models, both without sampling; starts spread over one step of the lattice."""
    starts = middle + eta * (np.arange(64) / 32 - 1 + 1 / 64)
    steps = round(time / eta)
    power = 2 if isinstance(f, problem.Quadratic) else 4
    value, slope = (lambda x: x**power / power), (lambda x: x ** (power - 1))
    found: dict[str | tuple[str, str], np.ndarray] = {
        "optimizer": discrete_losses(value, slope, sigma, df, eta, steps, starts)
    }
    sub = 4 * fine
    width = abs(middle) + 12 * np.sqrt(eta) + 4 * eta
    grid = np.linspace(-width, width, 1201 * fine + 1)
    with jax.enable_x64(True):
        setup, step = _sign_setup(f, df, sigma), schedule.Constant(eta)
        models = [sde.model(setup, kind, step, form=form) for kind, form in kinds]
        mean_sign, drifts = jax.tree.map(np.asarray, _on_grid(cast(models, np.dtype("float64")), grid))
    variance = eta * (1 - mean_sign**2)
    for key, drift in zip(kinds, drifts, strict=True):
        found[key] = continuous_losses(value, drift, variance, grid, eta / sub, steps * sub, starts)[::sub]
    return found


def sign_classic(df: float) -> Claim:
    pair = (("classic", "printed"), ("classic", "corrected"))
    errors = {key: [] for key in pair}
    for eta in TIGHT:
        found = _sign_losses(problem.Quartic(1), pair, df, 1.0, eta, 1.0, 1.0, fine=2)
        for key in pair:
            errors[key].append(largest(found[key] - found["optimizer"]))
    orders = {key[1]: order_table(TIGHT, np.array(values), np.zeros(len(TIGHT))) for key, values in errors.items()}
    label = "slope of the largest E f(X) − E f(x) against η"
    return Claim(
        "sde.sign-classic",
        "S2 102",
        "S2's second-order SDE of DSignSGD is second order.",
        (order_check(orders["printed"], 2, f"{label}, S2 Eq. 102"),),
        (order_check(orders["corrected"], 2, f"{label}, −(η/2) J_m m"),),
        detail=f"x⁴/4 in one dimension, ν = {df:g}, σ = 1, without sampling: backward recursion against Crank-Nicolson.",
    )


def sign_table(context: Context) -> dict:
    """For each landscape and η: the geometric mean over noises of sup |E f − E f| and of |log stationary ratio|, by drift."""
    noises = [(tail(context), 1.0)] if context.quick else [(1.0, 0.25), (1.0, 1.0), (1.0, 4.0), (5.0, 1.0)]
    rows = {}
    for name, f in (("x²/2", problem.Quadratic([1.0])), ("x⁴/4", problem.Quartic(1))):
        for eta in (0.1, 0.3) if context.quick else (0.03, 0.1, 0.3):
            logs = {key: [] for key in DRIFTS}
            for df, sigma in noises:
                found = _sign_losses(f, DRIFTS, df, sigma, eta, 9.0, 1.0)
                for key in DRIFTS:
                    gap = np.max(np.abs(found[key] - found["optimizer"]))
                    level = abs(np.log(found[key][-1] / found["optimizer"][-1]))
                    logs[key].append((np.log(gap), np.log(level)))
            rows[name, eta] = {key: np.exp(np.mean(values, axis=0)) for key, values in logs.items()}
    return rows


def sign_figure(rows) -> Figure:
    figure, axes = plot.panels(1, 4, width=4.2)
    etas = sorted({eta for _, eta in rows})
    for column, (name, which) in enumerate((n, w) for n in ("x²/2", "x⁴/4") for w in (0, 1)):
        for key, color in zip(DRIFTS, plot.CATEGORIES):
            axes[column].loglog(
                etas, [rows[name, eta][key][which] for eta in etas], "o-", color=color, label=NAMES.get(key, key[0])
            )
        what = ("sup |E f(X) − E f(x)|", "|log ratio of losses at t = 9|")[which]
        axes[column].set(xlabel="η", ylabel=what, title=name)
        plot.dress(axes[column])
    caption = (
        "Five drifts of sign descent against the optimizer itself, without sampling (geometric means over noises). Transients: the classic "
        "drift at small η. Late losses on the quadratic: the loss-matching drift. No drift is best everywhere."
    )
    return Figure("sdes_sign", figure, caption)
