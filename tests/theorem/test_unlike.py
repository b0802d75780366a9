"""4.1 and 4.2 for clients that have data of their own (theory2 section 6)."""

import numpy as np
import pytest

from stablestep.compressor import RandomSparsification, Sign
from stablestep.errors import InvalidInput
from stablestep.noise import StudentT
from stablestep.problem import Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, bound, constants, covered, normalized_bound, result, results, step_limit

BOWL = {"L0": 1, "L1": 0, "dim": 5, "count": 8, "omega": 3.0, "sigma0_sq": 0.09}
ZETA = 11.4789


def stationary(shared, zeta_sq, eta=0.1):
    """E f∞ − f* of ½‖x − c_i‖², by the scalar recursion of E‖x − c̄‖²: contraction, and noise at the minimum."""
    omega, noise = BOWL["omega"], 5 * 0.09
    relative = omega if shared else omega / 8
    floor = (1 + omega) * noise / 8 + (0 if shared else omega * zeta_sq / 8)
    square = eta**2 * floor / (1 - (1 - eta) ** 2 - eta**2 * relative)
    return square / 2


@pytest.mark.parametrize(("shared", "expected"), [(False, 0.1215992731), (True, 0.00703125)])
def test_the_floor_of_unlike_clients_attains_the_bound(shared, expected):
    """theory2 section 8.13. As t → ∞ the bound on E‖∇f‖² = 2(E f − f*) is its own recursion's level; with ζ² = 0 it would be false."""
    c = Constants(**BOWL, shared_mask=shared, dissimilarity=(1.0, ZETA), initial_gap=0.0)
    level = stationary(shared, ZETA)
    assert level == pytest.approx(expected, abs=2e-6)
    epsilon = 0.1 * (1 + c.A / c.agents) / 2
    found = bound("4.2", c, eta=0.1, phi1=1e9, phi2=1e9, epsilon=epsilon)
    assert found == pytest.approx(2 * level, rel=1e-9)
    alike = bound("4.2", Constants(**BOWL, initial_gap=0.0), eta=0.1, phi1=1e9, phi2=1e9, epsilon=epsilon)
    assert alike < (0.06 if not shared else 1.0001) * found


def test_A_and_B_by_hand():
    """a = (2 + 3 · .2, 8 + 9 · .1) at dσ1² = (.2, .1), b = (3, 9) · dσ0²; 𝔅² = 2, ζ² = 5."""
    values = {"L0": 1, "L1": 0.5, "dim": 10, "omega": [2.0, 8.0], "sigma0_sq": [0.1, 0.2], "sigma1_sq": [0.02, 0.01]}
    c = Constants(**values, dissimilarity=(2.0, 5.0))
    assert pytest.approx(2 * 8.9) == c.A and pytest.approx((3 + 18) / 2 + 5 * 8.9) == c.B
    alike, said = Constants(**values), Constants(**values, dissimilarity=(1.0, 0.0))
    assert (said.A, said.B, said.unlike) == (alike.A, alike.B, False)
    shared = Constants(**values | {"omega": 3.0}, shared_mask=True, dissimilarity=(2.0, 5.0))
    assert pytest.approx(2 * 3 + 4 * 0.2 * 2) == shared.A and pytest.approx(4 * 1.5 + 5 * 4 * 0.2) == shared.B


def test_smoothness_is_not_inherited():
    """(L0 + L1ζ, L1𝔅) unless f's own is known: opposite exponentials have (0, 1) each, and their mean, cosh, none without L0."""
    values = {"L0": 1, "L1": 2, "dim": 3}
    assert Constants(**values, dissimilarity=(4.0, 9.0)).smoothness == (7.0, 4.0)
    assert Constants(**values, dissimilarity=(4.0, 9.0), mean_smoothness=(1.5, 2.0)).smoothness == (1.5, 2.0)
    assert Constants(**values).smoothness == (1.0, 2.0)
    for name in ("4.1", "4.2"):
        c = Constants(**values, omega=1.0, dissimilarity=(4.0, 9.0))
        relative = 4.0 + (name == "4.2")  # A = 𝔅² ω
        assert step_limit(name, c, 3.0, 0.5) == pytest.approx(1 / ((7 + 4 * 3) * relative + 4 * 9.0))
    x = np.linspace(-3, 3, 50)
    c = Constants(L0=0, L1=1, dim=1, dissimilarity=(1.0, 1.0))  # mean e^{±x} squares to sinh² + 1
    assert np.all(np.cosh(2 * x) <= np.sinh(x) ** 2 * 2 + 1 + 1e-9) and c.smoothness == (1.0, 1.0)
    assert np.all(np.cosh(x) <= 1 + np.abs(np.sinh(x))) and not np.all(np.cosh(x) <= np.abs(np.sinh(x)))


def test_the_trace_is_below_what_the_theorem_takes(seed):
    """E‖M − g‖² of random clients, from each one's own gradient, against A‖g‖² + B; with max a_i → mean a_i it fails."""
    generator, worst = np.random.default_rng(seed), -np.inf
    for _ in range(300):
        omega, relative, constant = generator.uniform(0, 6, 3), generator.uniform(0, 0.3, 3), generator.uniform(0, 1, 3)
        each = generator.normal(size=(3, 4)) + generator.normal(size=4)
        norms, square = np.sum(each**2, axis=1), np.sum(each.mean(0) ** 2)
        trace = np.mean(omega * norms + (1 + omega) * 4 * (constant + relative * norms)) / 3
        zeta = float(np.mean(norms) - square)
        values = {"L0": 1, "L1": 0, "dim": 4, "omega": omega, "sigma0_sq": constant, "sigma1_sq": relative}
        c, alike = Constants(**values, dissimilarity=(1.0, zeta)), Constants(**values)
        assert trace <= (c.A * square + c.B) / 3 * (1 + 1e-12)
        worst = max(worst, trace - (alike.A * (square + zeta) + alike.B) / 3)
    assert worst > 0


SURVIVES = {
    "4.1",
    "4.2",
    "ef",
    "momentum",
    "discrete.momentum",
    "discrete.normalized",
    "discrete.normalized-momentum",
    "discrete.normalized-ef21",
}


@pytest.mark.parametrize("name", [one.name for one in results()])
def test_a_result_that_does_not_survive_says_so(name):
    one = result(name)
    values = {"L0": 1, "L1": 0, "dim": 3, "dissimilarity": (1.5, 2.0)} | ({"clip": 1.0} if one.clips else {})
    values |= {"nu": 1.0, "scale_max": 1.0} if one.signs else {}
    values |= {one.needs: 0.5, "memory": one.memories[0]} if one.needs else {}
    values |= {"omega": 1.0} if name == "discrete.dcsgd" else {}
    if name in SURVIVES:
        assert one.applies(Constants(**values))
        return
    with pytest.raises(InvalidInput, match=r"dissimilarity is \(1.5, 2.0\); \S+") as caught:
        one.step_limit(Constants(**values), 1.0, 0.5)
    assert "\n" not in str(caught.value)


def test_the_printed_forms_are_about_like_clients():
    c = Constants(L0=1, L1=1, dim=3, dissimilarity=(1.5, 2.0))
    with pytest.raises(InvalidInput, match=r'4\.2 as printed is about clients that share f.*use form="corrected"'):
        step_limit("4.2", c, 1.0, 0.5, form="printed")
    with pytest.raises(InvalidInput, match="purely relative noise, but B is"):
        normalized_bound(Constants(L0=1, L1=1, dim=3, omega=1.0, dissimilarity=(1.5, 2.0)), steps=3, initial_gap=1.0)


ONE, TWO = Quadratic([1.0, 3.0]), Quadratic([3.0, 1.0])


def test_quadratics_about_one_point_know_theirs():
    """H = 2I, mean H_i² = 5I: 𝔅² = 5/4; f's own smoothness is 2, every client's 3."""
    setup = Setup(None, Agents(2, problem=ONE), Agents(2, problem=TWO, compressor=RandomSparsification(1.0)))
    c = constants(setup, L1=0.0, x0=1.0)
    assert c.dissimilarity == pytest.approx((1.25, 0.0)) and (c.L0, c.smoothness, c.initial_gap) == (
        3.0,
        (2.0, 0.0),
        2.0,
    )
    assert covered(setup, 1.0).result.name == "4.2"
    assert covered(setup, 1.0).step == pytest.approx(2 / (2 * (1 + 1.25 / 4)))
    equal = Setup(None, Agents(2, problem=ONE), Agents(2, problem=Quadratic([1.0, 3.0])))
    assert constants(equal, L1=0.0).dissimilarity is None and covered(equal, 1.0).result.name == "B.2"


def test_given_dissimilarity():
    setup = Setup(None, Agents(1, problem=Quartic(2)), Agents(1, problem=ONE))
    c = constants(setup, L1=1.0, dissimilarity=(2.0, 0.5))
    assert c.dissimilarity == (2.0, 0.5) and c.mean_smoothness is None and c.L0 == 4.0
    for wrong, message in (
        (lambda: constants(setup, L1=1.0), r"not known; give dissimilarity=\(𝔅², ζ²\)"),
        (
            lambda: constants(
                Setup(None, Agents(1, problem=Quadratic([1.0, -1.0])), Agents(1, problem=Quadratic([-1.0, 1.0]))),
                L1=0.0,
            ),
            "not known",
        ),
        (
            lambda: constants(
                Setup(
                    None,
                    Agents(2, None, RandomSparsification(1.0), ONE, "shared"),
                    Agents(2, None, RandomSparsification(1.0), TWO, "shared"),
                ),
                L1=0.0,
            ),
            'mask="shared", each its own mask',
        ),
        (
            lambda: covered(
                Setup(None, Agents(1, StudentT(1.0), Sign(), ONE), Agents(1, StudentT(1.0), Sign(), TWO)), 1.0
            ),
            "vote for a median",
        ),
        (
            lambda: Constants(L0=1, L1=0, dim=1, omega=[1.0, 2.0], shared_mask=True, dissimilarity=(2.0, 0.0)),
            "share a mask only with the same ω",
        ),
    ):
        with pytest.raises(InvalidInput, match=message) as caught:
            wrong()
        assert "\n" not in str(caught.value)


def test_one_worker_in_a_group_shares_its_mask_with_nobody():
    def of(mask):
        groups = (Agents(1, None, RandomSparsification(1.0), problem, mask) for problem in (ONE, TWO))
        return constants(Setup(None, *groups), L1=0.0, dissimilarity=(2.0, 5.0))

    own, shared, common = map(of, ("own", "shared", "common"))
    assert (shared.A, shared.B) == (own.A, own.B) == (2.0, 5.0) and (common.A, common.B) == (2.0, 0.0)
