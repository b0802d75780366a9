"""(𝔅², ζ²) of clients with affine gradients: it holds everywhere, with equality somewhere."""

import numpy as np
import pytest

from stablestep.compressor import RandomSparsification
from stablestep.errors import InvalidInput
from stablestep.estimate import dissimilarity
from stablestep.problem import Function, Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.theorem import constants, step_limit
from stablestep.theorem.apart import dissimilarity_of
from tests.method.problems import Bowl

ONE, TWO = np.array([[1.0, 0.6], [0.6, 0.8]]), np.array([[0.5, -0.2], [-0.2, 1.5]])
HERE, THERE = np.array([1.0, -1.0]), np.array([-0.5, 2.0])
CASES = {
    "unlike Hessians and minimizers": ([Bowl(ONE, HERE), Bowl(TWO, THERE)], [0.25, 0.75]),
    "three": ([Bowl(ONE, HERE), Bowl(TWO, THERE), Quadratic([2.0, 0.1])], [0.25, 0.25, 0.5]),
    "diagonal": ([Bowl(np.diag([1.0, 3.0]), HERE), Bowl(np.diag([2.0, 0.5]), THERE)], [0.5, 0.5]),
    "hardly apart": ([Bowl(ONE, HERE), Bowl(ONE * 1.001, HERE + 1e-3)], [0.5, 0.5]),
    "one Hessian": ([Bowl(ONE, HERE), Bowl(ONE, THERE)], [0.25, 0.75]),
}


def sides(problems, weights, points):
    """Σ w_i‖∇f_i‖² and ‖∇f‖² at points [p, d]."""
    each = np.array([[one.gradient(x) for x in points] for one in problems], float)
    return np.einsum("i,ipd->p", weights, each**2), np.sum(np.einsum("i,ipd->pd", weights, each) ** 2, axis=1)


def excess(problems, weights, B2):
    """max_x Σ w_i‖∇f_i‖² − 𝔅²‖∇f‖², a concave quadratic in x, from its value, gradient and Hessian at 0 by differences."""

    def at(x):
        spread, square = sides(problems, weights, x[None])
        return float(spread[0] - B2 * square[0])

    unit, zero = np.eye(2), np.zeros(2)
    gradient = np.array([(at(e) - at(-e)) / 2 for e in unit])
    hessian = np.array([[at(a + b) - at(a) - at(b) + at(zero) for b in unit] for a in unit])
    return at(zero) - gradient @ np.linalg.solve(hessian, gradient) / 2


@pytest.mark.parametrize("name", CASES)
def test_it_holds_everywhere_with_equality_somewhere(name, seed):
    problems, weights = CASES[name]
    B2, zeta2 = dissimilarity_of(problems, weights)
    points = np.random.default_rng(seed).normal(size=(2000, 2)) * np.geomspace(0.01, 100, 2000)[:, None]
    spread, square = sides(problems, weights, points)
    assert B2 >= 1 and np.all(spread <= (B2 * square + zeta2) * (1 + 1e-9))
    if name != "one Hessian":
        assert excess(problems, weights, B2) == pytest.approx(zeta2, rel=1e-6)


@pytest.mark.parametrize("name", [name for name in CASES if name != "one Hessian"])
def test_no_other_pair_is_tighter_where_it_is_meant(name):
    """At ‖∇f‖² = ρ, the spread at f's minimum."""
    problems, weights = CASES[name]
    B2, zeta2 = dissimilarity_of(problems, weights)
    parts = [(np.asarray(one.hessian_product(x := np.zeros(2), e), float) for e in np.eye(2)) for one in problems]
    mean = sum(w * np.array(list(rows)) for w, rows in zip(weights, parts, strict=True))
    slope = sum(w * np.asarray(one.gradient(x), float) for w, one in zip(weights, problems, strict=True))
    floor = sides(problems, weights, -np.linalg.solve(mean, slope)[None])[0][0]
    for other in (1.02 * B2, 1.5 * B2):
        assert other * floor + excess(problems, weights, other) >= (B2 * floor + zeta2) * (1 - 1e-9)


def test_one_hessian_as_in_theory2():
    """𝔅 = 1 and ζ² = λ² (1/N) Σ‖c_i − c̄‖²; measured gradients give the same."""
    centres = np.random.default_rng(0).normal(size=(8, 5))
    B2, zeta2 = dissimilarity_of([Bowl(3.0 * np.eye(5), centre) for centre in centres], [1 / 8] * 8)
    assert pytest.approx(1) == B2 and zeta2 == pytest.approx(
        9 * np.mean(np.sum((centres - centres.mean(0)) ** 2, axis=1))
    )
    points = np.random.default_rng(1).normal(size=(10, 5))
    assert dissimilarity(3.0 * (points[:, None] - centres)).pair == pytest.approx((B2, zeta2))


class Known(Bowl):
    def smoothness(self, L1):
        return float(np.max(np.linalg.eigvalsh(np.asarray(self.matrix, float))))


def test_the_constants_of_a_setup():
    """theory2 8.13: 2(1 − η...)/… of 4.2 with ωζ² in B."""
    groups = [Agents(2, None, RandomSparsification(3.0), Known(np.eye(2), centre)) for centre in (HERE, THERE)]
    c = constants(Setup(None, *groups), L1=0.0)
    zeta2 = np.sum((HERE - THERE) ** 2) / 4
    assert c.dissimilarity == pytest.approx((1.0, zeta2)) and pytest.approx(3 * zeta2) == c.B
    assert step_limit("4.2", c, 1.0, 0.5) == pytest.approx(1 / (1 + 3 / 4))


@pytest.mark.parametrize(
    "problems",
    [
        [Quartic(2), Quadratic([1.0, 1.0])],
        [Quadratic([1.0, -1.0]), Quadratic([-1.0, 1.0])],
        [Function(lambda x: (x @ x) / 2, 1000), Quadratic(np.ones(1000))],
    ],
    ids=["not affine", "no inverse", "large"],
)
def test_what_is_not_known(problems):
    with pytest.raises(InvalidInput, match=r"not known; give dissimilarity=\(𝔅², ζ²\)") as caught:
        dissimilarity_of(problems, [0.5, 0.5])
    assert "\n" not in str(caught.value)


def test_a_thousand_coordinates_of_diagonals():
    first, second = np.linspace(1, 2, 1000), np.linspace(2, 1, 1000)
    B2, zeta2 = dissimilarity_of([Quadratic(first), Quadratic(second)], [0.5, 0.5])
    assert (B2, zeta2) == (pytest.approx(np.max((first**2 + second**2) / 2 / 1.5**2)), 0.0)
