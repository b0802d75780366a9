"""What error feedback, EF21 and EF21 after an average make of gradient noise, at rest on x²/2."""

from stablestep.claim import Check, Claim
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import Measured, check, mean
from stablestep.reproduce.rest import at_rest
from stablestep.reproduce.sections.feedback.setups import edge, ef, ef21, level, mask, setup
from stablestep.sde.memory import held_average

P, TINY = 0.1, 1e-5  # p, η as good as 0
ETA, COUNT, DIM = 0.02, 4, 64
MUS = (1.0, 0.3, 0.1, 0.03, 0.01)
STEP = 0.005  # η of what is simulated
EDGES = {1.0: 0.56, 0.5: 0.4959108633, 0.1: 0.3821015491}  # by μ, p = ¼, N = 2


def no_omega(context: Context) -> Claim:
    omega, checks = 1 / P - 1, []
    methods = {
        "EF": (ef(P), 1.0, 0.0014994472),
        "DCSGD": (mask(P, scaled=True), 1 + omega, 0.0129198966),
        "EF21-SGD": (ef21(P), (2 - P) / P, 0.0249447208),
    }
    for name, (chosen, predicted, at_eta) in methods.items():
        label = f"E f at rest over ησ²/(4N) by exact moments, {name}, p = {P:g}, η = {TINY:g}"
        checks.append(
            Check(level(chosen, COUNT, TINY), 0.0, predicted, "=", model_error=100 * TINY * predicted, label=label)
        )
        if not context.quick or name == "EF":
            label = f"E f at rest by simulation, {name}, p = {P:g}, N = {COUNT}, η = {ETA:g}"
            checks.append(check(_simulated(chosen, COUNT, ETA, context), "=", at_eta, label, margin=0.2))
    return Claim(
        "ef.no-omega",
        "theory of linear memories",
        "Error feedback removes ω from the stationary noise.",
        tuple(checks),
        detail="At leading order in η: EF rests where uncompressed SGD does. EF21-SGD does not: it multiplies the "
        "noise by (2−p)/p, nearly twice the 1+ω of unbiased compression.",
    )


def _simulated(chosen, count: int, eta: float, context: Context) -> Measured:
    """E x²/2 of one coordinate."""
    runs = 100 if context.quick else 600
    points = at_rest(setup(chosen, count, sigma0=1.0, dim=DIM), eta, 8.0, runs, context.seed)
    return mean((points**2).mean(axis=1) / 2)


def amplifications(context: Context) -> dict[float, Measured]:
    """κ by μ from simulation at a small step."""
    mus = (0.1,) if context.quick else MUS[:4]
    found = {mu: _simulated(ef21(P, mu), 1, STEP, context) for mu in mus}
    return {mu: (value * 4 / STEP, stderr * 4 / STEP) for mu, (value, stderr) in found.items()}


def repairs(found: dict[float, Measured]) -> Claim:
    checks = []
    for mu in MUS:
        kappa = held_average(mu, P)
        label = f"E f at rest over ησ²/4 by exact moments, p = {P:g}, μ = {mu:g}, η = {TINY:g}, against κ(μ, p)"
        checks.append(Check(level(ef21(P, mu), 1, TINY), 0.0, kappa, "=", model_error=500 * TINY * kappa, label=label))
    checks.append(
        Check(level(ef21(P, MUS[-1]), 1, TINY), 0.0, 1.02, "<=", label=f"the same at μ = {MUS[-1]:g}: no amplification")
    )
    for mu, measured in found.items():
        exact = level(ef21(P, mu), 1, STEP)
        label = f"E f at rest over ησ²/4 by simulation, p = {P:g}, μ = {mu:g}, η = {STEP:g}, against exact moments"
        checks.append(check(measured, "=", exact, label, margin=0.2))
    for mu, value in EDGES.items():
        label = f"edge by exact moments, p = ¼, N = 2, μ = {mu:g}: momentum does not raise it"
        checks.append(Check(edge(ef21(0.25, mu), 2), 0.0, value, "=", model_error=1e-9, label=label))
    return Claim(
        "ef21.momentum-repairs",
        "Fatkhullin et al. 2023",
        "Momentum removes the noise amplification of EF21-SGD.",
        tuple(checks),
        detail="κ(μ, p) = (μ/(2−μ))[(2−p)/p + 2((1−μ)/μ) p/(p + μ − pμ)] falls from (2−p)/p at μ = 1 to 1 as μ → 0. "
        "The critical step does not gain: with two agents it falls from 0.56 to 0.38.",
    )
