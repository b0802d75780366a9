"""What the theorem says of a probe's constants: its limit, its normalization, and the ω that it bears."""

import math
from dataclasses import replace
from typing import Any

from stablestep.errors import InvalidInput
from stablestep.estimate import AffineVariance, Smoothness, Tail, scales
from stablestep.stability.start_point import formula
from stablestep.theorem import Constants, covering
from stablestep.torch.survey.found import Limit
from stablestep.torch.survey.points import Point, Survey
from stablestep.torch.survey.workers import Workers


def constants(
    workers: Workers, smooth: Smoothness, spread: AffineVariance, heavy: Tail | None, found: Survey
) -> Constants | None:
    """For `theorem`; None for a biased compressor, which no theorem covers."""
    landscape: dict[str, Any] = {
        "L0": smooth.L0.value,
        "L1": smooth.L1.value,
        "dim": workers.landscape.dim,
        "count": workers.agents,
    }
    if workers.signs:
        return Constants(**landscape, **_scales(found, heavy))
    if not workers.unbiased:
        return None
    return Constants(
        **landscape,
        omega=workers.omega,
        sigma0_sq=spread.sigma0_sq.value,
        sigma1_sq=spread.sigma1_sq.value,
        shared_mask=workers.settings.shared,
    )


def _scales(found: Survey, heavy: Tail | None) -> dict[str, Any]:
    """The scale of Student-t noise with this ν, from the median of |r| of each coordinate: the smallest and the largest."""
    nu = math.inf if heavy is None else heavy.nu.value
    low, high = scales(found.samples, nu)
    return {"nu": nu, "scale_min": low, "scale_max": high}


def limit(c: Constants | None, descent: list[Point]) -> Limit:
    """The theorem's limit where the gradient on the descent is largest, and the η0 that keeps it at every point; or why there is none."""
    if c is None:
        return Limit("theorem", None, None, "no theorem covers a biased compressor")
    try:
        found = covering(c)
        steps = [found.edge(c, point.gradient_norm) for point in descent]
    except InvalidInput as error:
        return Limit("theorem", None, None, str(error))
    definition = f"the largest step that {found.reference} allows on the descent (ε → 1)"
    normalized = min(step * (1 + point.mean_norm) for step, point in zip(steps, descent))
    constant, eta0 = (formula(step, "theorem", definition, 0) for step in (min(steps), normalized))
    return Limit("theorem", constant, eta0)


def normalization(c: Constants | None) -> tuple[float, float] | None:
    """(a, b) of the safe step 1/(a + b‖∇f‖) at ε = ½, if there is one."""
    try:
        return None if c is None else covering(c).normalization(c, 0.5)
    except (InvalidInput, ZeroDivisionError):
        return None


def bearable(c: Constants | None, norm: float) -> float | None:
    """The ω that halves the limit at this gradient norm, against ω = 0."""
    offset, growth = _inverse(c, norm)
    return offset / growth if growth > 0 else None


def allowing(c: Constants | None, norm: float, lr: float) -> float | None:
    """The largest ω at which the limit at this gradient norm is `lr`; 0 if none is."""
    offset, growth = _inverse(c, norm)
    return max(0.0, (1 / lr - offset) / growth) if growth > 0 else None


def _inverse(c: Constants | None, norm: float) -> tuple[float, float]:
    """1/limit = offset + growth · ω, as ε → 1; no growth where ω means nothing."""
    if c is None or c.signs:
        return 0.0, 0.0
    with_omega = (replace(c, omega=omega) for omega in (0.0, 1.0))
    none, one = (1 / covering(one).edge(one, norm) for one in with_omega)
    return none, one - none
