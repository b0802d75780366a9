"""Skewed noise, and the examples on which biased messages fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep import problem
from stablestep.reproduce.context import Context
from stablestep.reproduce.sections.biased import clipping, counterexamples, skewed
from stablestep.stream import Family, Stream
from tests.statistics import assert_counts, assert_covariance, assert_fails, assert_mean


@pytest.mark.parametrize("law", [skewed.ONE, skewed.TWO])
def test_the_skewed_laws(law, seed):
    dim = law.points.shape[1]
    np.testing.assert_allclose(law.chances @ law.points, 0, atol=1e-15)
    bowl, x = problem.Quadratic(np.ones(dim)), jnp.zeros(dim)
    stream = Stream.seed(seed)
    draw = jax.vmap(lambda k: law.sample(stream.child(k, Family.STEP).noise, bowl, x, x))
    drawn = np.asarray(draw(jnp.arange(20_000, dtype=jnp.uint32)))
    counts = [int(np.sum(np.all(np.isclose(drawn, point), axis=1))) for point in law.points]
    assert_counts(counts, law.chances)
    assert_mean(drawn, np.zeros(dim))
    covariance = np.asarray(law.covariance(bowl, x, x).as_matrix())
    assert_covariance(drawn, covariance)
    assert np.trace(covariance) == pytest.approx(law.total_variance)
    with assert_fails("twice the covariance"):
        assert_covariance(drawn, 2 * covariance)


@pytest.mark.parametrize(("threshold", "root"), clipping.ROOTS.items())
def test_the_roots_of_clipped_messages(threshold, root):
    """The mean of clip(root + noise) is 0, and changes sign there."""
    values, chances = skewed.ONE.points[:, 0], skewed.ONE.chances

    def message(x):
        return chances @ np.clip(x + values, -threshold, threshold)

    assert message(root) == pytest.approx(0.0, abs=1e-15)
    assert message(root - 0.01) < 0 < message(root + 0.01)


def test_the_examples_by_hand():
    """C1: the two signs are ±(1, −1). C2: Top-1 at c·(1, 1, 1) sends −3·2c + c/2 from each client, which the server averages."""
    failed = counterexamples.failures(Context(quick=True))
    assert np.all(failed.signs["sign"].total == 2.0)
    row = np.array([-3.0, 2.0, 2.0])
    gradient = 2 * (row @ np.ones(3)) * row + np.ones(3) / 2
    assert gradient[0] == -5.5 and np.argmax(np.abs(gradient)) == 0
    grown = failed.tops["Top-1"].loss_mean.values
    np.testing.assert_allclose(grown[1:] / grown[:-1], (1 + counterexamples.ETA * 5.5 / 3) ** 2, rtol=1e-12)
    assert counterexamples.counterexamples_of(failed).verdict == "holds"
