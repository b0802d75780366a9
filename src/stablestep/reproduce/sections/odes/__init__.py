"""P Appendix A: the three ODEs of gradient descent on a quadratic and on the quartic, their expansions, and their orders."""

from stablestep.report import Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.sections.odes.orders import ETAS, errors_of, figure_of, loss_order_claim, order_claim
from stablestep.reproduce.sections.odes.quadratic import LAMBDA, STEPS, on_quadratic
from stablestep.reproduce.sections.odes.quartic import on_quartic, quartic_figure
from stablestep.reproduce.sections.odes.taylor import expansions

WORDS = [
    "P Appendix A compares gradient descent with gradient flow (first), with the classic second-order ODE ẋ = −g − (η/2)Hg, and "
    "with its new one, ẋ = −g + (η/2)Hg. The new one has the stability threshold of gradient descent on quadratics, exactly; it is "
    "not more accurate: as an approximation of the iterates and of the loss it is of first order, with twice the error of "
    "gradient flow.",
    "On x⁴/4 gradient descent contracts for ηx² < 2, the new ODE for ηx² < 2/3 only; beyond it explodes in finite time. The "
    "principal flow, drawn for comparison, is exact on quadratics and turns complex beyond η = 1/λ.",
]


def run(context: Context) -> Section:
    claims = [*on_quadratic()]
    context.progress(0.3)
    claims += on_quartic()
    context.progress(0.6)
    claims.append(expansions())
    errors = errors_of()
    claims += [order_claim(errors), loss_order_claim(errors)]
    return Section(
        id="odes",
        title="Gradient descent as an ODE",
        paragraphs=WORDS,
        figures=[figure_of(errors), quartic_figure()],
        claims=claims,
        parameters={
            "quadratic": f"λx²/2, λ = {LAMBDA:g}, x0 = 1, η as a fraction of 2/λ: {', '.join(f'{s:g}' for s in STEPS)}",
            "quartic": "x⁴/4, η = 1, by ηx0²",
            "integrator": "DOP853 with a relative tolerance of 1e-11 (the library's own `sde.integrate` has diffrax's Tsit5)",
            "orders": f"x⁴/4 from x0 = 1 to t = 1, η = {', '.join(f'{eta:g}' for eta in ETAS)}",
        },
    )
