"""SDE models: weak orders, the drift and volatility of the loss, stationary losses, and the five drifts of sign descent."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from stablestep import compressor, noise, plot, problem, schedule, sde
from stablestep.claim import Check, Claim
from stablestep.compare import compare, quadratic_order, weak_order
from stablestep.record import cast
from stablestep.report import Figure, Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.kolmogorov import continuous_losses, discrete_losses
from stablestep.reproduce.measure import at_end, check, mean
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate

KINDS, ORDERS = ("first", "classic", "new"), (1, 2, 1)
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
TIGHT = (0.04, 0.02, 0.01, 0.005)


def run(context: Context) -> Section:
    orders = _orders(context)
    context.progress(0.3)
    claims = [_order(orders), _loss_drift(), _volatility(context), _stationary(context)]
    context.progress(0.6)
    claims += [_sign_new(context), _sign_classic(_df(context))]
    context.progress(0.75)
    tables = {} if context.quick else {"sdes_compare": _gap(context)}
    rows = _sign_table(context)
    return Section(
        id="sdes",
        title="The optimizers as SDEs",
        paragraphs=[
            "As weak approximations the first-order, classic and new SDE have orders 1, 2, 1. What the new SDE has instead is the drift of "
            "the loss at each instant, and so, on quadratics, the stationary loss and the mean-square threshold of the optimizer, exactly.",
            "For signs the printed new SDE (P Eq. 134) does not have that property: its coefficient is half of what is needed with one "
            "agent, Ξ' stands on the wrong side of the Hessian, and flipping the sign of the classic correction matches the loss only "
            "where the mean message is the gradient. The drift called new here, c = diag(m/g) H m, does match. The table of drifts shows "
            "that no drift is best everywhere: the classic one on transients at small steps, the loss-matching one for stationary losses "
            "on quadratics.",
        ],
        figures=[_order_figure(orders), *map(_gap_figure, tables.values()), _sign_figure(rows)],
        claims=claims,
        parameters=_parameters(context),
        data=tables,
    )


def _parameters(context: Context) -> dict[str, str | float]:
    sampled = {
        "orders, sampled": "x⁴/4 with σ = 0.3 from 1 to t = 1; log cosh as a user's function",
        "gap": "x²/2 with σ = 1, η = 0.4, x0 = 2",
    }
    etas = ", ".join(f"{eta:g}" for eta in TIGHT)
    return {
        "orders": "quadratic with eigenvalues 1 and 2",
        "signs, orders": f"x⁴/4 from about 1, ν = {_df(context):g}, σ = 1, to t = 1, no sampling, η = {etas}",
        **({} if context.quick else sampled),
    }


def _setups() -> dict[str, Setup]:
    def log_cosh(x):
        return jnp.sum(jnp.logaddexp(x, -x))

    return {
        "quartic": Setup(problem.Quartic(1), Agents(1, noise.Gaussian(sigma0=0.3))),
        "user's log cosh": Setup(problem.Function(log_cosh, dim=1), Agents(1, noise.Gaussian(sigma0=0.1))),
    }


def _orders(context: Context) -> dict:
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


def _order(orders) -> Claim:
    checks = []
    for (name, kind), found in orders.items():
        stderr = (found.slope_high - found.slope_low) / 3.92
        label = f"slope, {name}, {kind} (95 % interval {found.slope_low:.3f} to {found.slope_high:.3f})"
        checks.append(Check(found.slope, stderr, ORDERS[KINDS.index(kind)], "=", 0.15, label=label))
    return Claim(
        "sde.order",
        "P A.5, Def. 3.4",
        "Weak orders of the three SDEs of SGD: 1, 2, 1.",
        tuple(checks),
        detail="Slopes of |E f(X) − E f(x)| over finite ranges of η; the allowance of 0.15 is for terms of higher order.",
    )


def _order_figure(orders) -> Figure:
    names = list(dict.fromkeys(name for name, _ in orders))
    figure, axes = plot.panels(1, len(names))
    axes = np.atleast_1d(axes)
    for (name, kind), found in orders.items():
        label, color = f"{kind}: slope {found.slope:.2f}", plot.CATEGORIES[KINDS.index(kind)]
        ax = axes[names.index(name)]
        ax.errorbar(found.eta, found.error, 2 * found.stderr, fmt="o-", color=color, label=label)
    for ax, name in zip(axes, names):
        ax.set(xlabel="η", ylabel="|E f(X) − E f(x)|", xscale="log", yscale="log", title=name)
        plot.plain_ticks(ax.xaxis)
        plot.dress(ax)
    caption = (
        "Weak error of the three SDEs against η: exact on the quadratic, on paths coupled to the optimizer elsewhere."
    )
    return Figure("sdes_order", figure, caption)


def _loss_drift() -> Claim:
    matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    setup = Setup(
        problem.Quadratic(matrix), Agents(2, noise.Gaussian(sigma0=0.7), compressor.RandomSparsification(omega=3.0))
    )
    x, eta = np.array([1.0, -2.0]), 0.3
    found = _ito(setup, eta, x)
    gradient = matrix @ x
    second = np.outer(gradient, gradient) + np.diag(3.0 * (gradient**2 + 0.49) + 0.49) / 2
    exact = float(-gradient @ gradient + eta / 2 * np.sum(matrix * second))
    checks = [
        Check(found, 0.0, exact, "=", 1e-12, label="DCSGD on a quadratic: Itô drift against E[f(x₁) − f(x)]/η, exact")
    ]
    errors = [_quartic_drift_error(step) for step in TIGHT]
    slope = float(np.polyfit(np.log(TIGHT), np.log(errors), 1)[0])
    checks.append(Check(slope, 0.0, 2.0, "=", 0.1, label="SGD on x⁴/4: slope of the difference against η"))
    return Claim(
        "sde.loss-drift",
        "P 27, 50-51",
        "Itô on the new SDE gives the drift of the discrete loss up to O(η²).",
        tuple(checks),
    )


def _ito(setup: Setup, eta: float, x: np.ndarray, form: str = "corrected") -> float:
    """The drift of the loss of the new SDE at x."""
    with jax.enable_x64(True):
        built = sde.model(setup, "new", schedule.Constant(eta), form=form)
        return float(_loss_drift_at(cast(built, np.dtype("float64")), x))


@eqx.filter_jit
def _loss_drift_at(built: sde.Model, x):
    return built.loss_drift(0.0, x)


def _quartic_drift_error(eta: float) -> float:
    setup = Setup(problem.Quartic(1), Agents(1, noise.Gaussian(sigma0=0.5)))
    drift = _ito(setup, eta, np.ones(1))
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    after = np.sum(weights * (1 - eta * (1 + 0.5 * nodes)) ** 4 / 4) / np.sqrt(2 * np.pi)
    return abs(drift - (after - 0.25) / eta)


def _volatility(context: Context) -> Claim:
    eta, runs = 0.01, 50_000 if context.quick else 1_000_000
    setup = Setup(problem.Quadratic([1.0, 2.0]), Agents(1, noise.Gaussian(sigma0=1.0)))
    result = simulate(
        setup,
        schedule=schedule.Constant(eta),
        x0=1.0,
        steps=1,
        runs=runs,
        seed=context.seed,
        final=True,
    )
    change = 0.5 * result.final_state.values**2 @ np.array([1.0, 2.0]) - 1.5
    measured = mean((change - change.mean()) ** 2 / eta)
    small = 0.02  # the next order of ηgᵀ(I − ηH)Σ(I − ηH)g, relative
    built = sde.model(setup, "new", schedule.Constant(eta))
    predicted = {form: float(_loss_volatility_at(built, np.ones(2), form)) ** 2 for form in ("printed", "corrected")}
    label = "Var[f(x₁) − f(x)]/η of the optimizer"
    return Claim(
        "sde.loss-volatility",
        "P 52",
        "The volatility of the loss is G² = gᵀΣg.",
        (check(measured, "=", predicted["printed"], label),),
        (check(measured, "=", predicted["corrected"], label, model_error=2 * small * predicted["corrected"]),),
        error="misprint",
        detail="G² = η gᵀΣg: the η is missing in print.",
    )


@eqx.filter_jit
def _loss_volatility_at(built: sde.Model, x, form: str):
    return built.loss_volatility(0.0, x, form=form)


def _stationary(context: Context) -> Claim:
    runs, eta = 10_000 if context.quick else 100_000, 0.4
    checks = []
    matrix = np.array([[1.0, 0.4], [0.4, 2.0]])
    rough = noise.Gaussian(sigma0=[1.0, 0.3])
    setup = Setup(problem.Quadratic(matrix), Agents(2, rough))
    covariance = np.diag([1.0, 0.09]) / 2
    predicted = eta / 2 * float(np.trace(np.linalg.solve(2 * np.eye(2) - eta * matrix, covariance)))
    checks += _both(setup, eta, predicted, runs, context.seed, "SGD, H and Σ that do not commute", method="exact")
    omega, sigma0, sigma1, agents, dim = 4.0, 0.5, 0.2, 4, 3

    def compressed(sigma0: float) -> Setup:
        sparse = compressor.RandomSparsification(omega=omega)
        return Setup(problem.Quadratic(np.ones(dim)), Agents(agents, noise.Gaussian(sigma0, sigma1), sparse))

    growth = 1 + (omega + (1 + omega) * dim * sigma1**2) / agents
    predicted = 0.5 * eta / agents * (1 + omega) * dim * sigma0**2 / (2 - eta * growth)
    checks += _both(compressed(sigma0), eta, predicted, runs, context.seed, "DCSGD", method="euler")
    checks += _threshold(compressed(0.0), 2 / growth, runs, context.seed)
    return Claim(
        "sde.stationary-quadratic",
        "P 27, 106",
        "On quadratics the new SDE has the stationary loss and the mean-square threshold of the discrete method (SGD and DCSGD).",
        tuple(checks),
    )


def _both(setup, eta, predicted, runs, seed, name, method) -> list[Check]:
    step = schedule.Constant(eta)
    discrete = simulate(setup, schedule=step, x0=0.0, steps=100, runs=runs, record=2, seed=seed)
    path = sde.integrate(
        sde.model(setup, "new", step), x0=0.0, time=100 * eta, runs=runs, record=2, method=method, seed=seed + 1
    )
    error = float(path.integration_error[-1])
    stderr = float(np.hypot(path.loss_stderr[-1], path.integration_error_stderr[-1]))
    return [
        check(at_end(discrete), "=", predicted, f"stationary loss of the optimizer, {name}"),
        check((float(path.loss_mean[-1]) - error, stderr), "=", predicted, f"stationary loss of the new SDE, {name}"),
    ]


def _threshold(setup: Setup, eta: float, runs: int, seed: int) -> list[Check]:
    """At the threshold ηλ(1 + A/N) = 2 and without additive noise the mean square neither grows nor shrinks."""
    step = schedule.Constant(eta)
    discrete = simulate(setup, schedule=step, x0=1.0, steps=1, runs=runs, seed=seed)
    built = sde.model(setup, "new", step)
    path = sde.integrate(built, x0=1.0, time=eta / 4, dt=eta / 1024, runs=runs, record=2, seed=seed + 1, error=False)
    checks = []
    for name, result in (("optimizer", discrete), ("new SDE", path)):
        start = float(result.loss_mean[0])
        ratio = at_end(result)[0] / start, at_end(result)[1] / start
        checks.append(check(ratio, "=", 1.0, f"mean square over its start at ηλ(1+A/N) = 2, {name}", model_error=0.005))
    return checks


def _sign_setup(f: problem.Problem, df: float = 1.0, sigma: float = 1.0, count: int = 1) -> Setup:
    return Setup(f, Agents(count, noise.StudentT(df, sigma), compressor.Sign()))


def _df(context: Context) -> float:
    """ν of the noise on signs; the distribution function of ν = 2 is elementary, that of ν = 1 takes long to compile in float64."""
    return 2.0 if context.quick else 1.0


def _sign_new(context: Context) -> Claim:
    matrix = np.array([[2.0, 0.8, 0.0], [0.8, 1.5, -0.5], [0.0, -0.5, 1.0]])
    groups = [Agents(1, noise.StudentT(_df(context), scale), compressor.Sign()) for scale in (0.5, 2.0)]
    setup, eta, x = Setup(problem.Quadratic(matrix), *groups), 0.5, np.array([0.3, -0.8, 0.5])
    runs = 50_000 if context.quick else 1_000_000
    result = simulate(setup, schedule=schedule.Constant(eta), x0=x, steps=1, runs=runs, seed=context.seed, final=True)
    after = np.einsum("ri,ij,rj->r", result.final_state.values, matrix, result.final_state.values) / 2
    measured = mean((after - x @ matrix @ x / 2) / eta)
    drifts = {form: _ito(setup, eta, x, form) for form in ("printed", "corrected")}
    label = "E[f(x₁) − f(x)]/η of DSignSGD against the Itô drift of the loss"
    return Claim(
        "sde.sign-new",
        "P 134, A.2",
        "P Eq. 134 matches the discrete one-step loss drift of DSignSGD.",
        (check(measured, "=", drifts["printed"], label),),
        (check(measured, "=", drifts["corrected"], label),),
        detail=f"On a quadratic in three dimensions with two agents, ν = {_df(context):g}; corrected: c = diag(m/g) H m.",
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


def _sign_classic(df: float) -> Claim:
    pair = (("classic", "printed"), ("classic", "corrected"))
    errors = {key: [] for key in pair}
    for eta in TIGHT:
        found = _sign_losses(problem.Quartic(1), pair, df, 1.0, eta, 1.0, 1.0, fine=2)
        for key in pair:
            errors[key].append(float(np.max(np.abs(found[key] - found["optimizer"]))))
    slopes = {key[1]: float(np.polyfit(np.log(TIGHT), np.log(values), 1)[0]) for key, values in errors.items()}
    label = "slope of sup |E f(X) − E f(x)| against η"
    return Claim(
        "sde.sign-classic",
        "S2 102",
        "S2's second-order SDE of DSignSGD is second order.",
        (Check(slopes["printed"], 0.0, 2.0, "=", 0.2, label=f"{label}, S2 Eq. 102"),),
        (Check(slopes["corrected"], 0.0, 2.0, "=", 0.2, label=f"{label}, −(η/2) J_m m"),),
        detail=f"x⁴/4 in one dimension, ν = {df:g}, σ = 1, without sampling: backward recursion against Crank-Nicolson.",
    )


def _sign_table(context: Context) -> dict:
    """For each landscape and η: the geometric mean over noises of sup |E f − E f| and of |log stationary ratio|, by drift."""
    noises = [(_df(context), 1.0)] if context.quick else [(1.0, 0.25), (1.0, 1.0), (1.0, 4.0), (5.0, 1.0)]
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


def _sign_figure(rows) -> Figure:
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


def _gap(context: Context) -> xr.Dataset:
    return compare(
        Setup(problem.Quadratic([1.0]), Agents(1, noise.Gaussian(sigma0=1.0))),
        schedule=schedule.Constant(0.4),
        models=KINDS,
        x0=2.0,
        time=8.0,
        runs=20_000,
        seed=context.seed,
    )


def _gap_figure(table) -> Figure:
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
