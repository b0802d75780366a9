"""SDE models: weak orders, the drift and volatility of the loss, stationary losses, and the five drifts of sign descent."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

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
    claims += [_sign_new(context), _sign_classic()]
    context.progress(0.75)
    table = compare(
        Setup(problem.Quadratic([1.0]), Agents(1, noise.Gaussian(sigma0=1.0))),
        schedule=schedule.Constant(0.4),
        models=KINDS,
        x0=2.0,
        time=8.0,
        runs=2000 if context.quick else 20_000,
        seed=context.seed,
    )
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
        figures=[_order_figure(orders), _gap_figure(table), _sign_figure(rows)],
        claims=claims,
        parameters={
            "orders": "x⁴/4 with σ = 0.3 from 1 to t = 1; quadratic with eigenvalues 1 and 2; log cosh as a user's function",
            "signs, orders": f"x⁴/4 from about 1, ν = 1, σ = 1, to t = 1, η = {', '.join(f'{eta:g}' for eta in TIGHT)}; no sampling",
            "gap": "x²/2 with σ = 1, η = 0.4, x0 = 2",
        },
        data={"sdes_compare": table},
    )


def _setups() -> dict[str, Setup]:
    def log_cosh(x):
        return jnp.sum(jnp.logaddexp(x, -x))

    return {
        "quartic": Setup(problem.Quartic(1), Agents(1, noise.Gaussian(sigma0=0.3))),
        "user's log cosh": Setup(problem.Function(log_cosh, dim=1), Agents(1, noise.Gaussian(sigma0=0.1))),
    }


def _orders(context: Context) -> dict:
    runs = 10_000 if context.quick else 100_000
    etas = {"quartic": (0.2, 0.1, 0.05, 0.025), "user's log cosh": (0.5, 0.25, 0.125, 0.0625)}
    quadratic = Setup(problem.Quadratic([1.0, 2.0]), Agents(1, noise.Gaussian(sigma0=1.0)))
    found = {
        ("quadratic", kind): quadratic_order(quadratic, kind, (0.02, 0.01, 0.005, 0.0025), np.ones(2), 1.0)
        for kind in KINDS
    }
    for name, setup in list(_setups().items())[: 1 if context.quick else None]:
        for kind in KINDS:
            found[name, kind] = weak_order(setup, kind, etas=etas[name], x0=1.0, time=1.0, runs=runs, seed=context.seed)
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
    for ax, name in zip(axes, names):
        for kind, color in zip(KINDS, plot.CATEGORIES):
            found = orders[name, kind]
            ax.errorbar(
                found.eta,
                found.error,
                2 * found.stderr,
                fmt="o-",
                color=color,
                label=f"{kind}: slope {found.slope:.2f}",
            )
        ax.set(xlabel="η", ylabel="|E f(X) − E f(x)|", xscale="log", yscale="log", title=name)
        _dress(ax)
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
    with jax.enable_x64(True):
        found = float(sde.model(setup, "new", schedule.Constant(eta)).loss_drift(0.0, jnp.asarray(x)))
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


def _quartic_drift_error(eta: float) -> float:
    setup = Setup(problem.Quartic(1), Agents(1, noise.Gaussian(sigma0=0.5)))
    with jax.enable_x64(True):
        drift = float(sde.model(setup, "new", schedule.Constant(eta)).loss_drift(0.0, jnp.ones(1)))
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    after = np.sum(weights * (1 - eta * (1 + 0.5 * nodes)) ** 4 / 4) / np.sqrt(2 * np.pi)
    return abs(drift - (after - 0.25) / eta)


def _volatility(context: Context) -> Claim:
    eta, runs = 0.01, 200_000 if context.quick else 1_000_000
    setup = Setup(problem.Quadratic([1.0, 2.0]), Agents(1, noise.Gaussian(sigma0=1.0)))
    result = simulate(
        setup,
        schedule=schedule.Constant(eta),
        x0=1.0,
        steps=1,
        runs=runs,
        seed=context.seed,
        final=True,
        dtype="float64",
    )
    change = 0.5 * result.final_state.values**2 @ np.array([1.0, 2.0]) - 1.5
    measured = mean((change - change.mean()) ** 2 / eta)
    small = 0.02  # the next order of ηgᵀ(I − ηH)Σ(I − ηH)g, relative
    built = sde.model(setup, "new", schedule.Constant(eta))
    predicted = {
        form: float(built.loss_volatility(0.0, jnp.ones(2), form=form)) ** 2 for form in ("printed", "corrected")
    }
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


def _stationary(context: Context) -> Claim:
    runs, eta = 20_000 if context.quick else 100_000, 0.4
    checks = []
    matrix = np.array([[1.0, 0.4], [0.4, 2.0]])
    rough = noise.Gaussian(sigma0=[1.0, 0.3])
    setup = Setup(problem.Quadratic(matrix), Agents(2, rough))
    covariance = np.diag([1.0, 0.09]) / 2
    predicted = eta / 2 * float(np.trace(np.linalg.solve(2 * np.eye(2) - eta * matrix, covariance)))
    checks += _both(setup, eta, predicted, runs, context.seed, "SGD, H and Σ that do not commute", method="exact")
    omega, sigma0, sigma1, agents, dim = 4.0, 0.5, 0.2, 4, 3
    agent = Agents(agents, noise.Gaussian(sigma0, sigma1), compressor.RandomSparsification(omega=omega))
    growth = 1 + (omega + (1 + omega) * dim * sigma1**2) / agents
    predicted = 0.5 * eta / agents * (1 + omega) * dim * sigma0**2 / (2 - eta * growth)
    checks += _both(
        Setup(problem.Quadratic(np.ones(dim)), agent), eta, predicted, runs, context.seed, "DCSGD", method="euler"
    )
    checks += _threshold(context, omega, runs)
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


def _threshold(context: Context, omega: float, runs: int) -> list[Check]:
    """At the threshold ηλ(1 + A/N) = 2 the mean square neither grows nor shrinks."""
    setup = Setup(problem.Quadratic(np.ones(1)), Agents(2, compressor=compressor.RandomSparsification(omega=omega)))
    eta = 2 / (1 + omega / 2)
    step = schedule.Constant(eta)
    discrete = simulate(setup, schedule=step, x0=1.0, steps=1, runs=runs, seed=context.seed)
    path = sde.integrate(
        sde.model(setup, "new", step), x0=1.0, time=eta / 4, dt=eta / 1024, runs=runs, record=2, seed=context.seed + 1
    )
    checks = []
    for name, result in (("optimizer", discrete), ("new SDE", path)):
        ratio = at_end(result)[0] / 0.5, at_end(result)[1] / 0.5
        checks.append(check(ratio, "=", 1.0, f"mean square over its start at ηλ(1+A/N) = 2, {name}", model_error=0.005))
    return checks


def _sign_setup(f: problem.Problem, df: float = 1.0, sigma: float = 1.0, count: int = 1) -> Setup:
    return Setup(f, Agents(count, noise.StudentT(df, sigma), compressor.Sign()))


def _sign_new(context: Context) -> Claim:
    matrix = np.array([[2.0, 0.8, 0.0], [0.8, 1.5, -0.5], [0.0, -0.5, 1.0]])
    groups = [Agents(1, noise.StudentT(1.0, scale), compressor.Sign()) for scale in (0.5, 2.0)]
    setup, eta, x = Setup(problem.Quadratic(matrix), *groups), 0.5, np.array([0.3, -0.8, 0.5])
    runs = 200_000 if context.quick else 1_000_000
    result = simulate(
        setup, schedule=schedule.Constant(eta), x0=x, steps=1, runs=runs, seed=context.seed, final=True, dtype="float64"
    )
    after = np.einsum("ri,ij,rj->r", result.final_state.values, matrix, result.final_state.values) / 2
    measured = mean((after - x @ matrix @ x / 2) / eta)
    with jax.enable_x64(True):
        drifts = {
            form: float(sde.model(setup, "new", schedule.Constant(eta), form=form).loss_drift(0.0, jnp.asarray(x)))
            for form in ("printed", "corrected")
        }
    label = "E[f(x₁) − f(x)]/η of DSignSGD against the Itô drift of the loss"
    return Claim(
        "sde.sign-new",
        "P 134, A.2",
        "P Eq. 134 matches the discrete one-step loss drift of DSignSGD.",
        (check(measured, "=", drifts["printed"], label),),
        (check(measured, "=", drifts["corrected"], label),),
        detail="On a quadratic in three dimensions with two agents; corrected: c = diag(m/g) H m.",
    )


@eqx.filter_jit
def _on_grid(built: sde.Model, grid):
    """The drift and the mean message at each point of a grid in one dimension."""
    return jax.vmap(lambda x: (built.drift(0.0, x[None])[0], built.law.mean(x[None])[0]))(grid)


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
    for kind, form in kinds:
        with jax.enable_x64(True):
            built = sde.model(_sign_setup(f, df, sigma), kind, schedule.Constant(eta), form=form)
            drift, mean_sign = map(np.asarray, _on_grid(cast(built, np.dtype("float64")), jnp.asarray(grid)))
        variance = eta * (1 - mean_sign**2)
        found[kind, form] = continuous_losses(value, drift, variance, grid, eta / sub, steps * sub, starts)[::sub]
    return found


def _sign_classic() -> Claim:
    pair = (("classic", "printed"), ("classic", "corrected"))
    errors = {key: [] for key in pair}
    for eta in TIGHT:
        found = _sign_losses(problem.Quartic(1), pair, 1.0, 1.0, eta, 1.0, 1.0, fine=2)
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
        detail="x⁴/4 in one dimension, ν = 1, σ = 1, without sampling: backward recursion against Crank-Nicolson.",
    )


def _sign_table(context: Context) -> dict:
    """For each landscape and η: the geometric mean over noises of sup |E f − E f| and of |log stationary ratio|, by drift."""
    noises = [(1.0, 1.0)] if context.quick else [(1.0, 0.25), (1.0, 1.0), (1.0, 4.0), (5.0, 1.0)]
    rows = {}
    for name, f in (("x²/2", problem.Quadratic([1.0])), ("x⁴/4", problem.Quartic(1))):
        for eta in (0.03, 0.1, 0.3):
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
        _dress(axes[column])
    caption = (
        "Five drifts of sign descent against the optimizer itself, without sampling (geometric means over noises). Transients: the classic "
        "drift at small η. Late losses on the quadratic: the loss-matching drift. No drift is best everywhere."
    )
    return Figure("sdes_sign", figure, caption)


def _gap_figure(table) -> Figure:
    figure, axes = plot.panels(1, 2)
    axes[0].plot(
        table.time,
        table.loss_discrete[0] if "model" in table.loss_discrete.dims else table.loss_discrete,
        "o",
        color="black",
        label="SGD",
    )
    for kind, color in zip(KINDS, plot.CATEGORIES):
        row = table.sel(model=kind)
        axes[0].plot(row.time, row.loss_model, color=color, lw=1.8, label=kind)
        axes[1].plot(row.time, row.model_error, color=color, lw=1.8, label=kind)
        axes[1].fill_between(row.time, row.model_error_low, row.model_error_high, color=color, alpha=0.2, lw=0)
    axes[0].set(xlabel="t = kη", ylabel="mean of f(x)", yscale="log", title="x²/2 with additive noise, η = 0.4")
    axes[1].set(xlabel="t = kη", ylabel="model error, 95 % interval", title="what is left of the gap for the model")
    for ax in axes:
        _dress(ax)
    caption = (
        "SGD and its three SDEs. The stationary loss of the new SDE is that of SGD; "
        "its transient is farther off than the classic one's."
    )
    return Figure("sdes_gap", figure, caption)


def _dress(ax) -> None:
    ax.grid(alpha=0.25, lw=0.6, which="both")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, framealpha=0.8)
