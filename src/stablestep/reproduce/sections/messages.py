"""The law of the mean message: compression error, covariances, signs, and the equivalence of DCSGD and DSGD."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from stablestep import compressor, message, noise, plot, problem
from stablestep.claim import Claim
from stablestep.noise import student
from stablestep.record import cast
from stablestep.report import Figure, Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.measure import check, mean
from stablestep.setup import Agents, Setup
from stablestep.stream import Family, Stream
from stablestep.theorem import Constants, bound, step_limit

GRADIENT = np.array([1.0, -0.5, 2.0, 0.3, -1.2, 0.05, 0.7, -2.5])
DIM, SIGMA, OMEGA = len(GRADIENT), 0.6, 3.0
SCALES = (1.0, 3.0)
DFS = (1.0, 2.5, np.inf)
# With whether the bound on the error is an equality; the quick run takes the first three.
COMPRESSORS = (
    (compressor.RandomSparsification(omega=OMEGA), True),
    (compressor.RandK(k=2), True),
    (compressor.QSGD(levels=1), False),
    (compressor.RandK(k=4, block=2), True),
    (compressor.TernGrad(), False),
    (compressor.NaturalCompression(), False),
)
WORDS = [
    "Every optimizer here moves by the mean of its agents' messages, so the optimizer and its continuous models share one law. "
    "Each formula of the papers is compared with messages drawn agent by agent.",
    "(127) is the covariance of signs under noise with independent coordinates. The multivariate t_ν(0, I) that the papers write "
    "shares one χ² between all coordinates, and the signs of different coordinates are then correlated for every ν < ∞.",
]


def run(context: Context) -> Section:
    samples = 100_000 if context.quick else 1_000_000
    sampler = _Sampler(samples, context.seed)
    compressors, dfs = (COMPRESSORS[:3], DFS[::2]) if context.quick else (COMPRESSORS, DFS)
    claims = [_compression(sampler, compressors)]
    context.progress(0.4)
    claims.append(_covariance(sampler))
    context.progress(0.6)
    claims += [_sign_mean(sampler, dfs), _sign_covariance(sampler, dfs, context.quick)]
    context.progress(0.9)
    claims.append(_equivalence(sampler))
    return Section(
        id="messages",
        title="The law of the mean message",
        paragraphs=WORDS,
        figures=[_figure(sampler, dfs)],
        claims=claims,
        parameters={
            "∇f(x)": ", ".join(f"{g:g}" for g in GRADIENT),
            "σ of Gaussian noise": SIGMA,
            "ω": OMEGA,
            "scales of the two sign agents": ", ".join(f"{scale:g}" for scale in SCALES),
            "samples": samples,
        },
    )


class _Sampler:
    """Draws mean messages at a point whose gradient is `GRADIENT`, always agent by agent; every call has randomness of its own."""

    def __init__(self, samples: int, seed: int):
        self.samples, self.seed, self.calls = samples, seed, np.uint32(0)

    def __call__(self, *groups: Agents) -> np.ndarray:
        self.calls += np.uint32(1)  # an array for JAX, so that the next call does not compile anew
        # The gradient of ½‖x‖² at x is x itself.
        law = message.law(Setup(problem.Quadratic(np.ones(DIM)), *groups), sampling="agents")
        numbers = np.arange(self.samples, dtype=np.uint32)
        return np.asarray(_messages(cast(law, jnp.float32), Stream.seed(self.seed), self.calls, numbers), np.float64)


@eqx.filter_jit
def _messages(law: message.Law, root: Stream, call, numbers):
    own, point = root.child(call, Family.BATCH), jnp.asarray(GRADIENT, jnp.float32)
    return jax.vmap(lambda number: law.draw(own.child(number, Family.RUN), point)[1])(numbers)


def _compression(sampler: _Sampler, compressors) -> Claim:
    noisy = noise.Gaussian(sigma0=SIGMA)
    checks = []
    for chosen, equal in compressors:
        error = np.sum((sampler(Agents(1, noisy, chosen)) - GRADIENT) ** 2, axis=1)
        omega = chosen.omega(DIM)
        predicted = omega * np.sum(GRADIENT**2) + DIM * SIGMA**2 * (1 + omega)
        label = f"E‖C(g) − ∇f‖², {type(chosen).__name__}, ω = {omega:.3g}"
        checks.append(check(mean(error), "=" if equal else "<=", float(predicted), label, margin=0.05))
    return Claim(
        "message.compression-mse",
        "P B.2 proofs",
        "E‖C(g_γ) − ∇f‖² ≤ ω‖∇f‖² + dσ²(1+ω), with equality for Bernoulli and Rand-k.",
        tuple(checks),
    )


def _covariance(sampler: _Sampler) -> Claim:
    omegas, sigmas = (OMEGA, 1.0), (SIGMA, 1.0)
    groups = [
        Agents(1, noise.Gaussian(sigma0=s), compressor.RandomSparsification(omega=w))
        for s, w in zip(sigmas, omegas, strict=True)
    ]
    drawn = sampler(*groups) - GRADIENT
    # E[ΦΦᵀ] + Σ_i of each agent, written out: random sparsification adds ω (g² + σ²) to the variance σ² of the gradient.
    each = [np.diag(w * (GRADIENT**2 + s**2) + s**2) for s, w in zip(sigmas, omegas, strict=True)]
    predicted = sum(each) / len(each) / len(groups)
    checks = []
    for name, direction in _directions().items():
        product = np.square(drawn @ direction)
        checks.append(
            check(mean(product), "=", float(direction @ predicted @ direction), f"variance along {name}", margin=0.05)
        )
    return Claim(
        "message.dcsgd-covariance",
        "P 88, 107",
        "The covariance of the mean message is Σ~/N with Σ~ the mean of E[ΦΦᵀ] + Σ_i.",
        tuple(checks),
        detail="Two agents with ω = 3 and 1, σ = 0.6 and 1; the mixed directions see the off-diagonal entries, which are 0.",
    )


def _directions() -> dict[str, np.ndarray]:
    unit = np.eye(DIM)
    return {
        "coordinate 1": unit[0],
        "coordinate 8": unit[7],
        "(1, …, 1)/√d": np.ones(DIM) / np.sqrt(DIM),
        "(1, −1, …)/√d": np.resize([1.0, -1.0], DIM) / np.sqrt(DIM),
    }


def _sign_groups(df: float, coordinates: str = "independent") -> list[Agents]:
    return [Agents(1, noise.StudentT(df, scale, coordinates=coordinates), compressor.Sign()) for scale in SCALES]


def _sign_mean(sampler: _Sampler, dfs) -> Claim:
    checks = []
    for df in dfs:
        drawn = sampler(*_sign_groups(df))
        for j in (0, 3):
            predicted = 2 / len(SCALES) * sum(float(student.Xi(GRADIENT[j] / scale, df)) for scale in SCALES)
            label = f"mean message where ∂f = {GRADIENT[j]:g}, ν = {df:g}"
            checks.append(check(mean(drawn[:, j]), "=", predicted, label))
    return Claim(
        "message.sign-mean",
        "P 124-126",
        "The mean of the sign message is (2/N) Σ Ξ_ν(Σ_i^-1/2 ∇f), with Ξ_ν the Student-t distribution function minus ½.",
        tuple(checks),
        detail="Two agents with scales 1 and 3.",
    )


def _predicted_sign_variance(j: int, df: float) -> float:
    shape = sum(float(student.Xi(GRADIENT[j] / scale, df)) ** 2 for scale in SCALES) / len(SCALES)
    return (1 - 4 * shape) / len(SCALES)


def _sign_covariance(sampler: _Sampler, dfs, quick: bool) -> Claim:
    checks = []
    for df in dfs:
        drawn = sampler(*_sign_groups(df))
        centred = drawn - drawn.mean(axis=0)
        for j in (0, 3):
            label = f"variance of the mean message where ∂f = {GRADIENT[j]:g}, ν = {df:g}"
            checks.append(check(mean(centred[:, j] ** 2), "=", _predicted_sign_variance(j, df), label))
        product = mean(centred[:, 0] * centred[:, 2])
        checks.append(check(product, "=", 0.0, f"covariance of two coordinates, ν = {df:g}", margin=0.02))
    return Claim(
        "message.sign-covariance",
        "P 127",
        "The covariance of the sign message is I − (4/N) Σ diag(Ξ²), over N.",
        tuple(checks),
        detail="For independent coordinates." + ("" if quick else _dependent(sampler)),
    )


def _dependent(sampler: _Sampler) -> str:
    drawn = sampler(*_sign_groups(1.0, "multivariate"))
    centred = drawn - drawn.mean(axis=0)
    off, error = mean(centred[:, 0] * centred[:, 2])
    return f" Under the multivariate t (ν = 1) the covariance of coordinates 1 and 3 is {off:.4f} ± {error:.4f}."


def _equivalence(sampler: _Sampler) -> Claim:
    drawn = sampler(Agents(1, noise.Gaussian(sigma0=SIGMA), compressor.RandomSparsification(omega=OMEGA)))
    measured = mean(np.sum((drawn - GRADIENT) ** 2, axis=1))
    sigma1_sq, norm = OMEGA / DIM, float(np.sum(GRADIENT**2))
    forms = {"printed": DIM * SIGMA**2 * (1 + OMEGA), "corrected": SIGMA**2 * (1 + OMEGA)}
    variance = {form: DIM * (sigma0_sq + sigma1_sq * norm) for form, sigma0_sq in forms.items()}
    compressed = Constants(L0=1, L1=2, dim=DIM, omega=OMEGA, sigma0_sq=SIGMA**2, count=4)
    limits = {form: _dsgd(sigma0_sq, sigma1_sq) for form, sigma0_sq in forms.items()}
    limit = step_limit("S2 4.2", compressed, gradient_norm=3.0, epsilon=0.5)
    right = bound("S2 4.2", compressed, initial_gap=1.0, eta=0.01, epsilon=0.5, phi1=5.0, phi2=2.0)
    checks = {
        form: (
            check(measured, "=", variance[form], "trace of the message's covariance", margin=0.05),
            check((limit, 0.0), "=", limits[form][0], "step limit", model_error=1e-9),
            check((right, 0.0), "=", limits[form][1], "right-hand side of the bound", model_error=1e-9),
        )
        for form in forms
    }
    return Claim(
        "equivalence.dcsgd-dsgd",
        "S2 after 4.2",
        "DCSGD with (σ², ω) acts as DSGD with σ0² = d(1+ω)σ², σ1² = ω/d.",
        checks["printed"],
        checks["corrected"],
        error="misprint",
        detail="σ0² is (1+ω)σ², without the d: the variance is per coordinate.",
    )


def _dsgd(sigma0_sq: float, sigma1_sq: float) -> tuple[float, float]:
    c = Constants(L0=1, L1=2, dim=DIM, sigma0_sq=sigma0_sq, sigma1_sq=sigma1_sq, count=4)
    limit = step_limit("S2 4.1", c, gradient_norm=3.0, epsilon=0.5)
    return limit, bound("S2 4.1", c, initial_gap=1.0, eta=0.01, epsilon=0.5, phi1=5.0, phi2=2.0)


def _figure(sampler: _Sampler, dfs) -> Figure:
    figure, axes = plot.panels(1, 2)
    order = np.argsort(GRADIENT)
    for df, color in zip(dfs, plot.CATEGORIES):
        drawn = sampler(*_sign_groups(df))
        wide = np.linspace(GRADIENT.min(), GRADIENT.max(), 200)
        curve = 2 / len(SCALES) * sum(student.Xi(wide / scale, df) for scale in SCALES)
        axes[0].plot(wide, curve, color=color, label=f"ν = {df:g}")
        axes[0].plot(GRADIENT[order], drawn.mean(axis=0)[order], "o", ms=5, color=color)
        axes[1].plot(GRADIENT[order], drawn.var(axis=0)[order], "o", ms=5, color=color)
        squares = sum(student.Xi(wide / scale, df) ** 2 for scale in SCALES) / len(SCALES)
        axes[1].plot(wide, (1 - 4 * squares) / len(SCALES), color=color, label=f"ν = {df:g}")
    for ax, what in ((axes[0], "mean"), (axes[1], "variance")):
        ax.set(xlabel="∂f", ylabel=f"{what} of the mean message", title=f"{what} of the signs of two agents")
        plot.dress(ax)
    caption = (
        "Signs of two agents with scales 1 and 3: lines are P Eqs. 124-127, points are sampled means and variances."
    )
    return Figure("messages_sign", figure, caption)
