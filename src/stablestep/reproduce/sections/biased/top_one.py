"""Top-1 in the plane under noise, with four memories: E‖x‖² at rest against the step."""

import numpy as np

from stablestep import compressor, noise, problem
from stablestep.claim import Claim
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import check, mean
from stablestep.reproduce.rest import at_rest, mean_square
from stablestep.reproduce.sections.biased.skewed import TWO
from stablestep.setup import Agents, Setup

TOP = compressor.TopK(k=1)
METHODS = {
    "Top-1": TOP,
    "EF": compressor.ErrorFeedback(TOP),
    "EF21-SGD": compressor.EF21(TOP),
    "EF21-SGDM, μ = 0.1": compressor.Momentum(compressor.EF21(TOP), beta=0.9),
}
NOISES = {"skewed": TWO, "symmetric": noise.Gaussian(sigma0=np.sqrt(0.5))}
ETAS = (0.1, 0.03, 0.01, 0.003, 0.001)
FLOOR = -0.065  # of the first coordinate of E x, as η → 0 (to a tenth)
Rests = dict[tuple[str, str, float], np.ndarray]


def rests(context: Context) -> Rests:
    """The points at rest, by method, noise and η."""
    runs = 500 if context.quick else 2000
    return {
        (method, name, eta): at_rest(_setup(memory, own), eta, 10.0, runs, context.seed)
        for method, memory in METHODS.items()
        for name, own in NOISES.items()
        for eta in (ETAS[:4:3] if context.quick else ETAS)
        if not context.quick or method == "EF21-SGD" or (name == "skewed" and method == "EF")
    }


def _setup(memory: compressor.Compressor, own: noise.Noise) -> Setup:
    return Setup(problem.Quadratic([1.0, 1.0]), Agents(1, own, memory))


def floor(found: Rests) -> Claim:
    checks = []
    for (method, name, eta), points in found.items():
        if method == "EF21-SGD" and name == "skewed" and eta <= 0.01:
            label = f"E x₁ of EF21-SGD at η = {eta:g}, skewed noise (it stays as η → 0)"
            checks.append(check(mean(points[:, 0]), "=", FLOOR, label, model_error=0.0065))
            label = f"E‖x‖² of EF21-SGD at η = {eta:g}, skewed noise"
            checks.append(check(mean_square(points), ">=", 0.003, label))
    least = min(eta for *_, eta in found)
    for method, name in (("EF21-SGD", "symmetric"), ("EF", "skewed")):
        label = f"E‖x‖² of {method} over η at η = {least:g}, {name} noise: no floor"
        square, stderr = mean_square(found[method, name, least])
        checks.append(check((square / least, stderr / least), "<=", 1.0, label))
    return Claim(
        "ef21.floor",
        "Fatkhullin et al. 2023",
        "EF21-SGD with Top-1 does not converge however small the step: under the skewed noise of its counterexample. "
        "Under symmetric noise it does.",
        tuple(checks),
        detail="‖x‖²/2 in the plane, noise of total variance 1. Error feedback (EF) has no floor under either noise; "
        "EF21 after an average of gradients (EF21-SGDM) has one that is smaller with μ; plain Top-1 has the largest under skewed noise.",
    )
