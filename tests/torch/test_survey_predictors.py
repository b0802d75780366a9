"""Predictors of the largest stable step where it is known: quadratics and x⁴/4 without noise, and the survey on them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from stablestep import compressor
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.survey.landscape import Landscape
from stablestep.torch.survey.points import look_around
from stablestep.torch.survey.predictors import loss_model, one_step_log
from stablestep.torch.survey.workers import Workers
from tests.statistics import assert_fails, assert_mean

CURVATURES = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
START = torch.tensor([3.0, -2.0, 1.0], dtype=torch.float64)


class Point(nn.Module):
    """The parameters are the point."""

    def __init__(self, start):
        super().__init__()
        self.x = nn.Parameter(torch.as_tensor(start, dtype=torch.float64).clone())


def quadratic(model, noise):
    """½ Σ λ x² + noise · x: the gradient's noise is that of the batch."""
    return (CURVATURES * model.x**2).sum() / 2 + (noise * model.x).sum()


def quartic(model, noise):
    return (model.x**4).sum() / 4 + (noise * model.x).sum()


def workers(loss, start, chosen=None, sigma=0.0, agents=2, count=64, seed=0) -> Workers:
    generator = torch.Generator().manual_seed(seed)
    size = len(torch.as_tensor(start))
    pool = [sigma * torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(count)]
    settings = Settings(chosen or compressor.Identity(), mask="own", seed=seed)
    return Workers(Landscape(Point(start), loss, pool), settings, agents)


def test_the_loss_model_is_exact_without_noise():
    both = workers(quadratic, START)
    g = CURVATURES * START
    found = loss_model(both, 0, g, None)
    assert found.step == pytest.approx(2 * float(g @ g) / float(CURVATURES @ g**2)) and found.low == pytest.approx(
        found.step
    )


def test_the_loss_model_with_masks(seed):
    """E MᵀHM = gᵀHg + ω Σ λ g²/N for own masks."""
    both, g = (
        workers(quadratic, START, compressor.RandomSparsification(omega=4.0), seed=seed % 1000),
        CURVATURES * START,
    )
    inverse = [1 / loss_model(both, index, g, float(g @ g)).step for index in range(300)]
    bent = float((CURVATURES * g) @ g)
    assert_mean(inverse, bent * (1 + 4 / 2) / 2 / float(g @ g))
    with assert_fails("no 1/N"):
        assert_mean(inverse, bent * (1 + 4) / 2 / float(g @ g))


def test_one_step_of_gradient_descent():
    """2/λ on a parabola, without noise."""
    found = one_step_log(workers(quadratic, [1.0]), 0.1)
    assert found.step == pytest.approx(2 / float(CURVATURES.sum()), rel=0.02)


def test_where_no_step_is_too_large():
    """Downhill without end: the criterion says so instead of a number."""
    both = workers(lambda model, noise: torch.exp(-model.x).sum() + 0 * noise.sum(), [1.0])
    assert one_step_log(both, 1.0).step == math.inf and one_step_log(both, 1.0).status == "never"


def test_the_survey_of_a_quadratic(seed):
    both = workers(quadratic, START, sigma=0.3, seed=seed % 1000)
    found = look_around(both, 8)
    assert len(found.points) == 8 and [point.descent for point in found.points] == [True] * 5 + [False] * 3
    for point in found.points:
        assert point.curvature == pytest.approx(4.0, rel=0.02) and 0.5 <= point.along <= 4.0
        assert point.variance == pytest.approx(0.09, rel=0.5)
    first = found.points[0]
    exact = float((CURVATURES * START).square().sum())
    noise = np.sqrt(4 * exact * 0.09 / 64)
    assert abs(first.gradient_sq - exact) < 6 * noise
    assert first.loss > found.points[4].loss and found.points[7].loss > first.loss
    assert found.samples.shape == (64, 3) and torch.equal(both.landscape.point(), START)


def test_the_noise_has_no_share_in_the_gradient(seed):
    """At the minimum ‖ḡ‖² is the noise's variance over n, here 3/16; without its share more than half of the estimates are 0."""
    found = [
        look_around(workers(quadratic, 0 * START, sigma=1.0, count=16, seed=seed % 1000 + number), 6).points[0]
        for number in range(100)
    ]
    assert np.median([point.gradient_sq for point in found]) < 0.4 * 3 / 16
    assert_mean([point.variance for point in found], 1.0)
