"""What the results on signs rest on: the lemma, the measure it gives, the radius version, and hypotheses."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, Variant, bound, density, result, step_limit
from tests.theorem.reference import COUNTEREXAMPLES, SIGN, SLOPES, harmonic

NAMES = ["4.3", "B.8", "B.9"]
SIGNS = Constants(**SIGN)
GRID = np.geomspace(1e-6, 1e6, 2001)
TAILS = [1.0, 1.5, 2.0, 5.0, 30.0, np.inf]


def twice_xi(y, nu):
    """2Ξ_ν(y) = P(|T| < |y|) with the sign of y, by the incomplete beta function."""
    inside = special.erf(np.abs(y) / np.sqrt(2)) if np.isinf(nu) else special.betainc(0.5, nu / 2, y**2 / (nu + y**2))
    return np.sign(y) * inside


def slope_of(nu):
    return 2 * float(stats.norm.pdf(0) if np.isinf(nu) else stats.t.pdf(0, nu))


def lemma(nu):
    """By how much each side of ℓy/(1 + ℓy) ≤ 2Ξ_ν(y) ≤ min(1, ℓy) holds, at least."""
    middle, linear = twice_xi(GRID, nu), slope_of(nu) * GRID
    return np.min(middle * (1 + linear) / linear - 1), np.min(1 - middle / np.minimum(1, linear))


@pytest.mark.parametrize("nu", TAILS)
def test_the_lemma(nu):
    """ℓy/(1 + ℓy) ≤ 2Ξ_ν(y) ≤ min(1, ℓy) for y > 0 and ν ≥ 1 (theory 2.3); but 2Ξ_ν(y) < ℓy, which P has the other way."""
    assert min(lemma(nu)) >= -1e-13
    far = GRID > 1e-2
    assert np.all(twice_xi(GRID[far], nu) < slope_of(nu) * GRID[far])


@pytest.mark.parametrize("nu", [0.3, 0.5, 0.9])
def test_the_lemma_fails_for_heavier_tails(nu):
    below, above = lemma(nu)
    assert below < -1e-6 and above >= -1e-13


def drawn(generator, nu, dim=3, count=2, radius=None):
    """Scales of each agent and coordinate, constants of them, and a gradient; within the radius, if there is one."""
    scales = np.exp(generator.normal(0, 1.5, (count, dim)))
    scales = np.maximum(scales, 0.2)
    c = Constants(L0=0.7, L1=1.3, dim=dim, nu=nu, scale_max=scales.max(axis=1), scale_min=scales.min(axis=1))
    gradient = generator.normal(size=dim) * 10.0 ** generator.uniform(-2, 3)
    if radius is not None:
        gradient *= generator.uniform(0.1, 1) * radius * np.min(c.scale_max) / np.max(np.abs(gradient))
    return scales, c, gradient


def messages(gradient, scales, nu):
    """The mean message, and tr of its covariance (theory 1.3: 1 − 4Ξ² on the diagonal of each agent's)."""
    each = twice_xi(gradient / scales, nu)
    return each.mean(axis=0), float(np.sum(1 - each**2)) / len(scales) ** 2


@pytest.mark.parametrize("nu", TAILS)
def test_the_measure_is_below_the_descent(nu, seed):
    """g·m ≥ Ψ(g) = ℓ‖g‖²/(σ̄ + ℓ‖g‖) ≥ ‖g‖ − σ̄/ℓ."""
    generator = np.random.default_rng(seed)
    for _ in range(60):
        scales, c, gradient = drawn(generator, nu)
        norm, mean, slope = np.linalg.norm(gradient), np.mean(c.scale_max), slope_of(nu)
        measure = slope * norm**2 / (mean + slope * norm)
        assert [float(result(name).measure(c, norm)) for name in NAMES] == pytest.approx([measure] * 3, rel=1e-13)
        descent = gradient @ messages(gradient, scales, nu)[0]
        assert descent >= measure * (1 - 1e-12) and measure >= norm - mean / slope - 1e-12


@pytest.mark.parametrize("nu", TAILS)
def test_the_mean_scale_is_arithmetic(nu):
    """With the harmonic mean, .02 here, the measure would exceed the descent."""
    gradient, scales = np.array([1.0]), np.array([[0.01], [10.0]])
    descent = gradient @ messages(gradient, scales, nu)[0]
    c = Constants(L0=1, L1=1, dim=1, nu=nu, scale_max=scales[:, 0])
    harmonic_measure = slope_of(nu) / (harmonic(scales[:, 0]) + slope_of(nu))
    assert float(result("4.3").measure(c, 1.0)) <= descent < 0.6 < harmonic_measure


@pytest.mark.parametrize(("nu", "expected"), [(1, 0.5), (2, 1 / np.sqrt(3)), (2.0, 0.57735027)])
def test_the_slope_within_a_radius(nu, expected):
    """ℓ_ν(1) = 2Ξ_ν(1), seen in B.8's limit 2Nℓ(R)/(σ_H d L1) with N = 2, σ_H = 1.5, d = 4, L1 = 2."""
    c = Constants(**(SIGN | {"nu": nu}))
    assert step_limit("B.8", c, radius=1.0) * 12 / 4 == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("nu", [0.5, *TAILS])
def test_within_a_radius_the_descent_is_quadratic(nu, seed):
    """g·m ≥ ℓ(R)‖g‖²/σ_H while |g_j| ≤ R σ_max,i; with ℓ_ν itself, as P has it, this is false at every g ≠ 0."""
    generator, radius = np.random.default_rng(seed), 2.5
    within = twice_xi(np.array(radius), nu) / radius
    for _ in range(60):
        scales, c, gradient = drawn(generator, nu, radius=radius)
        scales = np.tile(c.scale_max[:, None], 3)  # the worst case
        descent, square = gradient @ messages(gradient, scales, nu)[0], np.sum(gradient**2)
        assert within * square / harmonic(c.scale_max) <= descent * (1 + 1e-12)
        assert descent < slope_of(nu) * square / harmonic(c.scale_max)


CORRECTED = [
    ({}, None),
    ({"radius": 2.0}, 2.0),
    ({"radius": 2.0, "unit": 0.3}, 2.0),
    ({"radius": 2.0, "unit": 5.0, "young": True}, 2.0),
]


def drift_excess(name, generator, options, radius, nu, claimed=None):
    """By how much the drift of f exceeds −(first η_t − second η_t²) measure + floor η_t², relative to the measure.

    The drift is at most −η_t g·m + (ηη_t²/2)(L0 + L1‖g‖)(‖m‖² + tr Cov M), without ‖m‖² for the first-order model.
    """
    scales, c, gradient = drawn(generator, nu, radius=radius)
    mean, trace = messages(gradient, scales, nu)
    norm, eta, rate = np.linalg.norm(gradient), 0.2, 10.0 ** generator.uniform(-2, 0.5)
    curvature = (c.L0 + c.L1 * norm) * (trace + (mean @ mean if name != "B.8" else 0))
    drift = -rate * gradient @ mean + eta * rate**2 / 2 * curvature
    terms = result(claimed or name).terms(c, eta, Variant(**options))
    measure = result(name).measure(c, norm, **options)
    allowed = -(terms.first * rate - terms.second * rate**2) * measure + terms.floor * rate**2
    return float((terms.gap * drift - allowed) / (terms.first * measure * rate))


@pytest.mark.parametrize(("options", "radius"), CORRECTED, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_corrected_terms_satisfy_the_inequality_of_the_proof(name, options, radius, seed):
    generator = np.random.default_rng(seed)
    for nu in (1.0, 3.0, np.inf) * 40:
        assert drift_excess(name, generator, options, radius, nu) <= 1e-12


def test_the_terms_of_the_first_order_model_are_too_small_for_the_new_one(seed):
    """d/(2N) where it must be d/2."""
    generator = np.random.default_rng(seed)
    assert max(drift_excess("4.3", generator, {}, None, np.inf, claimed="B.8") for _ in range(300)) > 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_the_printed_terms_do_not(name, seed):
    generator = np.random.default_rng(seed)
    assert max(drift_excess(name, generator, {"form": "printed"}, None, 1.0) for _ in range(200)) > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_printed_drift_within_a_radius(name, seed):
    """P's own Eq. 134, with the scales that its correction term brings: (η/N) Σ σ_i⁻¹ ∘ H(Ξ'_i ∘ Ξ_i)."""
    generator, eta, options = np.random.default_rng(seed), 0.2, {"form": "printed", "radius": 2.0}
    for nu in (1.0, 3.0) * 40:
        scales, c, gradient = drawn(generator, nu, radius=2.0)
        norm, rate = np.linalg.norm(gradient), 10.0 ** generator.uniform(-2, 0.5)
        matrix = generator.normal(size=(3, 3))
        hessian = (matrix + matrix.T) * (c.L0 + c.L1 * norm) / np.linalg.norm(matrix + matrix.T, 2)
        mean, _ = messages(gradient, scales, nu)
        each = stats.t.pdf(gradient / scales, nu) * twice_xi(gradient / scales, nu) / 2
        correction = eta / len(scales) * np.sum((each @ hessian) / scales, axis=0)
        covariance = np.diag(np.mean(1 - twice_xi(gradient / scales, nu) ** 2, axis=0)) / len(scales)
        drift = -rate * gradient @ mean + eta * rate**2 / 2 * np.trace(hessian @ covariance)
        if name != "B.8":
            drift += rate**2 * gradient @ correction
        terms = result(name).terms(c, eta, Variant(**options))
        allowed = -(terms.first * rate - terms.second * rate**2) * norm**2 + terms.floor * rate**2
        assert terms.gap * drift <= allowed + 1e-12 * abs(allowed)


def flow(case):
    """∫ η_t f'(x)² dt/φ¹ and ∫ η_t Ψ dt/φ¹ along dx/dt = −η_t 2Ξ_1(f'(x)), which every model tends to as η → 0."""
    gradient, x0, _, _, time, times, _, _ = COUNTEREXAMPLES[case]
    power = 0.0 if times["phi1"] == time else 0.5

    def slope(t, state):
        norm, rate = float(gradient(state[0])), (1 + t) ** -power
        linear = SLOPES[1] * abs(norm)
        return [-rate * float(twice_xi(np.array(norm), 1)), rate * norm**2, rate * linear * abs(norm) / (1 + linear)]

    end = integrate.solve_ivp(slope, (0, time), [x0, 0.0, 0.0], method="LSODA", rtol=1e-9, atol=1e-12).y[:, -1]
    return end[1] / times["phi1"], end[2] / times["phi1"]


@pytest.mark.parametrize("case", COUNTEREXAMPLES)
def test_printed_they_are_false_and_corrected_they_hold(case):
    _, _, gap, (L0, L1), _, times, _, _ = COUNTEREXAMPLES[case]
    c = Constants(L0=L0, L1=L1, dim=1, nu=1, scale_max=1, initial_gap=gap)
    square, measure = flow(case)
    for name in NAMES:
        # B.9 as printed has no η beside K, so for η → 0 it is no statement about a model.
        vanishing = times | {"eta": 1e-9}
        if name != "B.9":
            assert bound(name, c, **vanishing, form="printed") < 0.9 * square
        assert measure <= bound(name, c, **vanishing) < bound(name, c, **times)


@pytest.mark.parametrize("name", NAMES)
def test_without_noise(name):
    """Ψ is ‖∇f‖, and the limit that of sign descent: 2/(dL1)·N for the first-order model; no noise enters it anyway."""
    silent = Constants(L0=1, L1=2, dim=4, count=2, nu=np.inf, scale_max=0, initial_gap=3.0)
    assert step_limit(name, silent) == step_limit(name, SIGNS) == (0.5 if name == "B.8" else 0.25)
    assert float(result(name).measure(silent, 7.0)) == 7 and result(name).gradient_norm_bound(silent, 7.0) == 7
    times = {"eta": 0.01, "phi1": 10.0, "phi2": 3.0}
    half = 0.01 * 4 / 2 / (2 if name == "B.8" else 1)
    assert bound(name, silent, **times) == pytest.approx((3 + half * 3) / (10 - half * 2 * 3), rel=1e-13)
    nearly = Constants(L0=1, L1=2, dim=4, count=2, nu=np.inf, scale_max=1e-9, initial_gap=3.0)
    for options in ({}, {"form": "printed"}, {"radius": 2.0}):
        values = [bound(name, c, **times, **options) for c in (silent, nearly)]
        assert values[0] == pytest.approx(values[1], rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_signs_need_neither_gradient_norm_nor_epsilon(name):
    assert step_limit(name, SIGNS) == step_limit(name, SIGNS, 5.0, 0.5) == step_limit(name, SIGNS, gradient_norm=0.0)
    assert step_limit(name, Constants(**(SIGN | {"L1": 0}))) == np.inf


@pytest.mark.parametrize(("a", "b"), [(5.0, 1.0), (1.0, 0.2), (0.3, 4.0)])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_statement_without_units(name, a, b):
    """f → a f(x/b): gradients and scales are a/b times as large, steps and times b times; Ψ scales as a gradient."""
    times = {"eta": 0.01, "phi1": 10.0, "phi2": 3.0}
    longer = {key: value * b for key, value in times.items()}
    scaled = SIGN | {"L0": a / b**2, "L1": 2 / b, "scale_max": np.array([1, 3]) * a / b}
    c, turned = Constants(**SIGN, initial_gap=3.0), Constants(**scaled, initial_gap=3.0 * a)
    for options, power, follows in (({}, 1, {}), ({"radius": 2.0, "unit": 0.5}, 2, {"unit": 0.5 * a / b})):
        later = options | follows
        assert step_limit(name, turned, **later) == pytest.approx(step_limit(name, c, **options) * b, rel=1e-12)
        expected = bound(name, c, **times, **options) * (a / b) ** power
        assert bound(name, turned, **longer, **later) == pytest.approx(expected, rel=1e-12)
    printed = [step_limit(name, one, form="printed") for one in (c, turned)]
    if name != "B.8" and a != b:
        assert printed[1] != pytest.approx(printed[0] * b, rel=0.01)


PLAIN = Constants(L0=1, L1=1, dim=2, omega=1.0)
HEAVY = Constants(**(SIGN | {"nu": 0.5}))
TIMES = {"eta": 0.01, "phi1": 10.0, "phi2": 3.0, "initial_gap": 1.0}


def test_heavier_tails_have_the_radius_and_the_printed_version():
    for name in NAMES:
        assert not result(name).applies(HEAVY)
        assert result(name).applies(HEAVY, radius=2.0) and result(name).applies(HEAVY, form="printed")
        assert 0 < step_limit(name, HEAVY, radius=2.0) < np.inf


BAD = [
    (lambda name: step_limit(name, PLAIN), "needs Student-t noise: give nu and scale_max .*nu = inf for Gaussian"),
    (lambda name: step_limit(name, HEAVY), r"needs nu ≥ 1, but nu is 0\.5; use the radius version, radius=R"),
    (lambda name: bound(name, HEAVY, **TIMES), r"needs nu ≥ 1, but nu is 0\.5"),
    (lambda name: step_limit(name, SIGNS, unit=2.0), "unit and young change the .*radius version"),
    (lambda name: step_limit(name, SIGNS, young=True), "unit and young change the .*radius version"),
    (lambda name: step_limit(name, SIGNS, young=True, form="printed", radius=1.0), "unit and young change the"),
    (lambda name: bound(name, SIGNS, **(TIMES | {"initial_gap": None})), "initial_gap is missing"),
    (lambda name: bound(name, SIGNS, **(TIMES | {"initial_gap": -1.0})), r"initial_gap is -1\.0"),
    (lambda name: bound(name, SIGNS, **(TIMES | {"eta": np.nan})), "eta is nan"),
    (
        lambda name: bound(name, SIGNS, **(TIMES | {"eta": 1.0, "phi2": 10.0})),
        r"says nothing here: it allows steps below 0\.\d+, but the schedule's mean step, ηφ²/φ¹, is 1; use a smaller eta",
    ),
    (
        lambda name: density(name, SIGNS, eta=1.0, eta_t=1.0, phi1=10.0, phi2=10.0),
        "says nothing here",
    ),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(name, wrong, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        wrong(name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value) or "is" in message


@pytest.mark.parametrize("name", ["4.3", "B.9"])
def test_the_printed_radius_version_divides_by_the_smallest_scale(name):
    exact_somewhere = Constants(**SIGN, scale_min=[0.0, 1.0])
    with pytest.raises(InvalidInput, match="scale_min is 0"):
        step_limit(name, exact_somewhere, form="printed", radius=1.0)
    assert step_limit(name, exact_somewhere, radius=1.0) > 0
