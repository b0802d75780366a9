"""Inputs that cannot be right: each is one sentence that says what, which value, and what to do."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.problem import (
    Cosh,
    DoubleWell,
    EvenPower,
    FiniteSum,
    Function,
    Logistic,
    Mixture,
    PhaseRetrieval,
    Problem,
    Quadratic,
    Quartic,
)

NAN = float("nan")
ROWS = [[1.0, 2.0], [3.0, 4.0]]

BAD = {
    "dim zero": (lambda: Quartic(0), "dim must be an integer of at least 1, got 0"),
    "dim negative": (lambda: Cosh(-3), "got -3"),
    "dim fractional": (lambda: DoubleWell(2.5), "got 2.5"),
    "dim bool": (lambda: EvenPower(True, 4), "got True"),
    "dim of a function": (lambda: Function(jnp.sum, 0), "got 0"),
    "asymmetric": (lambda: Quadratic([[1.0, 2.0], [0.0, 1.0]]), r"entry \(0, 1\) is 2.0 and entry \(1, 0\) is 0.0"),
    "not square": (lambda: Quadratic([[1.0, 2.0]]), r"got shape \(1, 2\)"),
    "scalar matrix": (lambda: Quadratic(3.0), r"got shape \(\)"),
    "empty matrix": (lambda: Quadratic([]), r"got shape \(0,\)"),
    "ragged matrix": (lambda: Quadratic([[1.0], [1.0, 2.0]]), "rows of equal length"),
    "nan matrix": (lambda: Quadratic([1.0, NAN]), r"nan at index \(1,\)"),
    "odd power": (lambda: EvenPower(1, 3), "even integer of at least 2, got 3"),
    "power zero": (lambda: EvenPower(1, 0), "got 0"),
    "power fractional": (lambda: EvenPower(1, 4.0), "got 4.0"),
    "cosh flat": (lambda: Cosh(1, a=0.0), "other than 0, got 0.0"),
    "cosh scale": (lambda: Cosh(1, scale=-1.0), "scale must be a positive finite number, got -1.0"),
    "cosh below a": (lambda: Cosh(1, a=2.0).smoothness(1.0), "L1=1.0 below"),
    "well b": (lambda: DoubleWell(1, b=0.0), "b must be a positive finite number, got 0.0"),
    "well b nan": (lambda: DoubleWell(1, b=NAN), "got nan"),
    "labels": (lambda: Logistic(ROWS, [1, 2]), r"labels must be -1 and 1 \(or 0 and 1\), got \[1.0, 2.0\]"),
    "labels mixed": (lambda: Logistic([[1.0]] * 3, [-1, 0, 1]), "map the two classes"),
    "label count": (lambda: Logistic(ROWS, [1]), r"2 rows of features need 2 labels, got shape \(1,\)"),
    "features 1-d": (lambda: Logistic([1.0, 2.0], [1, -1]), r"must be a non-empty \(n, d\) array, got shape \(2,\)"),
    "features nan": (lambda: Logistic([[1.0], [NAN]], [1, -1]), r"nan at index \(1, 0\)"),
    "features text": (lambda: Logistic([["a"]], [1]), "Expected an array of numbers"),
    "l2": (lambda: Logistic(ROWS, [1, 0], l2=-0.1), "l2 must be a finite number of at least 0, got -0.1"),
    "intensity count": (lambda: PhaseRetrieval(ROWS, [1.0]), "2 rows of features need 2 intensities"),
    "intensity inf": (lambda: PhaseRetrieval(ROWS, [1.0, np.inf]), "inf at index"),
    "minimum": (lambda: Function(jnp.sum, 1, minimum=-np.inf), "minimum must be a finite number, got -inf"),
    "L1 negative": (lambda: Quadratic([1.0]).smoothness(-1.0), "L1 must be a finite number of at least 0, got -1.0"),
    "L1 nan": (lambda: Logistic(ROWS, [1, 0]).smoothness(NAN), "got nan"),
    "L1 zero quartic": (lambda: Quartic(1).smoothness(0.0), "give L1 > 0"),
    "L1 zero well": (lambda: DoubleWell(1).smoothness(0), "give L1 > 0"),
    "L1 zero phase": (lambda: PhaseRetrieval(ROWS, [1.0, 1.0]).smoothness(0), "give L1 > 0"),
    "gradient norm": (lambda: Quartic(1).best_L1(0.0), "gradient_norm must be positive and finite, got 0.0"),
    "curve without pair": (lambda: Function(jnp.sum, 1, smoothness=lambda L1: 1 / L1).smoothness(0), "L0=inf at L1=0"),
    "curve nan": (lambda: Function(jnp.sum, 1, smoothness=lambda L1: NAN).smoothness(1), "L0=nan"),
    "not a function": (lambda: Function(3, 1), "f must be a function, got 3"),
    "vector-valued": (lambda: Function(lambda x: x**2, 3), r"must return one floating-point number, got shape \(3,\)"),
    "integer-valued": (lambda: Function(lambda x: jnp.argmax(x), 3), "type int"),
    "tuple-valued": (lambda: Function(lambda x: (x[0], x[1]), 3), "must return one floating-point number"),
    "numpy inside": (lambda: Function(lambda x: np.sum(np.asarray(x)), 3), "Write it with jax.numpy"),
    "wrong length inside": (lambda: Function(lambda x: jnp.sum(x * jnp.ones(4)), 3), "vector of 3 entries"),
    "unequal axes": (lambda: FiniteSum(_loss, (np.ones((3, 1)), np.ones(2)), 1), r"\(2,\), \(3, 1\)"),
    "no data": (lambda: FiniteSum(_loss, (np.ones((0, 1)), np.ones(0)), 1), "n >= 1"),
    "data without axis": (lambda: FiniteSum(_loss, (1.0, 2.0), 1), r"got shapes \[\(\)\]"),
    "empty tree": (lambda: FiniteSum(_loss, (), 1), "leading axis"),
    "data nan": (lambda: FiniteSum(_loss, (np.ones((2, 1)), np.array([1.0, NAN])), 1), "1 entries that are NaN"),
    "vector loss": (lambda: FiniteSum(lambda x, a: x * a, np.ones(3), 2), r"got shape \(2,\)"),
    "weights sum": (lambda: Mixture([Quartic(1), Quartic(1)], [0.5, 0.6]), "sum to 1, got .* with sum 1.1"),
    "weights negative": (lambda: Mixture([Quartic(1), Quartic(1)], [1.5, -0.5]), "at least 0"),
    "weights count": (lambda: Mixture([Quartic(1)], [0.5, 0.5]), "1 problems need 1 weights"),
    "weights nan": (lambda: Mixture([Quartic(1)], [NAN]), "nan at index"),
    "no problems": (lambda: Mixture([], []), "got no problems"),
    "dims differ": (lambda: Mixture([Quartic(1), Quartic(2)], [0.5, 0.5]), r"got dim=\[1, 2\]"),
    "not problems": (lambda: Mixture([jnp.sum], [1.0]), "wrap a function as Function"),
    "mixture smoothness": (lambda: Mixture([Quartic(1), Cosh(1)], [0.5, 0.5]).smoothness(1.0), "not closed under"),
}


def _loss(x, datum):
    return (jnp.vdot(datum[0], x) - datum[1]) ** 2


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name):
    build, pattern = BAD[name]
    with pytest.raises(InvalidInput, match=pattern) as raised:
        build()
    message = str(raised.value)
    assert message.endswith(".") and "\n" not in message and len(message) < 400


def test_labels_0_1_are_read_as_signs():
    assert Logistic(ROWS, [0, 1]).labels.tolist() == [-1.0, 1.0]
    assert Logistic(ROWS, [True, False]).labels.tolist() == [1.0, -1.0]


def test_nearly_symmetric_matrix_is_symmetrized():
    matrix = Quadratic(np.array([[1.0, 2.0 + 1e-8], [2.0, 5.0]])).matrix
    assert (matrix == matrix.T).all()


def test_the_problem_keeps_its_own_copy_of_the_data():
    eigenvalues = np.array([1.0, 2.0])
    problem = Quadratic(eigenvalues)
    eigenvalues[0] = -9.0
    assert problem.minimum == 0.0


def test_a_module_with_parameters_is_a_function_whose_parameters_are_leaves():
    class Ridge(eqx.Module):
        weight: float

        def __call__(self, x):
            return self.weight * jnp.sum(x**2)

    problem = Function(Ridge(2.0), dim=2)
    assert float(problem.value(jnp.ones(2))) == 4.0
    assert 2.0 in eqx.filter(problem, lambda leaf: isinstance(leaf, float)).function.__dict__.values()


def test_a_subclass_needs_only_dim_and_value():
    class Absolute(Problem):
        dim: int = eqx.field(static=True, default=2)

        def value(self, x):
            return jnp.sum(jnp.sqrt(1 + x**2))

    problem = Absolute()
    assert problem.minimum is None and not problem.has_smoothness
    assert problem.gradient(jnp.zeros(2)).tolist() == [0.0, 0.0]
