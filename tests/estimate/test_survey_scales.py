"""Surveys of a loss in other units: its constants scale as their units say, as far as its gradients are numbers at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import RandomSparsification, Sign
from stablestep.errors import InvalidInput
from stablestep.estimate import survey

START = np.array([2.0, -1.0, 1.5], np.float32)
DATA = list(np.random.default_rng(0).normal(size=(18, 3)).astype(np.float32))
FACTORS = [2.0**20, 2.0**-20, 2.0**100, 2.0**-100, 1e30, 1e-30]


def bowl(w, batch):
    return jnp.sum(jnp.asarray([1.0, 3.0, 0.5], w.dtype) * (w - batch) ** 2) / 2


def steep(w, batch):
    return bowl(w, batch) + jnp.sum(w**4) / 10


def found_at(factor, loss=bowl, **options):
    """In float32, as training is."""
    with jax.enable_x64(False):
        return survey(lambda w, batch: np.float32(factor) * loss(w, batch), START, DATA, points=6, **options)


@pytest.mark.parametrize("factor", FACTORS)
def test_the_step_is_divided_by_what_multiplies_the_loss(factor):
    one, other = (found_at(c, compressor=RandomSparsification(3.0)) for c in (1.0, factor))
    assert one.result == other.result == "4.2" and 0 < one.step < np.inf
    assert other.step * factor == pytest.approx(one.step, rel=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_every_constant_has_its_unit(factor):
    """L0 that of f, σ0² and ζ² that of f², L1, σ1² and 𝔅² none."""
    # Clients unlike each other, by their first coordinate.
    one, other = (found_at(c, steep, clients=np.argsort(np.argsort(np.array(DATA)[:, 0])) // 6) for c in (1.0, factor))
    assert one.smoothness.L1.value > 0 and one.dissimilarity.zeta2.value > 0 and one.variance.sigma0_sq.value > 0
    for read, unit in (
        (lambda found: found.smoothness.L0.value, factor),
        (lambda found: found.smoothness.L1.value, 1.0),
        (lambda found: found.client_smoothness.L1.value, 1.0),
        (lambda found: found.variance.sigma0_sq.value, factor**2),
        (lambda found: found.dissimilarity.B2.value, 1.0),
        (lambda found: found.dissimilarity.zeta2.value, factor**2),
        (lambda found: found.points[0].gradient_norm, factor),
        (lambda found: found.points[0].along, factor),
        (lambda found: found.tail.nu.value if found.tail else 1.0, 1.0),
    ):
        assert read(other) / unit == pytest.approx(read(one), rel=1e-3)


def test_the_step_of_signs_has_no_unit_of_the_loss():
    one, other = (found_at(c, steep, compressor=Sign()) for c in (1.0, 2.0**-100))
    assert other.result == one.result == "4.3" and other.step == pytest.approx(one.step, rel=1e-5)


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1e-36, r"at params the gradients have the size .*e-35.* must be between 1.2e-32 and .*multiply the loss"),
        (1e-44, "at params the gradients have the size 0 and the Hessian 0, but must be between"),
        (1e37, "is not finite at params"),
    ],
)
def test_what_float32_does_not_hold_is_refused(factor, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        found_at(factor, lambda w, batch: 20 * bowl(w, batch))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_squares_that_float64_does_not_hold_are_refused(factor):
    with pytest.raises(InvalidInput, match=r"between 1e-140 and 1e\+140 in float64"):
        survey(
            lambda w, batch: factor * bowl(w, batch), START.astype(float), [row.astype(float) for row in DATA], points=6
        )
