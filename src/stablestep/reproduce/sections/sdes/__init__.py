"""SDE models: weak orders, the drift and volatility of the loss, stationary losses, and the five drifts of sign descent."""

from stablestep.report import Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.sections.sdes.gap import gap_figure, gap_over_time
from stablestep.reproduce.sections.sdes.loss import TIGHT, loss_drift, volatility
from stablestep.reproduce.sections.sdes.orders import order_claim, order_figure, orders_of
from stablestep.reproduce.sections.sdes.signs import sign_classic, sign_figure, sign_new, sign_table, tail
from stablestep.reproduce.sections.sdes.stationary import stationary

WORDS = [
    "As weak approximations the first-order, classic and new SDE have orders 1, 2, 1. What the new SDE has instead is the drift of "
    "the loss at each instant, and so, on quadratics, the stationary loss and the mean-square threshold of the optimizer, exactly.",
    "For signs the printed new SDE (P Eq. 134) does not have that property: its coefficient is half of what is needed with one "
    "agent, Ξ' stands on the wrong side of the Hessian, and flipping the sign of the classic correction matches the loss only "
    "where the mean message is the gradient. The drift called new here, c = diag(m/g) H m, does match. The table of drifts shows "
    "that no drift is best everywhere: the classic one on transients at small steps, the loss-matching one for stationary losses "
    "on quadratics.",
]


def run(context: Context) -> Section:
    orders = orders_of(context)
    context.progress(0.3)
    claims = [order_claim(orders), loss_drift(), volatility(context), stationary(context)]
    context.progress(0.6)
    claims += [sign_new(context), sign_classic(tail(context))]
    context.progress(0.75)
    tables = {} if context.quick else {"sdes_compare": gap_over_time(context)}
    rows = sign_table(context)
    return Section(
        id="sdes",
        title="The optimizers as SDEs",
        paragraphs=WORDS,
        figures=[order_figure(orders), *map(gap_figure, tables.values()), sign_figure(rows)],
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
        "signs, orders": f"x⁴/4 from about 1, ν = {tail(context):g}, σ = 1, to t = 1, no sampling, η = {etas}",
        **({} if context.quick else sampled),
    }
