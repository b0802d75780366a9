"""Clipped SGD on x²/2: where it rests under skewed and under symmetric noise."""

import numpy as np

from stablestep import compressor, noise, problem
from stablestep.claim import Claim
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import Measured, check, mean
from stablestep.reproduce.rest import at_rest, mean_square
from stablestep.reproduce.sections.biased.skewed import ONE
from stablestep.setup import Agents, Setup

# c: the point where the mean of clip(x + noise) is 0.
ROOTS = {0.5: 0.875, 1.0: 0.75, 2.0: 0.5, 3.0: 0.25, 6.0: 0.0}
NOISES = {"skewed": ONE, "symmetric": noise.Gaussian(sigma0=2.0)}
ETAS = (0.1, 0.03, 0.01, 0.003)
C = 1.0


def clipped(context: Context) -> dict[tuple[str, float], np.ndarray]:
    """The points at rest, by noise and η, for c = 1."""
    etas = ETAS[:3:2] if context.quick else ETAS
    runs = 2000 if context.quick else 5000
    return {
        (name, eta): at_rest(_setup(each, C), eta, 20.0, runs, context.seed)
        for name, each in NOISES.items()
        for eta in etas
    }


def _setup(own: noise.Noise, threshold: float) -> Setup:
    clip = compressor.LocalClip(compressor.Identity(), threshold=threshold)
    return Setup(problem.Quadratic([1.0]), Agents(1, own, clip))


def clip_bias(points: dict[tuple[str, float], np.ndarray], context: Context) -> Claim:
    checks = []
    for (name, eta), found in points.items():
        if name == "skewed":
            label = f"E x at η = {eta:g}, c = {C:g}, skewed noise, against the root of the mean message"
            checks.append(check(_coordinate(found), "=", ROOTS[C], label, model_error=3 * eta**2))
            label = f"E x² at η = {eta:g}, c = {C:g}, skewed noise, against nine tenths of root²"
            checks.append(check(mean_square(found), ">=", 0.9 * ROOTS[C] ** 2, label))
    for threshold, root in ROOTS.items():
        if threshold != C and not context.quick:
            found = at_rest(_setup(ONE, threshold), 0.01, 20.0, 10_000, context.seed)
            label = f"E x at η = 0.01, c = {threshold:g}, skewed noise, against the root of the mean message"
            checks.append(check(_coordinate(found), "=", root, label, margin=0.1 if root else 0.02))
    largest, smallest = (mean_square(points["symmetric", eta]) for eta in _ends(points))
    ratio = smallest[0] / largest[0]
    stderr = ratio * float(np.hypot(smallest[1] / smallest[0], largest[1] / largest[0]))
    falls = _ends(points)[1] / _ends(points)[0]
    label = f"E x² at the smallest η over that at η = {_ends(points)[0]:g}, symmetric noise of the same variance: falls like η, no floor"
    checks.append(check((ratio, stderr), "<=", 1.5 * falls, label))
    return Claim(
        "clip.bias",
        "Koloskova et al. 2023",
        "Clipped SGD has a floor at any step: under skewed noise. Under symmetric noise it has none.",
        tuple(checks),
        detail="x²/2 with noise that is 4 with probability 1/5 and −1 otherwise, or Gaussian of the same variance 4.",
    )


def _coordinate(points: np.ndarray) -> Measured:
    return mean(points[:, 0])


def _ends(points: dict[tuple[str, float], np.ndarray]) -> tuple[float, float]:
    etas = [eta for _, eta in points]
    return max(etas), min(etas)
