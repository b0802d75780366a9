"""The drifts: each takes a model, a time and a point. With m the mean message, J_m its Jacobian, H = ∇²f, s = η_t m."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stablestep.compressor import Sign
from stablestep.errors import InvalidInput, require
from stablestep.message.group import GroupLaw
from stablestep.noise import StudentT
from stablestep.problem import Problem

Scalar = Float[Array, ""]
Vector = Float[Array, " d"]


def first(model, t: Scalar, x: Vector) -> Vector:
    """−η_t m (P Eqs. 31, 53, 87, 126)."""
    return -model.field(t, x)


def classic(model, t: Scalar, x: Vector) -> Vector:
    """−s − η_e (½ + τ_i)(J_s s − ∂_t s) − η_e τ_o η_t J_m s, of weak order 2: P Eqs. 29, 32 for a constant step and no memory (J_s includes
    ∇ₓη_t). A memory delays displacements by τ_i steps and messages by τ_o; at a constant step −m − (η_e/2)(1 + 2τ) J_m m."""
    s = model.field(t, x)
    _, change = jax.jvp(model.field, (t, x), (-jnp.ones_like(t), s))
    drift = -s - (0.5 + model.memory.inside) * model.eta_effective * change
    if not model.memory.lags:
        return drift
    _, lag = jax.jvp(model.law.mean, (x,), (s,))
    return drift - model.memory.outside * model.eta_effective * model.rate(t, x) * lag


def new(model, t: Scalar, x: Vector) -> Vector:
    """−η_t m + (η_eη_t²/2) θ̂ c with g·c = mᵀHm: c = Hg for unbiased messages (P Eqs. 27, 70, 106), diag(m/g) H m for signs. θ̂ is 1 without
    memory, (1−β)/(1+β) for heavy ball."""
    m, rate = model.law.mean(x), model.rate(t, x)
    correction = model.law.secant(x) * model.problem.hessian_product(x, m)
    return -rate * m + model.theta * model.eta_effective * rate**2 / 2 * correction


def flip(model, t: Scalar, x: Vector) -> Vector:
    """−η_t m + (ηη_t²/2) J_m m: the sign of the classic correction flipped (P Remark A.2)."""
    m, rate = model.law.mean(x), model.rate(t, x)
    _, change = jax.jvp(model.law.mean, (x,), (m,))
    return -rate * m + model.eta * rate**2 / 2 * change


def printed_new(model, t: Scalar, x: Vector) -> Vector:
    """P Eq. 134: −η_t m + (ηη_t²/N) Σ_i Σ_i^-½ H (Ξ'∘Ξ), exactly as printed."""
    return _printed(model, t, x, 1)


def printed_classic(model, t: Scalar, x: Vector) -> Vector:
    """S2 Eq. 102: as P Eq. 134 with a minus sign, exactly as printed."""
    return _printed(model, t, x, -1)


def _printed(model, t, x, sign: int):
    rate = model.rate(t, x)
    gradient, _ = model.law.gradients(x)
    terms = [
        weight * _printed_term(group, model.problem, x, gradient)
        for group, weight in zip(model.law.groups, model.law.weights, strict=True)
    ]
    return -rate * model.law.mean(x) + sign * model.eta * rate**2 * sum(terms[1:], start=terms[0])


def _printed_term(group: GroupLaw, problem: Problem, x: Vector, gradient: Vector) -> Vector:
    assert isinstance(group.noise, StudentT)
    z = gradient / group.noise.scale(gradient)
    twice, twice_slope = jax.jvp(group.noise.odd, (z,), (jnp.ones_like(z),))
    return problem.hessian_product(x, twice_slope * twice / 4) / group.noise.scale(gradient)


def printed_form(kind: str, groups: tuple[GroupLaw, ...]):
    """The drift that a paper prints differently; raises where it prints nothing else."""
    signs = all(
        isinstance(group.compressor, Sign) and isinstance(group.noise, StudentT) and not group.silent
        for group in groups
    )
    forms = {"new": printed_new, "classic": printed_classic}
    if not signs or kind not in forms:
        raise InvalidInput(
            f"form='printed' of the model \"{kind}\": the papers print another formula only for Sign messages under Student-t noise, "
            'with the models "new" (P Eq. 134) and "classic" (S2 Eq. 102); leave form out.'
        )
    return forms[kind]


def check_printed(groups: tuple[GroupLaw, ...], differs: bool) -> None:
    """The printed formulas know one landscape, and divide by every scale."""
    require(
        not differs,
        "form='printed' is for agents with one landscape (P Eq. 134, S2 Eq. 102); leave form out, or the agents' own problems.",
    )
    least = min(float(np.min(group.noise.sigma)) for group in groups if isinstance(group.noise, StudentT))
    require(
        least > 0,
        f"form='printed' divides by every scale of the noise, but one is {least:g}; leave form out, or give a positive scale.",
    )


def principal(model, t: Scalar, x: Vector) -> Vector:
    """Σ_i [log(1 − hλ_i)/(hλ_i)] (u_i·g) u_i with h = ηη_t and the Hessian's eigenpairs (λ_i, u_i): the principal flow of
    Rosca et al. 2023. Exact for gradient descent on quadratics; complex once hλ > 1. Derivatives are taken at Re x, and
    g(x) = ∇f(Re x) + H i Im x."""
    real = x.real
    rate = model.rate(t, real)
    hessian = jax.vmap(lambda v: model.problem.hessian_product(real, v))(jnp.eye(x.shape[0], dtype=real.dtype))
    values, vectors = jnp.linalg.eigh((hessian + hessian.T) / 2)
    minus, basis = (-rate * model.eta * values).astype(x.dtype), vectors.astype(x.dtype)
    flat = minus == 0
    safe = jnp.where(flat, 1, minus)
    factor = -jnp.where(flat, 1, jnp.log1p(safe) / safe)
    gradient = model.problem.gradient(real).astype(x.dtype) + hessian.astype(x.dtype) @ (x - real.astype(x.dtype))
    return rate.astype(x.dtype) * (basis @ (factor * (basis.T @ gradient)))


DRIFTS = {"first": first, "classic": classic, "new": new, "flip": flip, "principal": principal}


def check_principal(groups: tuple[GroupLaw, ...]) -> None:
    """The principal flow is a model of noiseless gradient descent."""
    plain = all(group.silent and group.compressor.deterministic and group.compressor.unbiased for group in groups)
    require(
        plain,
        'the model "principal" is for noiseless gradient descent; use Agents without noise and compressor, or "new".',
    )
