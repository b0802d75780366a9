"""The curves of (L0, L1) pairs: theory's numbers, tightness, and the choice of the best pair."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.problem import (
    Cosh,
    DoubleWell,
    EvenPower,
    Function,
    Logistic,
    Mixture,
    PhaseRetrieval,
    Quadratic,
    Quartic,
)
from stablestep.problem.base import _best_on_curve

TIGHT = {
    "quadratic": (Quadratic([2.0]), [0.0, 1.0]),
    "quartic": (Quartic(1), [0.2, 1.0, 5.0]),
    "power-6": (EvenPower(1, power=6), [0.5, 2.0]),
    "cosh": (Cosh(1, a=0.7, scale=2.0), [0.7, 3.0]),
    "logistic": (Logistic([[2.0], [-1.0]], [1, 1], l2=0.1), [0.0]),
    "double-well": (DoubleWell(1, b=1.0), [0.5, 1.0, 2.0, 2.9, 4.0]),
    "double-well-b": (DoubleWell(1, b=0.3), [0.5, 2.0, 9.0]),
    "double-well-radial": (DoubleWell(2, b=2.0, radial=True), [0.5, 1.0, 4.0]),
    "phase-retrieval": (PhaseRetrieval([[1.5]], [2.0]), [0.2, 1.0, 20.0]),
    "mixture": (Mixture([Quadratic([-6.0]), Quadratic([2.0])], [0.75, 0.25]), [0.0]),
}


def needed_L0(problem, L1):
    """max over a fine scan along the first axis of ‖∇²f‖ - L1‖∇f‖, the L0 that is really needed there."""
    line = jnp.concatenate([jnp.zeros(1), jnp.geomspace(1e-3, 14.0, 20_000)])
    x = jnp.zeros((line.size, problem.dim)).at[:, 0].set(line)
    hessians = np.asarray(jax.jit(jax.vmap(jax.hessian(problem.value)))(x))
    gradients = np.asarray(jax.jit(jax.vmap(problem.gradient))(x))
    norms = np.max(np.abs(np.linalg.eigvalsh(hessians)), axis=-1)
    return float(np.max(norms - L1 * np.linalg.norm(gradients, axis=-1)))


@pytest.mark.parametrize("name", TIGHT)
def test_the_pair_holds_and_99_percent_of_it_does_not(name):
    problem, choices = TIGHT[name]
    for L1 in choices:
        L0, needed = problem.smoothness(L1), needed_L0(problem, L1)
        assert needed <= L0 * (1 + 1e-9)
        assert needed > 0.99 * L0, "0.99 L0 would hold too: the pair is not minimal"


@pytest.mark.parametrize(("L1", "expected"), [(1, 5.079201), (2, 2.282113), (0.5, 17.020553), (3, 2.0), (100, 2.0)])
def test_double_well_numbers_of_the_theory(L1, expected):
    assert DoubleWell(1, b=1.0).smoothness(L1) == pytest.approx(expected, abs=5e-7)
    assert DoubleWell(4, b=9.0, radial=True).smoothness(L1 / 3) == pytest.approx(9 * expected, abs=5e-6)
    assert PhaseRetrieval([[1.0]], [4.0]).smoothness(L1 / 2) == pytest.approx(4 * expected, abs=5e-6)


@pytest.mark.parametrize("gradient_norm", [1e-6, 0.3, 1.0, 8.0, 1e5])
def test_quartic_best_pair(gradient_norm):
    problem = Quartic(5)
    L1 = problem.best_L1(gradient_norm)
    assert pytest.approx(2 * gradient_norm ** (-1 / 3)) == L1
    assert problem.smoothness(L1) + L1 * gradient_norm == pytest.approx(3 * gradient_norm ** (2 / 3))
    assert pytest.approx(L1, rel=1e-4) == _best_on_curve(problem.smoothness, 0.0, gradient_norm)


CURVES = [
    EvenPower(2, power=8),
    EvenPower(2, power=2),
    DoubleWell(1, b=0.3),
    DoubleWell(2, b=50.0, radial=True),
    PhaseRetrieval([[1.0, 0.2], [0.1, 2.0], [1.0, 1.0]], [1.0, 2.0, 3.0]),
    Cosh(1, a=3.0),
    Quadratic([1.0, 2.0]),
    Logistic([[1.0]], [1]),
    Function(jnp.sum, 1, smoothness=lambda L1: 1 / (L1 - 2), smallest_L1=2.0),
]


@pytest.mark.parametrize("problem", CURVES, ids=lambda problem: type(problem).__name__)
@pytest.mark.parametrize("gradient_norm", [0.01, 1.0, 300.0])
def test_no_other_pair_beats_the_best(problem, gradient_norm):
    def bound(L1):
        return problem.smoothness(L1) + L1 * gradient_norm

    best = bound(problem.best_L1(gradient_norm))
    others = problem.smallest_L1 + np.geomspace(1e-4, 1e4, 400)
    assert best <= min(bound(L1) for L1 in others) * (1 + 1e-9)


def test_pairs_outside_the_curve_raise():
    with pytest.raises(InvalidInput, match=r"at least \|a\| = 2"):
        Cosh(1, a=-2.0).smoothness(1.9)
    assert Cosh(1, a=-2.0, scale=3.0).smoothness(2.0) == 12.0
    own = Function(lambda x: jnp.sum(jnp.cosh(x)), 1, smoothness=lambda L1: 1.0, smallest_L1=1.0)
    assert own.smoothness(1.0) == 1.0
    for mixed in (own, Mixture([own, own], [0.5, 0.5])):
        with pytest.raises(InvalidInput, match=r"L1 is 0\.5, but must be at least smallest_L1 = 1"):
            mixed.smoothness(0.5)
    with pytest.raises(InvalidInput, match="no \\(L0, L1\\) pair is known"):
        Mixture([own, Quadratic([1.0])], [0.5, 0.5]).smoothness(1.0)


def test_mixture_of_opposite_data_keeps_the_pair_of_the_pooled_data():
    """Opposite data have (0, 1)-smooth terms, but their mean needs L0 = 1/4 whatever L1: no averaging of pairs."""
    mixed = Mixture([Logistic([[1.0]], [1]), Logistic([[1.0]], [-1])], [0.5, 0.5])
    assert mixed.smoothness(1.0) == pytest.approx(0.25)
    assert float(mixed.hessian_product(jnp.zeros(1), jnp.ones(1))[0]) == pytest.approx(0.25)
    assert float(mixed.gradient(jnp.zeros(1))[0]) == 0.0


def test_phase_retrieval_below_full_rank_says_what_is_missing():
    problem = PhaseRetrieval([[1.0, 0.0], [2.0, 0.0]], [1.0, 1.0])
    assert not problem.has_smoothness
    with pytest.raises(InvalidInput, match="do not span all 2 coordinates"):
        problem.smoothness(1.0)


def test_logistic_is_stable_in_float32():
    problem = Logistic([[1.0]], [1])
    far = jnp.array([-1e4], jnp.float32)
    assert float(problem.value(far)) == pytest.approx(1e4)
    assert float(problem.gradient(far)[0]) == -1.0
    assert float(problem.value(-far)) == 0.0
    assert jnp.isfinite(problem.hessian_product(far, far)).all()


# Sums of functions of one coordinate, and that function where its pairs bound the coordinate's curvature.
SEPARABLE = {
    "quadratic": (Quadratic([1.0, -2.0, 0.0]), None),
    "quartic": (Quartic(3), Quartic(1)),
    "power-2": (EvenPower(3, power=2), EvenPower(1, power=2)),
    "power-6": (EvenPower(3, power=6), EvenPower(1, power=6)),
    "cosh": (Cosh(3, a=-0.7, scale=2.0), Cosh(1, a=-0.7, scale=2.0)),
    "double-well": (DoubleWell(1, b=2.0), DoubleWell(1, b=2.0)),
}


@pytest.mark.parametrize("name", SEPARABLE)
def test_the_coordinates_curvature_is_bounded_where_the_gradient_is_this(name, rng):
    """And by no more than the coordinate's own best pair."""
    problem, alone = SEPARABLE[name]
    points = np.array([0.1, 1.0, 4.0])[:, None] * rng.normal(size=(3, problem.dim))
    hessians = jax.jit(jax.vmap(jax.hessian(problem.value)))(points)
    for x, hessian in zip(points, np.abs(np.asarray(hessians)), strict=True):
        gradient = np.asarray(problem.gradient(jnp.asarray(x)))
        bound = problem.coordinate_curvature(gradient)
        assert bound.shape == (problem.dim,) and np.all(np.diag(hessian) <= bound * (1 + 1e-9))
        if name in ("quadratic", "quartic", "power-2", "power-6"):
            np.testing.assert_allclose(bound, np.diag(hessian), rtol=1e-9)
        if alone is not None:
            pairs = [(alone.best_L1(norm), norm) for norm in np.abs(gradient)]
            np.testing.assert_allclose(bound, [alone.smoothness(L1) + L1 * norm for L1, norm in pairs], rtol=1e-6)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Quadratic([[2.0, 1.0], [1.0, 2.0]]), "Quadratic is not known to be a sum of functions of one coordinate"),
        (DoubleWell(2, b=2.0, radial=True), "not known to be a sum"),
        (Logistic(np.eye(2), [0, 1]), "coordinate-wise limits are known for Quadratic with eigenvalues, Quartic"),
        (Function(jnp.sum, 1), "pair is known"),
    ],
)
def test_functions_that_are_no_known_sums(problem, message):
    with pytest.raises(InvalidInput, match=message):
        problem.coordinate_curvature(np.ones(problem.dim))
