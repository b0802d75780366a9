"""Compressed gradients of unlike clients: levels at rest, of the gap f − f*, against the step."""

import numpy as np

from stablestep import compressor, message, theorem
from stablestep.claim import Check, Claim
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import Measured, check, mean
from stablestep.reproduce.rest import at_rest
from stablestep.reproduce.sections.unlike.clients import (
    COUNT,
    DIM,
    MASK,
    OMEGA,
    OPTIMUM,
    PLAIN_MASK,
    SPREAD,
    P,
    clients,
    dcsgd_level,
)
from stablestep.setup import Setup

ETA, SIGMA = 0.1, 0.3
ETAS = (0.1, 0.05, 0.02, 0.01)
IN_QUICK = 1000  # runs, the same everywhere, so that kernels are shared
# By name: the compressor, and whose mask; without gradient noise.
METHODS = {
    "DCSGD, own masks": (MASK, "own"),
    "EF, own masks": (compressor.ErrorFeedback(PLAIN_MASK), "own"),
    "EF, Top-1": (compressor.ErrorFeedback(compressor.TopK(k=1)), "own"),
    "EF21, Top-1": (compressor.EF21(compressor.TopK(k=1)), "own"),
    "sign": (compressor.Sign(), "own"),
    "DCSGD, common mask": (MASK, "common"),
}
NONE = 1e-12  # what is still left of f near 10 after that time


def gap(setup: Setup, eta: float, runs: int, context: Context) -> Measured:
    """E f − f* at rest, in double precision."""
    points = at_rest(setup, eta, 25.0, runs, context.seed, dtype="float64")
    return mean(np.sum((points - OPTIMUM) ** 2, axis=1) / 2)


def floors(context: Context) -> dict[tuple[str, float], Measured]:
    runs = IN_QUICK if context.quick else 200
    chosen = {name: METHODS[name] for name in (list(METHODS)[::5] if context.quick else METHODS)}
    return {
        (name, eta): gap(clients(*how), eta, runs, context)
        for name, how in chosen.items()
        for eta in (ETAS[::2] if context.quick else ETAS)
    }


def dcsgd(context: Context) -> Claim:
    setup = clients(MASK, sigma0=SIGMA)
    found = gap(setup, ETA, IN_QUICK if context.quick else 20_000, context)
    exact = dcsgd_level(ETA, SIGMA, shared=False)
    c = theorem.constants(setup, L1=0.0, dissimilarity=(1.0, SPREAD))
    limit = theorem.step_limit("4.2", c, 1.0, 1 - 1e-12)
    bound = theorem.bound("4.2", c, eta=ETA, phi1=1.0, phi2=1.0, epsilon=ETA / limit, initial_gap=0.0)
    at = f"η = {ETA:g}, σ0 = {SIGMA:g}"
    growth, floor = 1 + OMEGA / COUNT, OMEGA * SPREAD + (1 + OMEGA) * DIM * SIGMA**2
    unaware = exact * (1 - OMEGA * SPREAD / floor)
    return Claim(
        "het.dcsgd",
        "theory of unlike clients, continuing P 4.2",
        "4.2 holds for unlike clients with A → 𝔅² max a_i and B → b̄ + ζ² max a_i.",
        (
            check(found, "=", exact, f"E f − f* at rest, {at}, own masks, simulated, against the formula", margin=0.15),
            _by_moments(setup, exact),
            Check(c.B, 0.0, floor, "=", model_error=1e-6 * floor, label="B of the theorem, ζ² included"),
            Check(limit, 0.0, 2 / growth, "=", model_error=1e-6, label="its limit as ε → 1, against 2/(1 + ω/N)"),
            Check(
                2 * exact,
                0.0,
                bound,
                "=",
                model_error=1e-6,
                label="E‖∇f‖² at rest, against the bound as t → ∞: attained",
            ),
        ),
        detail=f"f_i = ½‖x − c_i‖², N = {COUNT}, d = {DIM}, ω = {OMEGA:g}, ζ² = {SPREAD:.4g}: 𝔅 = 1, and every "
        f"inequality of the proof is an equality. Without the term in ζ² the level would be {unaware:.3g}, not {exact:.3g}.",
    )


def _by_moments(setup: Setup, exact: float) -> Check:
    found = message.moments(setup, ETA, 0.0, 1)
    level = found.attrs["stationary_loss"] - found.attrs["minimum"]
    label = f"E f − f* at rest, σ0 = {SIGMA:g}, own masks, by exact moments, against the formula"
    return Check(level, 0.0, exact, "=", model_error=1e-9, label=label)


def shared_mask(found: dict[tuple[str, float], Measured], context: Context) -> Claim:
    runs = IN_QUICK if context.quick else 20_000
    noisy = gap(clients(MASK, "common", SIGMA), ETA, runs, context)
    exact = dcsgd_level(ETA, SIGMA, shared=True)
    label = f"E f − f* at rest, σ0 = {SIGMA:g}, common mask, simulated, against the formula"
    checks = [check(noisy, "=", exact, label, margin=0.15)]
    for (name, eta), level in found.items():
        if name == "DCSGD, common mask":
            checks.append(
                Check(level[0], 0.0, NONE, "<=", label=f"E f − f*, no gradient noise, η = {eta:g}, common mask")
            )
        if name == "DCSGD, own masks" and eta == ETA:
            label = f"the same with own masks, η = {eta:g}, against half of ηωζ²/(2N(2 − η(1 + ω/N)))"
            checks.append(check(level, ">=", 0.5 * dcsgd_level(eta, 0.0, False), label))
    return Claim(
        "het.shared-mask",
        "theory of unlike clients",
        "A shared mask has no heterogeneity noise.",
        tuple(checks),
        detail="One mask for all clients keeps the mean of their gradients together: its noise is ω‖∇f‖², which vanishes at the minimum.",
    )


def leading(name: str, eta: float) -> float | None:
    """The level at rest where it is known: exactly for DCSGD, as η → 0 for error feedback."""
    if name == "DCSGD, own masks":
        return dcsgd_level(eta, 0.0, False)
    return eta**2 * SPREAD * (1 - P) / (2 * COUNT * P**2) if name == "EF, own masks" else None
