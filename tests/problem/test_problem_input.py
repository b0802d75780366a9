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
    "dim zero": (lambda: Quartic(0), "Quartic: dim is 0, but must be a whole number of at least 1"),
    "dim negative": (lambda: Cosh(-3), "dim is -3"),
    "dim fractional": (lambda: DoubleWell(2.5), "dim is 2.5"),
    "dim bool": (lambda: EvenPower(True, 4), "dim is True"),
    "dim text": (lambda: Quartic("4"), 'dim is "4"'),
    "dim infinite": (lambda: Cosh(np.inf), "dim is inf"),
    "dim beyond an index": (lambda: Quartic(2**63 - 1), "dim is 9223372036854775807, but must be at most"),
    "dim of a function": (lambda: Function(jnp.sum, 0), "Function: dim is 0"),
    "dim of a sum": (lambda: FiniteSum(_loss, (np.ones((3, 1)), np.ones(3)), None), "FiniteSum: dim is None"),
    "asymmetric": (
        lambda: Quadratic([[1.0, 2.0], [0.0, 1.0]]),
        r"entry \(0, 1\) of the matrix is 2.0 and entry \(1, 0\) is 0",
    ),
    "not square": (lambda: Quadratic([[1.0, 2.0]]), r"has shape \(1, 2\)"),
    "scalar matrix": (lambda: Quadratic(3.0), r"has shape \(\)"),
    "empty matrix": (lambda: Quadratic([]), r"has shape \(0,\)"),
    "ragged matrix": (lambda: Quadratic([[1.0], [1.0, 2.0]]), "rows of equal length"),
    "matrix of texts": (lambda: Quadratic(["1", "4"]), r"Quadratic: the matrix is \['1', '4'\], but must be a number"),
    "matrix of booleans": (lambda: Quadratic([True, True]), "the matrix is .*True"),
    "matrix beyond floats": (lambda: Quadratic([10**400]), "the matrix is"),
    "nan matrix": (lambda: Quadratic([1.0, NAN]), r"nan at index \(1,\)"),
    "odd power": (lambda: EvenPower(1, 3), "EvenPower: power is 3, but must be even"),
    "power zero": (lambda: EvenPower(1, 0), "power is 0, but must be a whole number of at least 2"),
    "power fractional": (lambda: EvenPower(1, 4.5), "power is 4.5"),
    "cosh flat": (lambda: Cosh(1, a=0.0), "a is 0.0, but must be a finite number other than 0"),
    "cosh text": (lambda: Cosh(1, a="1"), 'a is "1"'),
    "cosh scale": (lambda: Cosh(1, scale=-1.0), "scale is -1.0, but must be a finite number greater than 0"),
    "cosh scale bool": (lambda: Cosh(1, scale=True), "scale is True"),
    "cosh below a": (lambda: Cosh(1, a=2.0).smoothness(1.0), r"L1 is 1.0, but must be at least \|a\| = 2.0"),
    "well b": (lambda: DoubleWell(1, b=0.0), "DoubleWell: b is 0.0, but must be a finite number greater than 0"),
    "well b nan": (lambda: DoubleWell(1, b=NAN), "b is nan"),
    "well radial": (lambda: DoubleWell(1, radial="no"), 'radial is "no", but must be True or False'),
    "labels": (lambda: Logistic(ROWS, [1, 2]), r"labels are \[1.0, 2.0\], but must be -1 and 1 \(or 0 and 1\)"),
    "labels mixed": (lambda: Logistic([[1.0]] * 3, [-1, 0, 1]), "map the two classes"),
    "label count": (lambda: Logistic(ROWS, [1]), r"labels have shape \(1,\), but must be 2, one for each row"),
    "features 1-d": (lambda: Logistic([1.0, 2.0], [1, -1]), r"features have shape \(2,\), but must be a non-empty"),
    "features huge": (lambda: Logistic([[1e300]], [1]), r"data reach 1e\+300, but at most 1e\+70 is allowed"),
    "intensities huge": (lambda: PhaseRetrieval([[1.0]], [1e300]), r"data reach 1e\+300, .* measure them in another"),
    "features nan": (lambda: Logistic([[1.0], [NAN]], [1, -1]), r"nan at index \(1, 0\)"),
    "features text": (
        lambda: Logistic([["a"]], [1]),
        "array of features is .*but must be a number, or numbers in rows",
    ),
    "labels text": (lambda: Logistic([[1.0]], ["1"]), "array of labels is"),
    "l2": (lambda: Logistic(ROWS, [1, 0], l2=-0.1), "l2 is -0.1, but must be a finite number of at least 0"),
    "intensity count": (lambda: PhaseRetrieval(ROWS, [1.0]), "intensities have shape .*, but must be 2"),
    "intensity inf": (lambda: PhaseRetrieval(ROWS, [1.0, np.inf]), "inf at index"),
    "minimum": (lambda: Function(jnp.sum, 1, minimum=-np.inf), "minimum is -inf, but must be a finite number"),
    "minimum text": (lambda: Function(jnp.sum, 1, minimum="0"), 'minimum is "0"'),
    "L1 negative": (lambda: Quadratic([1.0]).smoothness(-1.0), "L1 is -1.0, but must be a finite number of at least 0"),
    "L1 nan": (lambda: Logistic(ROWS, [1, 0]).smoothness(NAN), "L1 is nan"),
    "L1 zero quartic": (lambda: Quartic(1).smoothness(0.0), "give L1 > 0"),
    "L1 zero well": (lambda: DoubleWell(1).smoothness(0), "give L1 > 0"),
    "L1 zero phase": (lambda: PhaseRetrieval(ROWS, [1.0, 1.0]).smoothness(0), "give L1 > 0"),
    "gradient norm": (
        lambda: Quartic(1).best_L1(0.0),
        "gradient_norm is 0.0, but must be a finite number greater than 0",
    ),
    "curve without pair": (
        lambda: Function(jnp.sum, 1, smoothness=lambda L1: 1 / L1).smoothness(0),
        "L0 = inf at L1 = 0",
    ),
    "curve nan": (lambda: Function(jnp.sum, 1, smoothness=lambda L1: NAN).smoothness(1), "L0 = nan"),
    "curve of a number": (lambda: Function(jnp.sum, 1, smoothness=3), "smoothness is 3, but must be a function"),
    "not a function": (lambda: Function(3, 1), "f is 3, but must be a function"),
    "vector-valued": (lambda: Function(lambda x: x**2, 3), r"shape \(3,\) .* but must be one floating-point number"),
    "integer-valued": (lambda: Function(lambda x: jnp.argmax(x), 3), "type int"),
    "tuple-valued": (lambda: Function(lambda x: (x[0], x[1]), 3), "must be one floating-point number"),
    "numpy inside": (lambda: Function(lambda x: np.sum(np.asarray(x)), 3), "write it with jax.numpy"),
    "wrong length inside": (lambda: Function(lambda x: jnp.sum(x * jnp.ones(4)), 3), "vector of 3 entries"),
    "unequal axes": (lambda: FiniteSum(_loss, (np.ones((3, 1)), np.ones(2)), 1), r"\(2,\), \(3, 1\)"),
    "no data": (lambda: FiniteSum(_loss, (np.ones((0, 1)), np.ones(0)), 1), "n >= 1"),
    "data without axis": (lambda: FiniteSum(_loss, (1.0, 2.0), 1), r"have shapes \[\(\)\]"),
    "empty tree": (lambda: FiniteSum(_loss, (), 1), "leading axis"),
    "data nan": (lambda: FiniteSum(_loss, (np.ones((2, 1)), np.array([1.0, NAN])), 1), "1 entries of data are NaN"),
    "vector loss": (lambda: FiniteSum(lambda x, a: x * a, np.ones(3), 2), r"has shape \(2,\)"),
    "weights sum": (lambda: Mixture([Quartic(1), Quartic(1)], [0.5, 0.6]), "sum 1.1, but must be .* sum to 1"),
    "weights negative": (lambda: Mixture([Quartic(1), Quartic(1)], [1.5, -0.5]), "at least 0"),
    "weights count": (lambda: Mixture([Quartic(1)], [0.5, 0.5]), r"weights have shape \(2,\), but must be 1"),
    "weights nan": (lambda: Mixture([Quartic(1)], [NAN]), "nan at index"),
    "no problems": (lambda: Mixture([], []), "there are no problems"),
    "dims differ": (lambda: Mixture([Quartic(1), Quartic(2)], [0.5, 0.5]), r"have dim = \[1, 2\]"),
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


@pytest.mark.parametrize(
    "number", [np.int64(2), np.uint8(2), 2.0, np.float32(2)], ids=lambda value: type(value).__name__
)
def test_whole_numbers_of_every_kind(number):
    """And what is kept is an int, so that equal problems are equal."""
    for problem in (Quartic(number), EvenPower(number, number), Cosh(number), DoubleWell(number)):
        assert type(problem.dim) is int and problem.dim == 2
    assert EvenPower(1, number) == EvenPower(1, 2)
    assert Function(jnp.sum, number).dim == 2


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
