"""Estimate the constants of the theory from a real model on real batches, and say which step and which compression they allow."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri, stdtrit

from stablestep.compressor import Compressor, Identity
from stablestep.errors import InvalidInput, nearest, require
from stablestep.estimate import AffineVariance, Estimate, Smoothness, Tail, affine_variance, of_mean, smoothness, tail
from stablestep.stability.start_point import CriticalStep, formula
from stablestep.theorem import Constants, result
from stablestep.torch.advice import Advice, Limit
from stablestep.torch.draw import mixed
from stablestep.torch.link import checked_rate, exchange, links, measured_rate
from stablestep.torch.predict import one_step_log, rollouts
from stablestep.torch.survey import Point, Survey, survey
from stablestep.torch.workers import Batch, Loss, Workers

PREDICTORS = ("rollouts", "one-step-log", "loss-model", "theorem")


def probe(
    model: torch.nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    agents: int = 4,
    compressor: Compressor | None = None,
    mask: str = "shared",
    seed: int = 0,
    vote: str = "mean",
    min_numel: int = 0,
    predictor: str = "rollouts",
    steps: int = 100,
    points: int = 12,
    lr: float | None = None,
    link: float | None = None,
) -> Advice:
    """Advice for `agents` workers that train `model` by plain SGD from where it stands.

    It looks at a short descent of a copy (your model, its buffers and the global random state stay as they are): gradients of all batches
    at each point give ‖∇f‖, the noise and its tail; Hessian-vector products give the curvature (where a model has none, differences of
    gradients on the same batch); messages of the compressor give ω and the second-order loss model.

    Args:
        model: a module, or one wrapped in DistributedDataParallel.
        loss: loss(model, batch), the mean loss on a batch.
        batches: at least 8 batches, each as large as one worker's in one step; 64 of them are kept.
        agents: N.
        compressor, mask, seed, vote, min_numel: as of `HookState`; no compression by default.
        predictor: which largest step the advice rests on. "rollouts" runs short trainings, some twenty without normalization and twenty
            with it; the others, always there, cost little: "one-step-log", "loss-model", "theorem".
        steps: of each short training. What goes wrong only later it does not see.
        points: how many the survey looks at.
        lr: a step you have in mind, for the ω that it allows.
        link: bit/s of each worker's link. By default it is measured where a process group is initialised (all workers have to call
            `probe` then), else a step is predicted at 100 Mbit/s, 1, 10 and 100 Gbit/s.

    Raises:
        InvalidInput: if an argument cannot be right, or the loss or its gradient is not finite.

    >>> torch.manual_seed(0)
    <torch._C.Generator object at ...>
    >>> model = torch.nn.Linear(5, 1)
    >>> batches = [torch.randn(16, 5) for _ in range(16)]
    >>> advice = probe(model, lambda model, x: (model(x) - x.sum(1, keepdim=True)).square().mean(), batches, predictor="loss-model")
    >>> advice.grows, advice.predictor
    (False, 'loss-model')
    """
    if predictor not in PREDICTORS:
        raise InvalidInput(f'there is no predictor "{predictor}". {nearest(predictor, PREDICTORS)}')
    for name, value, least in (("steps", steps, 5), ("points", points, 6)):
        require(
            isinstance(value, int) and value >= least,
            f"{name} is {value}, but must be a whole number of at least {least}.",
        )
    require(lr is None or 0 < lr < math.inf, f"lr is {lr}, but must be a finite number greater than 0.")
    checked_rate(link)
    compressor = Identity() if compressor is None else compressor
    with torch.enable_grad(), torch.random.fork_rng():
        workers = Workers(model, loss, batches, agents, compressor, mask, seed, vote, min_numel)
        torch.manual_seed(mixed(seed))
        return _advice(workers, predictor, steps, points, lr, link)


def _advice(workers: Workers, predictor: str, steps: int, points: int, lr: float | None, link: float | None) -> Advice:
    found = survey(workers, points)
    _check(found)
    norms = [point.gradient_norm for point in found.points]
    smooth = smoothness(norms, [point.curvature for point in found.points])
    spread = affine_variance([p.gradient_sq for p in found.points], [p.variance for p in found.points])
    heavy = _tail(found)
    constants = _constants(workers, smooth, spread, heavy, found)
    descent = [point for point in found.points if point.descent]
    here = max(point.gradient_norm for point in descent)
    return Advice(
        agents=workers.agents,
        dim=workers.dim,
        compressor=repr(workers.state.compressor),
        points=tuple(found.points),
        smoothness=smooth,
        variance=spread,
        tail=heavy,
        omega=_omega(found.points),
        stated_omega=workers.omega if workers.unbiased else None,
        limits=(*_measured(workers, found, predictor, steps), _theorem(workers, constants, descent)),
        predictor=predictor,
        constants=constants,
        normalization=_normalization(workers, constants),
        bearable_omega=_bearable(workers, constants, here),
        omega_at_lr=None if lr is None else _allowing(workers, constants, here, lr),
        links=tuple(links(exchange(workers), link if link is not None else measured_rate(workers))),
    )


def _check(found: Survey) -> None:
    bad = [point for point in found.points if not (math.isfinite(point.loss) and math.isfinite(point.variance))]
    require(
        not bad,
        "a loss or gradient on the descent is not finite; begin where training is healthy, or look for the batch.",
    )
    require(
        found.points[0].mean_norm > 0, "the gradient at the start is 0 on all batches, so there is nothing to train."
    )


def _tail(found: Survey) -> Tail | None:
    """None where batches do not differ."""
    try:
        return tail(found.samples)
    except InvalidInput:
        return None


def _omega(points: list[Point]) -> Estimate:
    return of_mean([point.error for point in points])


def _name(workers: Workers) -> str:
    return "4.3" if workers.signs else "4.2"


def _constants(
    workers: Workers, smooth: Smoothness, spread: AffineVariance, heavy: Tail | None, found: Survey
) -> Constants | None:
    """None for a biased compressor, which no theorem covers."""
    landscape: dict[str, Any] = {
        "L0": smooth.L0.value,
        "L1": smooth.L1.value,
        "dim": workers.dim,
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
        shared_mask=workers.state.shared,
    )


def _scales(found: Survey, heavy: Tail | None) -> dict[str, Any]:
    """The scale of Student-t noise with this ν, from the median of |r| of each coordinate: the smallest and the largest."""
    nu = math.inf if heavy is None else heavy.nu.value
    residuals = np.abs(found.samples - np.median(found.samples, axis=0))
    scale = np.median(residuals, axis=0) / (ndtri(0.75) if math.isinf(nu) else stdtrit(nu, 0.75))
    alive = scale[scale > 0]
    low, high = (float(alive.min()), float(alive.max())) if len(alive) else (0.0, 0.0)
    return {"nu": nu, "scale_min": low, "scale_max": high}


def _theorem(workers: Workers, c: Constants | None, descent: list[Point]) -> Limit:
    """The theorem's limit where the gradient on the descent is largest, and the η0 that keeps it at every point; or why there is none."""
    if c is None:
        return Limit("theorem", None, None, "no theorem covers a biased compressor")
    try:
        limits = [_limit(workers, c, point.gradient_norm) for point in descent]
    except InvalidInput as error:
        return Limit("theorem", None, None, str(error))
    definition = f"the largest step that {result(_name(workers)).reference} allows on the descent (ε → 1)"
    normalized = min(limit * (1 + point.mean_norm) for limit, point in zip(limits, descent))
    constant, eta0 = (formula(step, "theorem", definition, 0) for step in (min(limits), normalized))
    return Limit("theorem", constant, eta0)


def _limit(workers: Workers, c: Constants, norm: float) -> float:
    at = result(_name(workers))
    return at.step_limit(c, norm, None) if workers.signs else 2 * at.step_limit(c, norm, 0.5)


def _normalization(workers: Workers, c: Constants | None) -> tuple[float, float] | None:
    try:
        return None if c is None else result(_name(workers)).normalization(c, 0.5)
    except (InvalidInput, ZeroDivisionError):
        return None


def _measured(workers: Workers, found: Survey, predictor: str, steps: int) -> list[Limit]:
    """The predictors that look at messages; the loss model and one step where the loss model is tightest on the descent."""
    start = workers.point()
    models = [point for point in found.points if point.model is not None and point.step is not None]
    if not models:
        reason = "the gradient cannot be told from the noise between batches"
        rows = [Limit(name, None, None, reason) for name in ("one-step-log", "loss-model")]
        first = 1 / found.points[0].curvature if found.points[0].curvature > 0 else 1.0
        return [*_rolled(workers, found, first, steps), *rows] if predictor == "rollouts" else rows
    tightest = min((point.model for point in models if point.model is not None), key=lambda model: model.step)
    normalized = min(float(point.step or math.inf) * (1 + point.mean_norm) for point in models)
    finite = [float(point.step or math.inf) for point in models if point.step != math.inf]
    guess = finite[0] if finite else 1.0
    workers.restart(found.tightest)
    # How far normalization goes is known from the loss model only.
    grown = normalized / tightest.step if math.isfinite(normalized) else 1.0
    one = _one_step(workers, tightest.step if math.isfinite(tightest.step) else guess, grown)
    workers.restart(start)
    rows = [one, Limit("loss-model", tightest, _scaled(tightest, grown))]
    guess = math.sqrt(guess * min(guess, tightest.step))
    return [*_rolled(workers, found, guess, steps), *rows] if predictor == "rollouts" else rows


def _one_step(workers: Workers, guess: float, grown: float) -> Limit:
    try:
        one = one_step_log(workers, guess)
    except InvalidInput as error:
        return Limit("one-step-log", None, None, str(error))
    return Limit("one-step-log", one, _scaled(one, grown))


def _scaled(found: CriticalStep, factor: float) -> CriticalStep:
    return replace(found, step=found.step * factor, low=found.low * factor, high=found.high * factor)


def _rolled(workers: Workers, found: Survey, guess: float, steps: int) -> list[Limit]:
    constant = rollouts(workers, guess, steps, longest=steps)
    grown = 1 + max(point.mean_norm for point in found.points if point.descent)
    again = constant.step if 0 < constant.step < math.inf else guess
    return [Limit("rollouts", constant, rollouts(workers, again * grown, steps, longest=steps, normalized=True))]


def _bearable(workers: Workers, c: Constants | None, norm: float) -> float | None:
    offset, growth = _inverse(workers, c, norm)
    return offset / growth if growth > 0 else None


def _allowing(workers: Workers, c: Constants | None, norm: float, lr: float) -> float | None:
    offset, growth = _inverse(workers, c, norm)
    return max(0.0, (1 / lr - offset) / growth) if growth > 0 else None


def _inverse(workers: Workers, c: Constants | None, norm: float) -> tuple[float, float]:
    """1/limit = offset + growth · ω, as ε → 1; no growth where ω means nothing."""
    if c is None or workers.signs:
        return 0.0, 0.0
    none, one = (1 / _limit(workers, replace(c, omega=omega), norm) for omega in (0.0, 1.0))
    return none, one - none
