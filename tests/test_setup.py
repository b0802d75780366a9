"""The description of a problem and its agents: what it derives, what it refuses, how one parameter is varied."""

import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import Identity, RandK, RandomSparsification, Sign
from stablestep.described import parameters
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, Minibatch, StudentT
from stablestep.problem import Cosh, Logistic, Mixture, Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.vary import vary

SETUP = Setup(Quartic(8), Agents(3, Gaussian(0.5, 0.1), RandomSparsification(4.0)), Agents(2, StudentT(2.5), Sign()))
DATA = Logistic(np.eye(2), [0, 1])


def test_defaults():
    agents = Agents()
    assert agents.count == 1 and agents.noise.is_zero and isinstance(agents.compressor, Identity)
    assert agents.problem is None and not agents.shared


def test_derived():
    assert SETUP.count == 5 and SETUP.dim == 8 and not SETUP.differs
    assert SETUP.bits == pytest.approx(3 * 8 / 5 * 35 + 2 * 8)
    assert SETUP.problem is SETUP.base


def test_bits_of_a_shared_mask():
    own, shared = (Setup(Quartic(8), Agents(4, None, RandK(2), mask=mask)).bits for mask in ("own", "shared"))
    assert (own, shared) == (4 * 2 * 35, 4 * 2 * 32)


def test_objective_is_the_average_over_agents():
    first, second = Quadratic([1.0, 2.0]), Quadratic([3.0, 0.0])
    setup = Setup(first, Agents(3), Agents(1, problem=second))
    assert setup.differs and isinstance(setup.problem, Mixture)
    x = jnp.array([1.0, -2.0])
    np.testing.assert_allclose(setup.problem.gradient(x), (3 * first.gradient(x) + second.gradient(x)) / 4, rtol=1e-12)
    np.testing.assert_allclose(setup.problem.value(x), (3 * first.value(x) + second.value(x)) / 4, rtol=1e-12)
    assert setup.problem_of(setup.groups[0]) is first and setup.problem_of(setup.groups[1]) is second


def test_all_groups_may_carry_their_own():
    assert Setup(None, Agents(problem=Quartic(2)), Agents(problem=DATA, noise=Minibatch(1))).dim == 2


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("agents.all.count", 7, lambda s: (s.groups[0].count, s.groups[1].count)),
        ("sigma1", 7.0, lambda s: s.groups[0].noise.sigma1),
        ("omega", 7.0, lambda s: s.groups[0].compressor.omega(8)),
        ("df", 7.0, lambda s: s.groups[1].noise.df),
        ("scale", 7.0, lambda s: s.groups[1].noise.sigma),
        ("dim", 7, lambda s: s.dim),
        ("mask", "shared", lambda s: s.groups[0].mask),
    ],
)
def test_vary(name, value, read):
    varied = vary(SETUP, name, value)
    found = read(varied)
    assert found in (value, (value, value))
    assert read(SETUP) not in (value, (value, value))
    assert varied.groups[1].compressor == SETUP.groups[1].compressor


def test_vary_keeps_the_rest():
    varied = vary(SETUP, "sigma1", 7.0)
    assert varied.groups[0].noise.sigma0 == 0.5 and varied.groups[0].count == 3
    assert varied.groups[1].noise.df == 2.5 and varied.problem == SETUP.problem


def test_vary_rebuilds_what_depends_on_the_parameter():
    """Student-t keeps a fit of its tail, which must follow ν."""
    fit = vary(SETUP, "df", 7.0).groups[1].noise.fit
    np.testing.assert_array_equal(fit, StudentT(7.0).fit)


def test_vary_reaches_problems_of_groups():
    setup = Setup(None, Agents(problem=Cosh(3, a=1.0)), Agents(problem=Quartic(3)))
    assert vary(setup, "a", 2.0).groups[0].problem.a == 2.0


@pytest.mark.parametrize(
    "part",
    [
        Gaussian(0.5, [0.1, 0.2]),
        StudentT(2.5, 0.3, "multivariate"),
        RandomSparsification(3.0),
        RandK(4, block=2),
        Cosh(3, 0.5),
    ],
)
def test_parameters_give_the_part_again(part):
    again = type(part)(**parameters(part))
    assert parameters(again).keys() == parameters(part).keys() and str(again) == str(part)


BAD = [
    (lambda: Agents(0), "count is 0"),
    (lambda: Agents(-2), "count is -2"),
    (lambda: Agents(1.5), r"count is 1\.5"),
    (lambda: Agents(1, noise=0.5), r"noise is 0\.5, but must be a Noise"),
    (lambda: Agents(1, noise=Gaussian), r"must be a Noise, such as noise\.Gaussian\("),
    (lambda: Agents(1, compressor=Sign), r"call it: Sign\("),
    (lambda: Agents(1, compressor="sign"), 'compressor is "sign"'),
    (lambda: Agents(1, problem=Quartic), "problem is .*must be a Problem"),
    (lambda: Agents(1, mask="mine"), 'mask is "mine".*"own", "shared" or "common"'),
    (lambda: Setup(Quartic(3)), "at least one group"),
    (lambda: Setup(lambda x: x, Agents()), "problem is .*must be a Problem"),
    (lambda: Setup(Agents(), Agents()), "problem is .*must be a Problem"),
    (lambda: Setup(Quartic(3), 4), "4 is not a group of agents"),
    (lambda: Setup(None, Agents(problem=Quartic(3)), Agents()), "problem is None"),
    (lambda: Setup(Quartic(3), Agents(problem=Quartic(4)), Agents()), r"different dimensions: \[4, 3\]"),
    (lambda: Setup(Quartic(3), Agents(1, None, RandK(4))), "k is 4.*only 3.*use k ≤ 3"),
    (lambda: Setup(Quartic(3), Agents(1, Gaussian([1.0, 2.0]))), "sigma0 has 2 entries.*3 coordinates"),
    (lambda: Setup(Quartic(3), Agents(1, Minibatch(2))), "Minibatch noise needs a finite sum.*Quartic"),
    (lambda: vary(SETUP, "omgea", 1.0), r'parameter "omgea"\. Did you mean "omega"\?'),
    (lambda: vary(SETUP, "omega", -1.0), r"omega is -1\.0"),
    (lambda: vary(SETUP, "agents.1.count", 0), "count is 0"),
    (lambda: vary(SETUP, "count", 1), r"agents\.1\.count = 3, agents\.2\.count = 2.*path"),
    (lambda: vary(SETUP, "agents.3.count", 1), r"Did you mean \"agents"),
    (lambda: vary(SETUP, "agents.1.df", 1.0), r"\"agents\.1\" has no parameter \"df\""),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        wrong()
