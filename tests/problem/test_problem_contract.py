"""What every problem promises, whatever it is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.described import parameters
from stablestep.errors import InvalidInput
from stablestep.problem import Problem, SumProblem

SCALES = [0.01, 0.3, 1.0, 3.0, 10.0]


def points(rng, dim, count):
    """Points [5 count, d]: random directions at several scales."""
    return jnp.concatenate([scale * rng.standard_normal((count, dim)) for scale in SCALES])


def hessians(problem, x):
    return jax.jit(jax.vmap(jax.hessian(problem.value)))(x)


def cast(problem, dtype):
    """What the Monte Carlo kernel does: every float of the problem in one precision."""

    def leaf_as(leaf):
        is_float = isinstance(leaf, float) or (eqx.is_array_like(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating))
        return jnp.asarray(leaf, dtype) if is_float else leaf

    return jax.tree.map(leaf_as, problem)


@eqx.filter_jit
def everything(problem, x):
    return jax.vmap(lambda x: (problem.value(x), problem.gradient(x), problem.hessian_product(x, x)))(x)


def test_gradient_is_autodiff(problem, rng):
    x = points(rng, problem.dim, 5)
    expected = jax.jit(jax.vmap(jax.grad(problem.value)))(x)
    np.testing.assert_allclose(jax.jit(jax.vmap(problem.gradient))(x), expected, rtol=1e-10, atol=1e-10)


def test_hessian_product_is_autodiff(problem, rng):
    x = points(rng, problem.dim, 5)
    v = jnp.asarray(rng.standard_normal(x.shape))
    expected = jnp.einsum("rij,rj->ri", hessians(problem, x), v)
    np.testing.assert_allclose(jax.jit(jax.vmap(problem.hessian_product))(x, v), expected, rtol=1e-9, atol=1e-10)


def test_hessian_is_bounded_by_every_pair(problem, rng):
    if not problem.has_smoothness:
        pytest.skip("no pair is known")
    x = points(rng, problem.dim, 200)
    norms = np.linalg.norm(np.asarray(hessians(problem, x)), 2, axis=(1, 2))
    gradient_norms = np.linalg.norm(np.asarray(jax.jit(jax.vmap(problem.gradient))(x)), axis=1)
    for L1 in problem.smallest_L1 + np.array([1e-9, 0.1, 0.5, 1.0, 3.0]):
        assert np.all(norms <= (problem.smoothness(L1) + L1 * gradient_norms) * (1 + 1e-12))


def test_more_L1_never_needs_more_L0(problem):
    if problem.has_smoothness:
        curve = [problem.smoothness(problem.smallest_L1 + L1) for L1 in np.geomspace(1e-3, 1e3, 30)]
        assert np.all(np.diff(curve) <= 0)


def test_unknown_smoothness_raises_a_sentence(problem):
    if not problem.has_smoothness:
        with pytest.raises(InvalidInput, match=r"no \(L0, L1\) pair is known"):
            problem.smoothness(1.0)
        with pytest.raises(InvalidInput, match=r"no \(L0, L1\) pair is known"):
            problem.best_L1(1.0)


def test_minimum_is_a_lower_bound(problem, rng):
    if problem.minimum is not None:
        values = jax.jit(jax.vmap(problem.value))(points(rng, problem.dim, 100))
        assert jnp.min(values) >= problem.minimum


def test_minimum_is_attained(case):
    if case.minimizer is not None:
        value = eqx.filter_jit(case.problem.value)(jnp.array(case.minimizer))
        np.testing.assert_allclose(value, case.problem.minimum, atol=1e-14)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("cast_leaves", [True, False])
def test_strict_promotion_under_jit_and_vmap(problem, rng, dtype, cast_leaves):
    if dtype == jnp.float64 and not jax.config.jax_enable_x64:
        pytest.skip("needs x64")
    used = cast(problem, dtype) if cast_leaves else problem
    x = jnp.asarray(rng.standard_normal((4, problem.dim)), dtype)
    with jax.numpy_dtype_promotion("strict"):
        value, gradient, product = everything(used, x)
    assert (value.dtype, gradient.dtype, product.dtype) == (dtype, dtype, dtype)
    assert (value.shape, gradient.shape, product.shape) == ((4,), x.shape, x.shape)
    exact = everything(problem, jnp.asarray(x, jnp.result_type(float)))
    for found, expected in zip((value, gradient, product), exact):
        np.testing.assert_allclose(found, expected, rtol=5e-5, atol=5e-5)


def test_no_recompilation_for_other_parameters(problem, rng):
    traces = []

    @eqx.filter_jit
    def gradient(problem: Problem, x):
        traces.append(1)
        return problem.gradient(x)

    x = jnp.asarray(rng.standard_normal(problem.dim), jnp.float32)
    first = cast(problem, jnp.float32)
    other = jax.tree.map(lambda leaf: leaf * 1.5 if eqx.is_inexact_array(leaf) else leaf, first)
    gradient(first, x)
    gradient(other, x)
    assert len(traces) == 1


def test_parameters_can_be_a_vmapped_grid(problem, rng):
    first = cast(problem, jnp.float32)
    arrays, rest = eqx.partition(first, eqx.is_inexact_array)
    grid = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), arrays)
    x = jnp.asarray(rng.standard_normal(problem.dim), jnp.float32)
    if not jax.tree.leaves(grid):
        pytest.skip("no float parameters")
    both = jax.jit(jax.vmap(lambda arrays: eqx.combine(arrays, rest).gradient(x)))(grid)
    alone = jax.jit(lambda arrays: eqx.combine(arrays, rest).gradient(x))(arrays)
    np.testing.assert_allclose(both[0], alone, rtol=1e-5, atol=1e-5)


def test_terms_of_a_sum_average_to_the_whole(problem, rng):
    if not isinstance(problem, SumProblem):
        pytest.skip("not a sum")
    x = jnp.asarray(rng.standard_normal(problem.dim))
    indices = jnp.array([4, 0, 4])
    terms, batch, gradient = jax.jit(
        lambda x: (problem.term_gradients(x), problem.batch_gradient(x, indices), problem.gradient(x))
    )(x)
    assert terms.shape == (problem.size, problem.dim)
    np.testing.assert_allclose(jnp.mean(terms, axis=0), gradient, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(batch, jnp.mean(terms[indices], axis=0), rtol=1e-11, atol=1e-12)


def test_the_constructor_arguments_give_the_problem_again(problem):
    """What `vary`, grids and specs rest on: every argument is kept, under its own name or one that `stored` tells."""
    arguments = parameters(problem)
    again = type(problem)(**arguments)
    assert not any(callable(value) and value == getattr(problem, "smoothness", None) for value in arguments.values())
    x = jnp.linspace(-0.4, 0.9, problem.dim)
    assert float(again.value(x)) == float(problem.value(x)) and again.minimum == problem.minimum
    assert again.has_smoothness == problem.has_smoothness
