"""What all results share: densities, measures, hypotheses; and the inequality that every result on unbiased messages rests on."""

import numpy as np
import pytest
from scipy import integrate

from stablestep.errors import InvalidInput
from stablestep.schedule import Polynomial
from stablestep.theorem import Constants, bound, density, result, results, step_limit
from tests.theorem.reference import PAPERS, SIGN, UNBIASED, random_constants, second_moment

PLAIN = Constants(L0=1, L1=2, dim=5, sigma0_sq=0.3, count=3)
SIGNS = Constants(**SIGN)
VARIANTS = [{}, {"unit": 0.3}, {"unit": 4.0, "young": True}, {"young": True}]
FORMS = [{}, {"form": "printed"}, {"radius": 2.0}, {"radius": 2.0, "form": "printed"}]


def usable(name):
    """Constants, and the variants of this result."""
    signs = result(name).method == "DSignSGD"
    return (SIGNS, [*FORMS, {"radius": 2.0, "unit": 3.0}]) if signs else (PLAIN, [*VARIANTS, {"form": "printed"}])


@pytest.mark.parametrize("name", PAPERS)
def test_the_density_is_one(name):
    c, variants = usable(name)
    schedule = Polynomial(0.02, 0.6)
    times = {"eta": 0.02, "phi1": schedule.phi(1, 30.0), "phi2": schedule.phi(2, 30.0)}
    for options in variants:

        def at(t, options=options):
            return float(density(name, c, eta_t=(1 + t) ** -0.6, **times, **options))

        assert integrate.quad(at, 0, 30)[0] == pytest.approx(1, rel=1e-8)
        # As printed, B.9 lacks a factor dη: within its own step limit its "density" is negative at first.
        misprinted = name == "B.9" and options == {"form": "printed"}
        assert at(0.0) < 0 < at(30.0) if misprinted else min(at(0.0), at(30.0)) > 0
        assert step_limit(name, c, 0.0, 0.5, **options) > 0.02
        many = density(name, c, eta_t=(1 + np.array([0.0, 30.0])) ** -0.6, **times, **options)
        np.testing.assert_allclose(many, [at(0.0), at(30.0)], rtol=1e-14)


@pytest.mark.parametrize("name", PAPERS)
def test_the_gradient_norm_bound_inverts_the_measure(name):
    """The measure is a convex function of ‖∇f‖, so that Jensen's inequality gives E‖∇f‖ ≤ measure⁻¹(bound)."""
    c, variants = usable(name)
    values = np.geomspace(1e-8, 1e6, 57)
    for options in variants:
        norms = np.array([result(name).gradient_norm_bound(c, value, **options) for value in values])
        np.testing.assert_allclose(result(name).measure(c, norms, **options), values, rtol=1e-9)
        assert np.all(np.diff(norms) > 0) and result(name).gradient_norm_bound(c, 0.0, **options) == 0
        grid = np.linspace(0, 5, 101)
        assert np.all(np.diff(result(name).measure(c, grid, **options), 2) >= -1e-12)
        assert float(result(name).measure(c, 0.0, **options)) == 0


@pytest.mark.parametrize("name", PAPERS)
def test_the_normalized_step_is_the_limit_at_every_norm(name):
    c, variants = usable(name)
    for options in variants:
        offset, slope = result(name).normalization(c, 0.5, **options)
        for norm in (0.0, 0.3, 4.0):
            assert 1 / (offset + slope * norm) == pytest.approx(step_limit(name, c, norm, 0.5, **options), rel=1e-9)


def applicable(name, generator, count=3):
    omega, relative = name not in ("B.1", "B.2"), name not in ("B.3", "B.5")
    return random_constants(generator, count, omega, relative)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("name", UNBIASED)
def test_step_limit_and_bound_agent_by_agent(name, count, seed):
    generator = np.random.default_rng(seed)
    for _ in range(20):
        values = applicable(name, generator, count)
        c, norm, epsilon = Constants(**values), generator.uniform(0, 10), generator.uniform(0.01, 0.99)
        relative, floor = second_moment(**values)
        relative += result(name).sde == "new"
        limit = 2 * epsilon / ((c.L0 + c.L1 * norm) * relative + c.L1 * floor)
        assert step_limit(name, c, norm, epsilon) == pytest.approx(limit, rel=1e-12)
        eta = step_limit(name, c, 0.0, epsilon)
        right = (2.0 + 0.7 * eta * (c.L0 + c.L1) * floor / 2) / ((1 - epsilon) * 1.5)
        found = bound(name, c, initial_gap=2.0, eta=eta, epsilon=epsilon, phi1=1.5, phi2=0.7)
        assert found == pytest.approx(right, rel=1e-12)


def drift_excess(name, generator, options, factor=1.0):
    """By how much Itô's −h‖g‖² + (h²/2)(L0 + L1‖g‖)(relative ‖g‖² + floor) exceeds −(1−ε) h‖g‖² + (h²/2) · what the bound has.

    h is `factor` times the limit; the largest over gradient norms, relative to the first term.
    """
    values = applicable(name, generator)
    c, epsilon = Constants(**values), generator.uniform(0.1, 0.9)
    relative, floor = second_moment(**values)
    relative += result(name).sde == "new"
    # Far below every limit, per unit of η.
    per_eta = bound(name, c, initial_gap=0.0, eta=1e-9, epsilon=epsilon, phi1=1.0, phi2=2.0, **options) / 1e-9
    known = per_eta * (1 - epsilon)
    norms = np.geomspace(1e-3, 1e4, 43)
    steps = factor * np.array([step_limit(name, c, norm, epsilon, **options) for norm in norms])
    curved = steps**2 / 2 * (c.L0 + c.L1 * norms) * (relative * norms**2 + floor)
    return np.max((curved - epsilon * steps * norms**2 - steps**2 / 2 * known) / (steps * norms**2))


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("name", UNBIASED)
def test_limit_and_bound_satisfy_the_inequality_of_the_proof(name, options, seed):
    generator = np.random.default_rng(seed)
    for _ in range(10):
        assert drift_excess(name, generator, options) <= 1e-9
        assert drift_excess(name, generator, options, factor=1.1) > 1e-3  # far out the limit is tight


def test_the_printed_forms_of_the_proofs():
    """B.1's printed constant is only larger; 4.1's printed bound does not follow from its own step."""
    assert max(drift_excess("B.1", np.random.default_rng(1), {"form": "printed"}) for _ in range(20)) <= 1e-9
    small = Constants(L0=1, L1=0, dim=1, sigma0_sq=1.0)
    given = {"initial_gap": 0.0, "eta": 0.1, "epsilon": 0.5, "phi1": 1.0, "phi2": 1.0}
    assert bound("4.1", small, **given, form="printed") == 0 < bound("4.1", small, **given)


@pytest.mark.parametrize(("a", "b"), [(5.0, 1.0), (1.0, 0.2), (0.3, 4.0)])
@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("name", UNBIASED)
def test_a_unit_of_the_gradient_makes_it_a_statement_without_units(name, options, a, b):
    """f → a f(x/b): gradients are a/b times as large, steps and times b²/a; the unit must follow the gradients."""
    base = {"L0": 1.5, "L1": 0.8, "dim": 4, "count": 2, "sigma0_sq": 0.3}
    scaled = base | {"L0": 1.5 * a / b**2, "L1": 0.8 / b, "sigma0_sq": 0.3 * (a / b) ** 2}
    follows = options | {"unit": options.get("unit", 1.0) * a / b}
    before = step_limit(name, Constants(**base), 2.0, 0.5, **options)
    after = step_limit(name, Constants(**scaled), 2.0 * a / b, 0.5, **follows)
    assert after == pytest.approx(before * b**2 / a, rel=1e-12)
    given = {"initial_gap": 3.0, "eta": 0.1, "phi1": 7.0, "phi2": 2.0, "epsilon": 0.5}
    turned = given | {"initial_gap": 3.0 * a} | {key: given[key] * b**2 / a for key in ("eta", "phi1", "phi2")}
    value = bound(name, Constants(**base), **given, **options)
    assert bound(name, Constants(**scaled), **turned, **follows) == pytest.approx(value * (a / b) ** 2, rel=1e-12)
    if a != b:
        assert step_limit(name, Constants(**scaled), 2.0 * a / b, 0.5, **options) != pytest.approx(
            before * b**2 / a, rel=0.01
        )


def test_results_nest():
    """Where several results apply they agree; a larger hypothesis never gives a larger step."""
    limits = {name: step_limit(name, PLAIN, 1.5, 0.5) for name in UNBIASED}
    assert len({round(limits[name], 14) for name in ("4.2", "B.5", "B.2")}) == 1
    assert len({round(limits[name], 14) for name in ("4.1", "B.3", "B.1")}) == 1
    assert limits["4.1"] > limits["4.2"]


@pytest.mark.parametrize("name", UNBIASED)
def test_without_curvature_there_is_no_limit(name):
    assert step_limit(name, Constants(L0=0, L1=0, dim=3, sigma0_sq=1.0), 1.0, 0.5) == np.inf


def test_hypotheses_say_whether_they_hold():
    compressed = Constants(L0=1, L1=1, dim=2, omega=1.0)
    assert result("4.2").applies(compressed) and not result("B.2").applies(compressed)
    assert not result("4.3").applies(compressed) and result("4.3").applies(SIGNS) and not result("4.2").applies(SIGNS)
    failing = [one for one in result("B.2").hypotheses(compressed) if not one.holds]
    assert [one.statement for one in failing] == ["no compression"] and "use 4.2" in failing[0].failure
    for one in results():
        assert all(hypothesis.statement for hypothesis in one.hypotheses(PLAIN))


def test_constants_of_both_kinds_serve_both():
    """ν and scales beside a variance: the same Student-t noise, sent as it is or as a sign."""
    both = Constants(**SIGN, sigma0_sq=3.0)
    assert result("4.2").applies(both) and result("4.3").applies(both)


def test_the_initial_gap_is_that_of_the_constants_unless_given():
    known = Constants(L0=1, L1=2, dim=5, sigma0_sq=0.3, count=3, initial_gap=2.0)
    given = {"eta": 0.1, "phi1": 2.0, "phi2": 1.0, "epsilon": 0.5}
    assert bound("4.2", known, **given) == bound("4.2", PLAIN, initial_gap=2.0, **given)
    assert bound("4.2", known, initial_gap=0.0, **given) == bound("4.2", PLAIN, initial_gap=0.0, **given)


GOOD = {"initial_gap": 1.0, "eta": 0.1, "epsilon": 0.5, "phi1": 1.0, "phi2": 1.0}
BAD = [
    (lambda: step_limit("4.2", PLAIN, -1.0, 0.5), r"gradient_norm is -1\.0"),
    (lambda: step_limit("4.2", PLAIN, np.nan, 0.5), "gradient_norm is nan"),
    (lambda: step_limit("4.1", PLAIN, None, 0.5), r"4\.1 depends on the gradient norm; give gradient_norm"),
    (lambda: step_limit("4.2", PLAIN, 1.0), r"4\.2 needs an epsilon between 0 and 1, such as 0\.5"),
    (lambda: step_limit("4.2", PLAIN, 1.0, 1.5), r"epsilon is 1\.5.*between 0 and 1 \(both excluded\), such as 0\.5"),
    (lambda: step_limit("4.2", PLAIN, 1.0, 0.0), r"epsilon is 0\.0"),
    (lambda: step_limit("4.2", PLAIN, 1.0, np.nan), "epsilon is nan"),
    (lambda: bound("4.2", PLAIN, **(GOOD | {"epsilon": 1.0})), r"epsilon is 1\.0"),
    *(
        (lambda name=name, value=value: bound("4.2", PLAIN, **(GOOD | {name: value})), f"{name} is .*must be")
        for name in GOOD
        for value in ("1", True, np.nan, [1.0])
    ),
    *(
        (lambda value=value: step_limit("4.2", PLAIN, value, 0.5), "gradient_norm is .*at least 0")
        for value in ("1", True, np.inf)
    ),
    *(
        (lambda value=value: step_limit("4.2", PLAIN, 1.0, 0.5, unit=value), "unit is .*greater than 0")
        for value in ("1", True)
    ),
    (lambda: step_limit("4.2", PLAIN, 1.0, 0.5, young=1), "young is 1, but must be a bool"),
    (lambda: bound("4.2", PLAIN, **(GOOD | {"epsilon": None})), "needs an epsilon"),
    (lambda: bound("4.2", PLAIN, **(GOOD | {"initial_gap": -1.0})), r"initial_gap is -1\.0.*at least 0"),
    (lambda: bound("4.2", PLAIN, **(GOOD | {"initial_gap": None})), "initial_gap is missing; give"),
    (lambda: bound("4.2", PLAIN, **(GOOD | {"eta": 0.0})), r"eta is 0\.0"),
    (lambda: bound("4.2", PLAIN, **(GOOD | {"phi1": 0.0})), r"phi1 is 0\.0"),
    (lambda: bound("4.2", PLAIN, **(GOOD | {"phi1": np.inf})), "phi1 is inf"),
    (lambda: bound("4.2", PLAIN, **(GOOD | {"phi2": -1.0})), r"phi2 is -1\.0"),
    (lambda: density("4.2", PLAIN, eta=0.1, eta_t=1.0, phi1=-1.0, phi2=1.0), r"phi1 is -1\.0"),
    (lambda: step_limit("4.2", PLAIN, 1.0, 0.5, radius=2.0), r"radius is 2\.0, but 4\.2 has no radius version"),
    (lambda: step_limit("4.1", SIGNS, 1.0, 0.5), r"4\.1 is about unbiased.*nu = 1\); use 4\.3 or B\.8"),
    (lambda: density("B.5", SIGNS, eta=0.1, eta_t=1.0, phi1=1.0, phi2=1.0), r"B\.5 is about unbiased"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(wrong, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)
