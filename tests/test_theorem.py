"""The theorems: constants by hand, limits and bounds by an independent derivation, hypotheses that raise."""

import numpy as np
import pytest

from stablestep.compressor import QSGD, RandK, RandomSparsification, Sign
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, Minibatch, StudentT
from stablestep.problem import Logistic, Quadratic, Quartic
from stablestep.schedule import Polynomial
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, bound, constants, result, results, step_limit

HET = {"L0": 1, "L1": 0.5, "dim": 10, "omega": [4, 8], "sigma0_sq": [0.1, 0.2], "sigma1_sq": [0.01, 0.02]}


def by_hand(L0, L1, dim, omega, sigma0_sq, sigma1_sq, norm, epsilon):
    """P Eq. 16 from the second moment of the mean message, agent by agent: E‖M‖² ≤ relative ‖g‖² + floor.

    Agent i's message has E‖m_i − g‖² ≤ ω_i‖g‖² + (1 + ω_i) d (σ0_i² + σ1_i²‖g‖²), and the errors are independent.
    """
    count = len(omega)
    relative = 1 + sum(w + (1 + w) * dim * s1 for w, s1 in zip(omega, sigma1_sq, strict=True)) / count**2
    floor = sum((1 + w) * dim * s0 for w, s0 in zip(omega, sigma0_sq, strict=True)) / count**2
    return 2 * epsilon / ((L0 + L1 * norm) * relative + L1 * floor), relative, floor


def test_numbers_of_the_heterogeneous_case():
    c = Constants(**HET)
    assert pytest.approx(7.15) == c.A and pytest.approx(11.5) == c.B and c.agents == 2
    limit, _, floor = by_hand(**HET, norm=2.0, epsilon=0.5)
    assert (
        step_limit("4.2", c, 2.0, 0.5) == pytest.approx(limit, rel=1e-14) == pytest.approx(0.0831600831601, rel=1e-11)
    )
    phi1, phi2 = (Polynomial(0.1, 0.6).phi(order, 100.0) for order in (1, 2))
    expected = (3 + phi2 * 0.1 * 1.5 * floor / 2) / (0.5 * phi1)
    found = bound("4.2", c, initial_gap=3.0, eta=0.1, epsilon=0.5, phi1=phi1, phi2=phi2)
    assert found == pytest.approx(expected, rel=1e-14) == pytest.approx(0.6447610802, rel=1e-9)


def random_constants(generator, count, omega=True, relative=True):
    draw = generator.uniform
    return {
        "L0": draw(0, 3),
        "L1": draw(0, 3),
        "dim": int(generator.integers(1, 50)),
        "omega": draw(0, 9, count) * omega,
        "sigma0_sq": draw(0, 2, count),
        "sigma1_sq": draw(0, 1, count) * relative,
    }


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize(
    ("name", "omega", "relative"), [("4.2", True, True), ("B.5", True, False), ("B.2", False, True)]
)
def test_step_limit_and_bound_agent_by_agent(name, omega, relative, count, seed):
    generator = np.random.default_rng(seed)
    for _ in range(20):
        values = random_constants(generator, count, omega, relative)
        norm, epsilon = generator.uniform(0, 10), generator.uniform(0.01, 0.99)
        limit, _, floor = by_hand(**values, norm=norm, epsilon=epsilon)
        c = Constants(**values)
        assert step_limit(name, c, norm, epsilon) == pytest.approx(limit, rel=1e-12)
        right = (2.0 + 0.7 * 0.1 * (c.L0 + c.L1) * floor / 2) / ((1 - epsilon) * 1.5)
        assert bound(name, c, 2.0, 0.1, epsilon, phi1=1.5, phi2=0.7) == pytest.approx(right, rel=1e-12)


def test_results_nest():
    """Where several results apply they agree; a larger hypothesis never gives a larger step."""
    plain = Constants(L0=1, L1=2, dim=5, sigma0_sq=0.3, count=3)
    limits = {name: step_limit(name, plain, 1.5, 0.5) for name in ("4.2", "B.5", "B.2")}
    assert len({round(limit, 14) for limit in limits.values()}) == 1


def test_stability_threshold_of_a_quadratic_is_the_limit():
    """With L1 = 0, ε → 1 the limit is 2/(λ(1 + A/N)), the exact mean-square threshold for d = 1."""
    c = Constants(L0=3.0, L1=0.0, dim=1, omega=[4.0, 4.0], sigma1_sq=[0.1, 0.1])
    assert step_limit("4.2", c, 5.0, 1 - 1e-13) == pytest.approx(2 / (3 * (1 + (4 + 5 * 0.1) / 2)), rel=1e-9)


ALIASES = {"4.2": ("B.6", "S2 4.3", "S2 A.6"), "B.5": ("S2 4.2", "S2 A.5"), "B.2": ("S2 4.1", "S2 A.2")}


@pytest.mark.parametrize("name", ALIASES)
def test_names(name):
    assert all(result(alias) is result(name) for alias in ALIASES[name])
    assert result(name).name == name and "Thm" in result(name).reference
    assert {r.name: r.aliases for r in results()} == ALIASES


def test_unlimited_step():
    assert step_limit("4.2", Constants(L0=0, L1=0, dim=3), 1.0, 0.5) == np.inf


def test_one_number_serves_all_agents():
    lists = Constants(L0=1, L1=1, dim=3, omega=[2, 2], sigma0_sq=[0.5, 0.5])
    single = Constants(L0=1, L1=1, dim=3, omega=2, sigma0_sq=0.5, count=2)
    assert (single.A, single.B, single.agents) == (lists.A, lists.B, lists.agents)


SETUPS = [
    (Setup(Quartic(10), Agents(2)), (0, 0, 0), 2),
    (Setup(Quartic(10), Agents(2, Gaussian(0.3, 0.1), RandomSparsification(4.0))), (4, 0.09, 0.01), 2),
    (Setup(Quartic(10), Agents(1, StudentT(4.0, 0.5), RandK(2))), (4, 0.5, 0), 1),
    (Setup(Quartic(4), Agents(3, Gaussian([0.1, 0.2, 0.3, 0.4]), QSGD(1))), (1, 0.16, 0), 3),
]


@pytest.mark.parametrize(("setup", "values", "count"), SETUPS)
def test_constants_of_a_setup(setup, values, count):
    c = constants(setup, L1=2.0)
    assert (c.L0, c.L1, c.dim, c.agents) == (1.0, 2.0, setup.dim, count)
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


GOOD = Constants(L0=1, L1=1, dim=2)
COMPRESSED, GROWING = Constants(L0=1, L1=1, dim=2, omega=1.0), Constants(L0=1, L1=1, dim=2, sigma1_sq=0.5)
SUM = Logistic(np.eye(2), [0, 1])


def mixed_masks():
    compressor = RandomSparsification(1.0)
    return Setup(Quartic(2), Agents(1, None, compressor), Agents(1, None, compressor, mask="shared"))


BAD = [
    (lambda: Constants(L0=-1, L1=0, dim=1), "L0 is -1.*at least 0"),
    (lambda: Constants(L0=1, L1=np.nan, dim=1), "L1 is nan.*finite"),
    (lambda: Constants(L0=1, L1=0, dim=0), "dim is 0"),
    (lambda: Constants(L0=1, L1=0, dim=1, omega=[1, -2]), r"omega is \[1, -2\]"),
    (lambda: Constants(L0=1, L1=0, dim=1, omega=[1, 2], count=3), "omega has 2 entries.*3 agents"),
    (lambda: Constants(L0=1, L1=0, dim=1, omega=[1, 2], sigma0_sq=[1, 2, 3]), "omega has 2 entries.*3 agents"),
    (lambda: step_limit("B.2", COMPRESSED, 1.0, 0.5), r"B\.2 is about uncompressed.*omega is 1\.0; use 4\.2"),
    (lambda: step_limit("S2 4.1", COMPRESSED, 1.0, 0.5), r"B\.2 is about uncompressed"),
    (lambda: bound("B.5", GROWING, 1.0, 0.1, 0.5, 1.0, 1.0), r"B\.5 assumes bounded.*sigma1_sq is 0\.5; use 4\.2"),
    (lambda: step_limit("4.2", GOOD, -1.0, 0.5), r"gradient_norm is -1\.0"),
    (lambda: step_limit("4.2", GOOD, np.nan, 0.5), "gradient_norm is nan"),
    (lambda: step_limit("4.2", GOOD, 1.0, 1.5), r"epsilon is 1\.5.*between 0 and 1"),
    (lambda: bound("4.2", GOOD, -1.0, 0.1, 0.5, 1.0, 1.0), r"initial_gap is -1\.0"),
    (lambda: bound("4.2", GOOD, 1.0, 0.0, 0.5, 1.0, 1.0), r"eta is 0\.0"),
    (lambda: bound("4.2", GOOD, 1.0, 0.1, 0.5, 0.0, 1.0), r"phi1 is 0\.0"),
    (lambda: bound("4.2", GOOD, 1.0, 0.1, 0.5, 1.0, -1.0), r"phi2 is -1\.0"),
    (lambda: result("B.7"), r'no result "B\.7".*Known: 4\.2'),
    (lambda: result("S2 4.4"), r"Did you mean \"S2 4\.\d\""),
    (lambda: constants(Setup(Quartic(2), Agents(1))), "give either L1 or gradient_norm"),
    (lambda: constants(Setup(Quartic(2), Agents(1)), L1=1.0, gradient_norm=1.0), "give either L1 or gradient_norm"),
    (lambda: constants(Setup(Quartic(2), Agents(1)), L1=0.0), "L1 > 0"),
    (lambda: constants(Setup(Quartic(2), Agents(1, None, Sign())), L1=1.0), "Sign is biased"),
    (lambda: constants(Setup(Quartic(2), Agents(1, StudentT(1.5))), L1=1.0), "df = 1.5.*df > 2"),
    (lambda: constants(Setup(SUM, Agents(1, Minibatch(1))), L1=0.0), "affine variance.*estimate"),
    (
        lambda: constants(Setup(Quartic(2), Agents(1), Agents(1, problem=Quadratic([1.0, 1.0]))), L1=1.0),
        "share f; use one",
    ),
    (lambda: constants(mixed_masks(), L1=1.0), "mix mask"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(wrong, message):
    with pytest.raises(InvalidInput, match=message):
        wrong()
