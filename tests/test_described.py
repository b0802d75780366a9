"""Parts show themselves as the call that makes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equinox import tree_equal

from stablestep import compressor, noise, problem, schedule, server
from stablestep.compressor import ErrorFeedback, RandomSparsification, TopK
from stablestep.described import describe
from stablestep.noise import Gaussian
from stablestep.problem import FiniteSum, Function, Mixture, Quadratic, Quartic
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from tests.instances import TABLES

NAMES = {name: value for part in (compressor, noise, problem, schedule, server) for name, value in vars(part).items()}
NAMES |= {"Setup": Setup, "Agents": Agents, "inf": np.inf}
FUNCTIONS = ("Custom", "Limited", "FiniteSum")  # of which no text can give the function, or the note, again
PARTS = [part for table in TABLES.values() for part in table.values() if type(part).__name__ not in FUNCTIONS]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: type(part).__name__)
def test_what_a_part_shows_makes_it_again(part):
    assert tree_equal(eval(repr(part), NAMES), part)


def test_a_setup_shows_the_call_that_made_it():
    agents = Agents(16, noise=Gaussian(sigma1=0.1), compressor=RandomSparsification(omega=8))
    setup = Setup(Quartic(dim=10), agents)
    written = "Agents(count=16, noise=Gaussian(sigma1=0.1), compressor=RandomSparsification(omega=8.0))"
    assert describe(setup) == f"Setup(Quartic(dim=10), {written})"
    assert tree_equal(eval(repr(setup), NAMES), setup)


@pytest.mark.parametrize(
    ("setup", "shown"),
    [
        (Setup(Quadratic([1.0, 4.0]), Agents(3)), "Setup(Quadratic([1.0, 4.0]), Agents(count=3))"),
        (
            Setup(Quartic(2), Agents(), server=HeavyBall(0.9)),
            "Setup(Quartic(dim=2), Agents(), server=HeavyBall(beta=0.9))",
        ),
        (Setup(None, Agents(problem=Quartic(2))), "Setup(None, Agents(problem=Quartic(dim=2)))"),
        (
            Setup(Quartic(2), Agents(compressor=ErrorFeedback(TopK(k=1)))),
            "Setup(Quartic(dim=2), Agents(compressor=ErrorFeedback(TopK(k=1))))",
        ),
    ],
)
def test_what_is_left_out_of_the_call_is_not_shown(setup, shown):
    assert repr(setup) == shown
    assert tree_equal(eval(repr(setup), NAMES), setup)


def bowl(x):
    return jnp.sum(x**2)


def test_a_function_is_shown_by_its_name():
    assert repr(Function(bowl, dim=3)) == "Function(<function bowl>, dim=3)"


def test_no_argument_without_its_name_follows_one_with_it():
    mixed = Mixture([Quartic(1), Quadratic([2.0])], weights=[0.5, 0.5])
    assert repr(mixed) == "Mixture((Quartic(dim=1), Quadratic([2.0])), [0.5, 0.5])"
    assert describe(FiniteSum(lambda x, row: bowl(x - row), np.ones((2, 1)), dim=1)).endswith(
        ">, [[1.0], [1.0]], dim=1)"
    )


def test_many_numbers_and_many_groups_fit_a_screen():
    many = Setup(None, *(Agents(problem=Quadratic(np.ones(100))) for _ in range(50)))
    assert len(repr(many)) < 500 and "f64[100]" in repr(many) and "… 44 more" in repr(many)
    assert describe(many).count("Agents(") == 50


def test_what_is_traced_can_be_shown():
    seen = []
    jax.jit(lambda part: seen.append(repr(part)))(RandomSparsification(omega=8))
    assert seen[0].startswith("RandomSparsification(omega=")
