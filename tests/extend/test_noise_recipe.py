"""Recipe 3: a noise law."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

import stablestep as ss
from stablestep import noise
from tests import instances, test_instances, test_spec
from tests.extend.guide import X, drawn, fails, run_doctests
from tests.statistics import assert_covariance, assert_fails, assert_mean


@pytest.fixture
def laplace(add, publish):
    module = add("src/stablestep/noise/laplace.py")
    publish(noise, module.Laplace)
    return module.Laplace


def test_the_noise_meets_the_contract(laplace, enter, seed):
    run_doctests(sys.modules[laplace.__module__], "Laplace")
    fails(test_instances.test_the_table_equals_what_is_public, "no row in tests/instances.py: Laplace", noise)
    fails(test_spec.test_the_example_names_every_type, "examples/dcsgd.toml: Laplace", noise)
    name = enter('"laplace"', Laplace=laplace)
    test_instances.test_the_table_equals_what_is_public(noise)
    test_instances.test_every_class_of_a_folder_is_public(noise)
    test_instances.test_the_constructor_arguments_give_the_instance_again(instances.NOISES[name])
    test_instances.test_noise_is_symmetric_with_the_stated_moments(name, seed)
    test_instances.test_signs_of_noise_are_as_stated(name, seed)
    test_instances.test_the_slope_of_the_mean_sign_is_its_derivative(name)
    test_instances.test_the_affine_variance_covers_every_coordinate(name)
    for dtype in (jnp.float32, jnp.float64):
        test_instances.test_a_noisy_gradient_keeps_its_type(name, dtype, seed)


def test_a_noise_that_nobody_can_name(add):
    add("src/stablestep/noise/laplace.py")
    fails(test_instances.test_every_class_of_a_folder_is_public, "and its __all__: Laplace", noise)


WIDTH = np.array([0.5, 1.0, 2.0])


@pytest.mark.parametrize("sampling", ["auto", "agents"])
def test_the_law_of_messages_under_the_noise(laplace, sampling, seed):
    """g = X, Σ = 2 width²: masks have the covariance (Σ + ω(g² + Σ))/N, signs the mean sign(g)(1 − e^(−|g|/width)), (1 − mean²)/N."""
    mean = np.sign(X) * -np.expm1(-np.abs(X) / WIDTH)
    masked = (2 * WIDTH**2 + 3.0 * (X**2 + 2 * WIDTH**2)) / 4
    cases = [(ss.compressor.RandomSparsification(3.0), X, masked), (ss.compressor.Sign(), mean, (1 - mean**2) / 4)]
    for chosen, expected, variances in cases:
        setup = ss.Setup(ss.problem.Quadratic(np.ones(3)), ss.Agents(4, laplace(WIDTH), chosen))
        law = ss.message.law(setup, sampling)
        np.testing.assert_allclose(law.mean(X), expected, rtol=1e-12)
        np.testing.assert_allclose(law.covariance(X).as_matrix(), np.diag(variances), rtol=1e-12, atol=1e-14)
        messages = drawn(setup, seed, sampling)
        assert_mean(messages, expected)
        assert_covariance(messages, np.diag(variances))
        with assert_fails("0.9 times the mean"):
            assert_mean(messages, 0.9 * expected)
        with assert_fails("a variance 1.1 times too large"):
            assert_covariance(messages, 1.1 * np.diag(variances))
    signs = ss.Setup(ss.problem.Quadratic(np.ones(3)), ss.Agents(4, laplace(WIDTH), ss.compressor.Sign()))
    assert ss.message.law(signs).methods == ("law",)


@pytest.mark.parametrize("fact", ["odd", "affine_variance", "sample"])
def test_a_wrong_fact_of_a_noise_is_caught(laplace, enter, monkeypatch, seed, fact):
    """The obvious formula of `odd` has no derivative at 0; a uniform mask word instead of the lane's own is no matter here."""
    wrong = {
        "odd": lambda self, z: jnp.sign(z) * -jnp.expm1(-jnp.abs(z)),
        "affine_variance": lambda self, dim: (float(np.max(np.square(self.width))), 0.0),
        "sample": lambda self, stream, problem, x, g: g + self.width * (stream.uniform(3, g.dtype) - 0.4),
    }
    name = enter('"laplace"', Laplace=laplace)
    monkeypatch.setattr(laplace, fact, wrong[fact])
    tests = {
        "odd": lambda: test_instances.test_the_slope_of_the_mean_sign_is_its_derivative(name),
        "affine_variance": lambda: test_instances.test_the_affine_variance_covers_every_coordinate(name),
        "sample": lambda: test_instances.test_noise_is_symmetric_with_the_stated_moments(name, seed),
    }
    with pytest.raises(AssertionError):
        tests[fact]()
