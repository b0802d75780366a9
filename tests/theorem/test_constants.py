"""Constants by hand and read off a setup."""

import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.compressor import QSGD, Identity, NaturalCompression, RandK, RandomSparsification, Sign, TopK
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, Minibatch, StudentT
from stablestep.problem import Cosh, Function, Logistic, Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, constants, step_limit
from tests.theorem.reference import HET, SIGN


def test_numbers_of_the_heterogeneous_case():
    """A = 6 + 10 (.1 + .015), B = 10 (.15 + 1)."""
    c = Constants(**HET)
    assert pytest.approx(7.15, rel=1e-14) == c.A and pytest.approx(11.5, rel=1e-14) == c.B and c.agents == 2
    assert not c.signs and c.scale_max is None and c.scale_min is None and c.initial_gap is None


def test_one_number_serves_all_agents():
    lists = Constants(L0=1, L1=1, dim=3, omega=[2, 2], sigma0_sq=[0.5, 0.5])
    single = Constants(L0=1, L1=1, dim=3, omega=2, sigma0_sq=0.5, count=2)
    assert (single.A, single.B, single.agents) == (lists.A, lists.B, lists.agents)
    signs = Constants(L0=1, L1=1, dim=3, count=3, nu=2, scale_max=0.5)
    assert signs.scale_max.tolist() == signs.scale_min.tolist() == [0.5] * 3 and signs.signs


def test_a_large_model_has_many_parameters():
    assert Constants(L0=1, L1=1, dim=7_000_000_000).dim == 7_000_000_000
    assert isinstance(Constants(L0=1, L1=1, dim=np.int64(3)).dim, int)


def test_the_smallest_scale_is_the_largest_unless_given():
    assert Constants(**SIGN).scale_min.tolist() == [1, 3]
    assert Constants(**SIGN, scale_min=[0.5, 1]).scale_min.tolist() == [0.5, 1]
    assert Constants(**SIGN, scale_min=0.5).scale_max.tolist() == [1, 3]


SETUPS = [
    (Setup(Quartic(10), Agents(2)), (0, 0, 0), 2),
    (Setup(Quartic(10), Agents(2, Gaussian(0.3, 0.1), RandomSparsification(4.0))), (4, 0.09, 0.01), 2),
    (Setup(Quartic(10), Agents(1, StudentT(4.0, 0.5), RandK(2))), (4, 0.5, 0), 1),
    (Setup(Quartic(4), Agents(3, Gaussian([0.1, 0.2, 0.3, 0.4]), QSGD(1))), (1, 0.16, 0), 3),
    (Setup(Quartic(4), Agents(3, Gaussian(0.0, 0.5), NaturalCompression())), (0.125, 0, 0.25), 3),
]


@pytest.mark.parametrize(("setup", "values", "count"), SETUPS)
def test_constants_of_a_setup(setup, values, count):
    c = constants(setup, L1=2.0)
    assert (c.L0, c.L1, c.dim, c.agents, c.signs) == (1.0, 2.0, setup.dim, count, False)
    for name, value in zip(("omega", "sigma0_sq", "sigma1_sq"), values, strict=True):
        np.testing.assert_allclose(getattr(c, name), np.full(count, value), rtol=1e-12)


def test_constants_of_different_groups():
    setup = Setup(
        Quartic(10),
        Agents(1, Gaussian(np.sqrt(0.1), 0.1), RandomSparsification(4)),
        Agents(1, Gaussian(np.sqrt(0.2), np.sqrt(0.02)), RandomSparsification(8)),
    )
    c = constants(setup, L1=0.5)
    assert pytest.approx(7.15) == c.A and pytest.approx(11.5) == c.B
    assert pytest.approx(16.0) == c.L0


def test_a_shared_mask_is_not_averaged():
    """1 + A/N must hold ω, not ω/N; the noise after compression averages either way."""
    own, shared = (
        constants(Setup(Quartic(10), Agents(5, Gaussian(0.1, 0.2), RandomSparsification(4.0), mask=mask)), L1=1.0)
        for mask in ("own", "shared")
    )
    assert pytest.approx((4 + 10 * 0.04 * 5) / 5) == own.A / 5
    assert pytest.approx(4 + 10 * 0.04 * 5 / 5) == shared.A / 5
    assert shared.B == own.B == pytest.approx(10 * 0.01 * 5)
    assert step_limit("4.2", shared, 1.0, 0.5) < step_limit("4.2", own, 1.0, 0.5)


def test_best_pair_at_a_gradient_norm():
    c = constants(Setup(Quartic(10), Agents(2)), gradient_norm=8.0)
    assert pytest.approx(3 * 8.0 ** (2 / 3), rel=1e-6) == c.L0 + c.L1 * 8.0


T = StudentT(1.0, [0.5, 1.0, 2.0])
NORMAL, EXACT = Gaussian([0.1, 0.4, 0.2]), Gaussian()
SIGNS = [
    ([Agents(2, T, Sign())], 1.0, [0.5, 0.5], [2.0, 2.0]),
    ([Agents(1, StudentT(3.0, 0.7), Sign())], 3.0, [0.7], [0.7]),
    ([Agents(1, StudentT(3.0, [0.7, 1, 2], "multivariate"), Sign())], 3.0, [0.7], [2.0]),
    ([Agents(1, T, Sign()), Agents(2, StudentT(1.0, 3.0), Sign())], 1.0, [0.5, 3, 3], [2.0, 3, 3]),
    ([Agents(2, NORMAL, Sign())], np.inf, [0.1, 0.1], [0.4, 0.4]),
    ([Agents(2, EXACT, Sign())], np.inf, [0, 0], [0, 0]),
    ([Agents(1, EXACT, Sign()), Agents(1, T, Sign())], 1.0, [0, 0.5], [0, 2.0]),
]


@pytest.mark.parametrize(("agents", "nu", "low", "high"), SIGNS)
def test_constants_of_signs(agents, nu, low, high):
    c = constants(Setup(Quartic(3), *agents), L1=2.0)
    assert (c.L0, c.L1, c.dim, c.agents, c.nu, c.signs) == (1.0, 2.0, 3, len(low), nu, True)
    assert c.scale_min.tolist() == low and c.scale_max.tolist() == high
    assert not np.any(c.omega) and not np.any(c.sigma0_sq) and not np.any(c.sigma1_sq)


@pytest.mark.parametrize(
    ("problem", "x0", "gap"),
    [
        (Quartic(3), 2.0, 12.0),
        (Quartic(3), [1.0, 0.0, 2.0], 4.25),
        (Quadratic([2.0, 4.0]), np.array([1, -1]), 3.0),
        (Cosh(2, a=1.0, scale=2.0), 0.0, 0.0),
        (Cosh(2, a=1.0, scale=2.0), 1.0, 4 * (np.cosh(1) - 1)),
        (Quadratic([-1.0, 1.0]), 1.0, None),
        (Function(jnp.sum, dim=2, smoothness=lambda L1: 0.0), 1.0, None),
        (Quartic(3), None, None),
    ],
)
def test_the_initial_gap_is_that_of_x0(problem, x0, gap):
    found = constants(Setup(problem, Agents(1)), L1=1.0, x0=x0).initial_gap
    assert found is None if gap is None else found == pytest.approx(gap, rel=1e-13)


SUM = Logistic(np.eye(2), [0, 1])
BERNOULLI = RandomSparsification(1.0)


def of(*agents, problem=None, **options):
    return lambda: constants(Setup(problem or Quartic(2), *agents), **(options or {"L1": 1.0}))


BAD = [
    (lambda: Constants(L0=-1, L1=0, dim=1), "L0 is -1.*at least 0"),
    (lambda: Constants(L0=1, L1=np.nan, dim=1), "L1 is nan.*finite"),
    (lambda: Constants(L0=1, L1=0, dim=0), "dim is 0"),
    *(
        (lambda value=value: Constants(L0=1, L1=0, dim=value), "dim is .*whole number")
        for value in (2.5, "3", True, np.nan)
    ),
    *(
        (lambda value=value: Constants(L0=value, L1=0, dim=1), "L0 is .*at least 0")
        for value in ("1", True, None, [1.0])
    ),
    *(
        (lambda value=value: Constants(L0=1, L1=0, dim=1, omega=value), "omega is .*at least 0")
        for value in ("1", True, [[1.0]])
    ),
    *(
        (lambda value=value: Constants(L0=1, L1=0, dim=1, nu=value, scale_max=1), "nu is .*greater than 0")
        for value in ("1", True)
    ),
    (lambda: Constants(L0=1, L1=0, dim=1, memory=True), "memory is True, but must be a str"),
    (lambda: Constants(L0=1, L1=0, dim=1, shared_mask="own"), 'shared_mask is "own", but must be a bool'),
    (lambda: Constants(L0=1, L1=0, dim=1, count=0), "count is 0"),
    (lambda: Constants(L0=1, L1=0, dim=1, omega=[1, -2]), r"omega is \[1, -2\]"),
    (lambda: Constants(L0=1, L1=0, dim=1, sigma1_sq=np.inf), "sigma1_sq is inf"),
    (lambda: Constants(L0=1, L1=0, dim=1, omega=[1, 2], count=3), "omega has 2 entries.*3 agents"),
    (lambda: Constants(L0=1, L1=0, dim=1, omega=[1, 2], sigma0_sq=[1, 2, 3]), "omega has 2 entries.*3 agents"),
    (lambda: Constants(L0=1, L1=0, dim=1, nu=1, scale_max=[1, 2], count=3), "scale_max has 2 entries.*give one.*or 3"),
    (lambda: Constants(L0=1, L1=0, dim=1, nu=1, scale_max=1, scale_min=[1, 1], count=3), "scale_min has 2 entries"),
    (lambda: Constants(L0=1, L1=0, dim=1, nu=1, scale_max=[1, 2], scale_min=[0.5, 3]), "scale_min is .*cannot exceed"),
    (lambda: Constants(L0=1, L1=0, dim=1, nu=1, scale_max=-1), "scale_max is -1"),
    (lambda: Constants(L0=1, L1=0, dim=1, nu=0, scale_max=1), "nu is 0.*greater than 0"),
    (lambda: Constants(L0=1, L1=0, dim=1, nu=np.nan, scale_max=1), "nu is nan"),
    (lambda: Constants(L0=1, L1=0, dim=1, nu=1), "nu is 1 and scale_max is None.*give both or neither"),
    (lambda: Constants(L0=1, L1=0, dim=1, scale_max=1), "nu is None and scale_max is 1.*give both or neither"),
    (lambda: constants(Setup(Quartic(2), Agents(1))), "give either L1 or gradient_norm"),
    (of(Agents(1), L1=1.0, gradient_norm=1.0), "give either L1 or gradient_norm"),
    (of(Agents(1), L1=0.0), "L1 > 0"),
    (of(Agents(1), L1=0.5, problem=Cosh(2, a=1.0)), "L1 is 0.5, but must be at least"),
    (of(Agents(1), problem=Function(jnp.sum, dim=2)), r"no \(L0, L1\) pair is known"),
    (of(Agents(1), problem=Function(jnp.sum, dim=2), gradient_norm=1.0), r"no \(L0, L1\) pair is known"),
    (of(Agents(1, None, TopK(1))), "TopK is biased"),
    (of(Agents(1, StudentT(1.5))), "df = 1.5.*df > 2"),
    (of(Agents(1, Minibatch(1)), problem=SUM), "affine variance.*estimate"),
    (
        of(Agents(1), Agents(1, problem=Quadratic([1.0, 1.0]))),
        r"not known; give dissimilarity=\(𝔅², ζ²\), which estimate.dissimilarity measures",
    ),
    (of(Agents(1, None, BERNOULLI), Agents(2, None, BERNOULLI, mask="shared")), "mix mask"),
    (of(Agents(1, StudentT(1.0), Sign()), Agents(1, StudentT(3.0), Identity())), "mix signs and unbiased"),
    (of(Agents(1, StudentT(1.0), Sign()), Agents(1, StudentT(3.0), Sign())), r"nu = \[1\.0, 3\.0\].*same df"),
    (of(Agents(1, StudentT(1.0), Sign()), Agents(1, Gaussian(1.0), Sign())), r"nu = \[1\.0, inf\].*same df"),
    (of(Agents(1, Gaussian(1.0, 0.5), Sign())), "fixed scale.*estimate nu and scale_max.*by hand"),
    (of(Agents(1, Minibatch(1), Sign()), problem=SUM), "fixed scale.*Minibatch"),
    (of(Agents(1), L1=1.0, x0=[1.0, 2.0, 3.0]), r"x0 has shape \(3,\).*length 2"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(wrong, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)
