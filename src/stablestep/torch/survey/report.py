"""Estimate the constants of the theory from a real model on real batches, and say which step and which compression they allow."""

import math
from collections.abc import Iterable

import torch

from stablestep.compressor import Compressor, Identity
from stablestep.errors import InvalidInput, named, positive, require, whole
from stablestep.estimate import AffineVariance, Estimate, Smoothness, Tail, affine_variance, of_mean, smoothness, tail
from stablestep.theorem import Constants
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.survey import theory
from stablestep.torch.survey.found import SurveyReport
from stablestep.torch.survey.landscape import Batch, Landscape, Loss
from stablestep.torch.survey.limits import limits
from stablestep.torch.survey.link import checked_rate, links, measured_rate, step_cost
from stablestep.torch.survey.points import Point, Survey, look_around
from stablestep.torch.survey.workers import Workers
from stablestep.torch.wire.randomness import mixed

PREDICTORS = ("one-step-log", "loss-model", "theorem")


def survey(
    model: torch.nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    agents: int = 4,
    compressor: Compressor | None = None,
    mask: str = "shared",
    seed: int = 0,
    vote: str = "mean",
    min_numel: int = 0,
    predictor: str = "theorem",
    points: int = 12,
    lr: float | None = None,
    link: float | None = None,
) -> SurveyReport:
    """The constants of the theory, for `agents` workers that train `model` by plain SGD from where it stands.

    It looks at a short descent of a copy (your model, its buffers and torch's random state stay as they are): gradients of all batches
    at each point give ‖∇f‖, the noise and its tail; Hessian-vector products give the curvature (where a model has none, differences of
    gradients on the same batch); messages of the compressor give ω and the second-order loss model.

    Args:
        model: a module, or one wrapped in DistributedDataParallel.
        loss: loss(model, batch), the mean loss on a batch.
        batches: at least 8 batches, each as large as one worker's in one step; 64 of them are kept.
        agents: N.
        compressor, mask, seed, vote, min_numel: as of `HookState`; no compression by default.
        predictor: whose largest step `step` and `eta0` are: "theorem", "loss-model" or "one-step-log"; to train with a step use `probe`.
        points: how many the survey looks at.
        lr: a step you have in mind, for the ω that it allows.
        link: bit/s of each worker's link. By default it is measured where a process group is initialised (all workers have to call
            `survey` then), else a step is predicted at 100 Mbit/s, 1, 10 and 100 Gbit/s.

    Raises:
        InvalidInput: if an argument cannot be right, or the loss or its gradient is not finite.

    >>> torch.manual_seed(0)
    <torch._C.Generator object at ...>
    >>> model = torch.nn.Linear(5, 1)
    >>> batches = [torch.randn(16, 5) for _ in range(16)]
    >>> found = survey(model, lambda model, x: (model(x) - x.sum(1, keepdim=True)).square().mean(), batches, predictor="loss-model")
    >>> found.grows, found.predictor
    (False, 'loss-model')
    """
    named("predictor", predictor, PREDICTORS)
    points, lr = whole("points", points, 6), None if lr is None else positive("lr", lr)
    link = checked_rate(link)
    settings = Settings(Identity() if compressor is None else compressor, mask, seed, vote, min_numel)
    require(
        not settings.remembers,
        f"{settings.compressor.name} remembers, but a survey looks at single messages; survey what is inside, or use probe.",
    )
    with torch.enable_grad(), torch.random.fork_rng():
        workers = Workers(Landscape(model, loss, batches), settings, agents)
        _enough(workers)
        torch.manual_seed(mixed(settings.seed))
        return _advice(workers, predictor, points, lr, link)


def _enough(workers: Workers) -> None:
    have, needed = len(workers.landscape.pool), workers.batches(1)
    require(
        have >= needed,
        f"batches has {have} of them (64 are kept at most), but {workers.agents} workers need {needed}; give more batches or fewer agents.",
    )


def _advice(workers: Workers, predictor: str, points: int, lr: float | None, link: float | None) -> SurveyReport:
    found = look_around(workers, points)
    _check(found)
    constants, smooth, spread, heavy = constants_of(workers, found)
    descent = [point for point in found.points if point.descent]
    here = max(point.gradient_norm for point in descent)
    return SurveyReport(
        agents=workers.agents,
        dim=workers.landscape.dim,
        compressor=repr(workers.settings.compressor),
        points=tuple(found.points),
        smoothness=smooth,
        variance=spread,
        tail=heavy,
        omega=_omega(found.points),
        stated_omega=workers.omega if workers.unbiased else None,
        limits=(*limits(workers, found), theory.limit(constants, descent)),
        predictor=predictor,
        constants=constants,
        normalization=theory.normalization(constants),
        bearable_omega=theory.bearable(constants, here),
        omega_at_lr=None if lr is None else theory.allowing(constants, here, lr),
        links=tuple(links(step_cost(workers), link if link is not None else measured_rate(workers))),
    )


def constants_of(workers: Workers, found: Survey) -> tuple[Constants | None, Smoothness, AffineVariance, Tail | None]:
    """For `theorem`, and the fits that they come from."""
    norms = [point.gradient_norm for point in found.points]
    smooth = smoothness(norms, [point.curvature for point in found.points])
    spread = affine_variance([p.gradient_sq for p in found.points], [p.variance for p in found.points])
    heavy = _tail(found)
    return theory.constants(workers, smooth, spread, heavy, found), smooth, spread, heavy


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
