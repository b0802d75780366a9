"""Drift, covariance and one-step loss of every model against NumPy formulas, exactly, on a quadratic; mutants must fail."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from stablestep.compressor import Identity, RandK, RandomSparsification, Sign, TopK
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic
from stablestep.record import cast
from stablestep.schedule import Constant, Polynomial
from stablestep.sde import model
from stablestep.sde.euler import Euler
from stablestep.setup import Agents, Setup
from tests.sde.reference import HESSIAN, POINTS, SCALES, PlainAgents, Reference, SignAgents

ETA = 0.3
KINDS = ("first", "classic", "new", "flip")


def plain(count, sigma0, sigma1=0.0, omega=0.0, k=None):
    compressor = RandK(k) if k else RandomSparsification(omega) if omega else Identity()
    noise = Gaussian(sigma0, sigma1)
    return Agents(count, noise, compressor), PlainAgents(count, np.broadcast_to(sigma0, 3), sigma1, omega, k)


def sign(count, df, scale):
    return Agents(count, StudentT(df, scale), Sign()), SignAgents(count, df, np.broadcast_to(scale, 3))


GROUPS = {
    "dsgd": [plain(2, SCALES, 0.3), plain(1, 0.5)],
    "bernoulli": [plain(1, SCALES, 0.2, omega=4.0), plain(2, 0.0, omega=1.5)],
    "rand-k": [plain(1, SCALES, 0.2, k=2), plain(1, 0.3, k=1)],
    "mixed": [plain(1, 0.7), plain(1, SCALES, omega=2.0)],
    "signs": [sign(1, 1.0, SCALES), sign(1, 2.0, 0.7), sign(1, 2.5, SCALES[::-1]), sign(1, np.inf, SCALES)],
    "equal signs": [sign(3, 2.0, SCALES)],
}
SETUPS = {name: Setup(Quadratic(HESSIAN), *(agents for agents, _ in rows)) for name, rows in GROUPS.items()}
REFERENCES = {name: Reference([row for _, row in rows]) for name, rows in GROUPS.items()}
SIGNS = ("signs", "equal signs")
SCHEDULED = [*((name, "constant") for name in GROUPS), ("mixed", "polynomial"), ("signs", "polynomial")]
TIMES = {"constant": (Constant(ETA), 0.0, 1.0), "polynomial": (Polynomial(ETA, 0.6), 2.0, 3.0**-0.6)}


@cache
def drift_of(name, kind, when="constant", form="corrected"):
    """The library's drift at POINTS, one row a point."""
    schedule, t, _ = TIMES[when]
    built = model(SETUPS[name], kind, schedule, form)
    return np.asarray(jax.vmap(lambda x: built.drift(t, x))(jnp.asarray(POINTS)))


def formula(name, kind, when="constant"):
    rate = TIMES[when][2]
    return np.array([REFERENCES[name].drift(kind, ETA, rate, x) for x in POINTS])


@cache
def discrete_change(name, when="constant"):
    """E[f(x⁺) − f(x)]/η of the optimizer at POINTS, summed over all messages of all agents."""
    return np.array([REFERENCES[name].loss_change(ETA, TIMES[when][2], x) for x in POINTS])


def loss_drift(name, drift, when="constant"):
    """g·drift + ½ tr(H GGᵀ) at POINTS."""
    rate = TIMES[when][2]
    trace = np.array([np.trace(HESSIAN @ REFERENCES[name].covariance(x)) for x in POINTS])
    return np.sum(POINTS @ HESSIAN * drift, axis=1) + ETA * rate**2 / 2 * trace


def is_drift(drift, name, kind, when="constant"):
    return np.allclose(drift, formula(name, kind, when), rtol=1e-10, atol=1e-10)


def matches_loss(drift, name, when="constant"):
    return np.allclose(loss_drift(name, drift, when), discrete_change(name, when), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GROUPS)
def test_drift_is_the_formula_of_the_theory(name, kind):
    assert is_drift(drift_of(name, kind), name, kind)


@pytest.mark.parametrize("kind", ["first", "new", "flip"])
@pytest.mark.parametrize("name", ["mixed", "signs"])
def test_drift_under_a_schedule(name, kind):
    assert is_drift(drift_of(name, kind, "polynomial"), name, kind, "polynomial")
    assert not is_drift(drift_of(name, kind, "constant"), name, kind, "polynomial")


@pytest.mark.parametrize(("name", "when"), SCHEDULED)
def test_covariance_and_diffusion_are_those_of_the_mean_message(name, when):
    schedule, t, rate = TIMES[when]
    built = model(SETUPS[name], "new", schedule)

    @jax.vmap
    def both(x):
        return built.diffusion(t, x).as_matrix(), built.covariance(t, x).as_matrix()

    roots, covariances = (np.asarray(part) for part in both(jnp.asarray(POINTS)))
    expected = ETA * rate**2 * np.array([REFERENCES[name].covariance(x) for x in POINTS])
    np.testing.assert_allclose(roots @ roots.swapaxes(1, 2), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(covariances, expected, rtol=1e-10, atol=1e-10)
    assert not np.allclose(covariances * 3, expected)  # 1/N forgotten


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["bernoulli", "rand-k", "signs"])
def test_one_euler_step_has_exactly_the_moments_of_the_model(name, kind):
    """x + dt b + √dt G z is linear in z: the mean is its value at z = 0, the covariance a sum over unit vectors z."""
    built, dt = model(SETUPS[name], kind, Constant(ETA)), ETA / 8
    euler = Euler(built.problem, built, dt, tamed=False)

    @jax.jit
    @jax.vmap
    def step(x):
        return jax.vmap(lambda z: euler.move(0.0, dt, x, z))(jnp.eye(4, 3, -1))

    moved = np.asarray(step(jnp.asarray(POINTS)))
    mean, pushes = moved[:, 0], moved[:, 1:] - moved[:, :1]
    covariance = np.einsum("pki,pkj->pij", pushes, pushes)
    drift, exact = formula(name, kind), ETA * np.array([REFERENCES[name].covariance(x) for x in POINTS])
    np.testing.assert_allclose(mean, POINTS + dt * drift, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(covariance, dt * exact, rtol=1e-10, atol=1e-10)
    assert not np.allclose(covariance, dt**2 * exact) and not np.allclose(mean, POINTS + ETA * drift)


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("g", [(1.0, -2.0, 0.5), (1.0, 0.0, 0.5), (0.0, 0.0, 0.5), (0.0, 0.0, 0.0)])
def test_the_root_of_a_singular_covariance(g, dtype, error):
    """Rand-k without noise: (ω/(d−1))(d diag g² − ggᵀ) vanishes along 1/g, and has zero rows where g has zeros."""
    built = cast(model(Setup(Quadratic(np.ones(3)), Agents(1, compressor=RandK(1))), "new", Constant(ETA)), dtype)
    root = np.asarray(built.diffusion(0.0, jnp.asarray(g, dtype)).as_matrix())
    g = np.array(g)
    np.testing.assert_allclose(root @ root.T, ETA * (3 * np.diag(g**2) - np.outer(g, g)), atol=error)


@pytest.mark.parametrize("kind", ["classic", "new", "flip"])
@pytest.mark.parametrize("name", ["dsgd", "signs"])
def test_mutants_of_each_drift_fail(name, kind):
    drift, first = drift_of(name, kind), drift_of(name, "first")
    mutants = {
        "correction with the wrong sign": 2 * first - drift,
        "correction doubled": 2 * drift - first,
        "correction halved": (drift + first) / 2,
        "no correction": first,
        "wrong sign": -drift,
        "factor 2": 2 * drift,
    }
    for mutant, wrong in mutants.items():
        assert not is_drift(wrong, name, kind), mutant


@pytest.mark.parametrize("factor", [-1, 2, 0.5])
def test_mutants_of_the_first_order_drift_fail(factor):
    for name in GROUPS:
        assert not is_drift(factor * drift_of(name, "first"), name, "first")


@pytest.mark.parametrize(("kind", "ratio"), [("classic", "slope"), ("new", "secant"), ("flip", "slope")])
def test_a_swapped_hadamard_product_fails(kind, ratio):
    """H (ratio ∘ m) in place of ratio ∘ H m: the product inside the Hessian instead of outside."""
    reference, direction = REFERENCES["signs"], -1 if kind == "classic" else 1
    means = np.array([reference.average("mean", x) for x in POINTS])
    ratios = np.array([reference.average(ratio, x) for x in POINTS])
    right = -means + direction * ETA / 2 * ratios * (means @ HESSIAN)
    swapped = -means + direction * ETA / 2 * (ratios * means) @ HESSIAN
    assert is_drift(right, "signs", kind) and not is_drift(swapped, "signs", kind)
    assert not matches_loss(swapped, "signs")


@pytest.mark.parametrize(("name", "when"), SCHEDULED)
def test_new_reproduces_the_discrete_loss_drift(name, when):
    """Theory 1.4: E[f(x⁺) − f(x)]/η of a quadratic, to rounding, for every method; the sum runs over all messages."""
    assert matches_loss(drift_of(name, "new", when), name, when)
    schedule, t, _ = TIMES[when]
    built = model(SETUPS[name], "new", schedule)
    found = jax.vmap(lambda x: built.loss_drift(t, x))(jnp.asarray(POINTS))
    np.testing.assert_allclose(found, discrete_change(name, when), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["first", "classic", "flip"])
@pytest.mark.parametrize("name", GROUPS)
def test_other_models_miss_the_loss_drift_by_what_theory_says(name, kind):
    """The miss is (η/2)(g·c − mᵀHm); there is none for "flip" with unbiased messages, which is "new" there."""
    reference = REFERENCES[name]
    means = np.array([reference.average("mean", x) for x in POINTS])
    corrections = np.array([reference.correction(kind, x) for x in POINTS])
    miss = ETA / 2 * (np.sum(POINTS @ HESSIAN * corrections, axis=1) - np.sum(means @ HESSIAN * means, axis=1))
    found = loss_drift(name, drift_of(name, kind)) - discrete_change(name)
    np.testing.assert_allclose(found, miss, rtol=1e-8, atol=1e-11)
    if kind == "flip" and name not in SIGNS:
        assert np.all(np.abs(miss) < 1e-12)
    else:
        assert np.all(np.abs(miss) > 1e-4)


@pytest.mark.parametrize("name", GROUPS)
def test_mutants_of_the_matching_drift_fail_the_loss_check(name):
    drift, first = drift_of(name, "new"), drift_of(name, "first")
    for mutant in (2 * first - drift, 2 * drift - first, drift / 1.1, -drift):
        assert not matches_loss(mutant, name)


def test_loss_drift_of_dependent_signs():
    """Multivariate t_ν: P(signs) = E_w Π Φ(±z_j √w) with w = χ²_ν/ν; theory 1.3 says off-diagonals are not 0."""
    df, scale, x = 2.5, SCALES[:2], np.array([0.8, -0.5])
    hessian = HESSIAN[:2, :2]
    g = hessian @ x
    setup = Setup(Quadratic(hessian), Agents(1, StudentT(df, scale, "multivariate"), Sign()))
    change = 0.0
    for s in [(1, 1), (1, -1), (-1, 1), (-1, -1)]:
        s = np.array(s, float)

        def chance(v, s=s):
            w = special.gammaincinv(df / 2, v**2 * (3 - 2 * v)) * 2 / df
            return np.prod(special.ndtr(s * g / scale * np.sqrt(w))) * 6 * v * (1 - v)

        p = integrate.quad(chance, 0, 1, epsabs=1e-12, epsrel=1e-12)[0]
        change += p * ((x - ETA * s) @ hessian @ (x - ETA * s)) / 2
    expected = (change - x @ hessian @ x / 2) / ETA
    built = model(setup, "new", Constant(ETA))
    assert float(built.loss_drift(0.0, jnp.asarray(x))) == pytest.approx(expected, abs=1e-8)
    diagonal = np.diag(np.diag(built.law.covariance(jnp.asarray(x)).as_matrix()))
    mutant = g @ np.asarray(built.drift(0.0, jnp.asarray(x))) + ETA * np.trace(hessian @ diagonal) / 2
    assert abs(mutant - expected) > 5e-5


@pytest.mark.parametrize(("kind", "direction"), [("new", 1), ("classic", -1)])
@pytest.mark.parametrize("name", SIGNS)
def test_printed_sign_drifts_are_exactly_as_printed(name, kind, direction):
    """P Eq. 134 and S2 Eq. 102: ±(η/N) Σ_i Σ_i^-½ H (Ξ'∘Ξ)."""
    rate = TIMES["polynomial"][2]
    drift = drift_of(name, kind, "polynomial", "printed")
    for factor in (1, -1, 2, 0.5):
        expected = [REFERENCES[name].printed(factor * direction, ETA, rate, x) for x in POINTS]
        assert np.allclose(drift, expected, rtol=1e-10, atol=1e-10) == (factor == 1)
    assert not is_drift(drift, name, kind, "polynomial")


def test_printed_form_misses_the_loss_drift():
    assert not matches_loss(drift_of("signs", "new", form="printed"), "signs")


def test_printed_is_half_of_half_the_flip_for_one_agent_in_one_dimension():
    """N = 1, d = 1: the flip is +2ησ⁻¹f''Ξ'Ξ, P Eq. 134 half of it (theory 0, item 2)."""
    setup = Setup(Quadratic([1.7]), Agents(1, StudentT(2.0, 0.8), Sign()))
    x = jnp.array([0.6])
    first, flip, printed = (
        float(model(setup, kind, Constant(ETA), form).drift(0.0, x)[0])
        for kind, form in [("first", "corrected"), ("flip", "corrected"), ("new", "printed")]
    )
    z, t2 = 1.7 * 0.6 / 0.8, stats.t(2.0)
    assert flip - first == pytest.approx(2 * ETA / 0.8 * 1.7 * t2.pdf(z) * (t2.cdf(z) - 0.5), rel=1e-12)
    assert printed - first == pytest.approx((flip - first) / 2, rel=1e-12)


def test_matching_drift_at_a_stationary_coordinate_is_the_limit():
    """m_j/g_j → (1/N) Σ ℓ_ν/σ_ij as g_j → 0 (theory 2.1), without a jump and with a finite derivative."""
    rows = [sign(1, 1.0, SCALES), sign(1, np.inf, 0.7)]
    built = model(Setup(Quadratic(HESSIAN), *(agents for agents, _ in rows)), "new", Constant(ETA))
    slope = sum(2 * row.law.pdf(0) / row.scale for _, row in rows) / 2
    np.testing.assert_allclose(built.law.secant(jnp.zeros(3)), slope, rtol=1e-12)
    near, at = (np.asarray(built.drift(0.0, jnp.full(3, x))) for x in (1e-9, 0.0))
    np.testing.assert_allclose(near, at, atol=1e-8)
    assert np.all(np.isfinite(jax.jacfwd(lambda x: built.drift(0.0, x))(jnp.zeros(3))))


@pytest.mark.parametrize("compressor", [Sign(), TopK(1)])
def test_biased_messages_without_noise_match_the_loss_too(compressor):
    """Deterministic messages M: E[f(x⁺) − f(x)]/η = −g·M + (η/2) MᵀHM; at M_j = g_j = 0 nothing is divided by 0."""
    built = model(Setup(Quadratic(HESSIAN), Agents(2, compressor=compressor)), "new", Constant(ETA))
    for x in POINTS:
        g = HESSIAN @ x
        message = np.asarray(compressor.compress(jnp.zeros(0), jnp.asarray(g)))
        expected = -g @ message + ETA / 2 * message @ HESSIAN @ message
        assert float(built.loss_drift(0.0, jnp.asarray(x))) == pytest.approx(expected, rel=1e-12)
    assert np.all(np.asarray(built.drift(0.0, jnp.zeros(3))) == 0)


def test_one_coordinate_without_noise_does_not_spoil_the_rest():
    scale = np.array([0.0, 1.0, 2.5])
    built = model(Setup(Quadratic(HESSIAN), Agents(1, StudentT(1.0, scale), Sign())), "new", Constant(ETA))
    x = POINTS[0]
    g = HESSIAN @ x
    m = np.append(np.sign(g[0]), 2 / np.pi * np.arctan(g[1:] / scale[1:]))
    expected = -g @ m + ETA / 2 * (m @ HESSIAN @ m + np.diag(HESSIAN) @ (1 - m**2))
    assert float(built.loss_drift(0.0, jnp.asarray(x))) == pytest.approx(expected, rel=1e-12)


def test_float32_drifts_agree_with_float64():
    for kind in KINDS:
        built = cast(model(SETUPS["equal signs"], kind, Constant(ETA)), jnp.float32)
        found = built.drift(0.0, jnp.asarray(POINTS[0], jnp.float32))
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, formula("equal signs", kind)[0], atol=2e-6)


def test_own_landscapes_have_every_model_but_new_for_signs():
    """With data of their own the mean sign is no function of ∇f: the matching drift does not exist, the others do."""
    matrices = [np.diag([1.0, 2.0, 0.5]), HESSIAN]
    groups = [Agents(1, StudentT(1.0, SCALES), Sign(), problem=Quadratic(matrix)) for matrix in matrices]
    setup = Setup(None, *groups)
    with pytest.raises(InvalidInput, match="no function of ∇f"):
        model(setup, "new", Constant(ETA))
    x = POINTS[0]
    means = [2 / np.pi * np.arctan(matrix @ x / SCALES) for matrix in matrices]
    m = (means[0] + means[1]) / 2
    jacobian = sum((2 / np.pi / SCALES / (1 + (q @ x / SCALES) ** 2))[:, None] * q for q in matrices) / 2
    found = model(setup, "classic", Constant(ETA)).drift(0.0, jnp.asarray(x))
    np.testing.assert_allclose(found, -m - ETA / 2 * jacobian @ m, rtol=1e-10)


def test_new_of_own_landscapes_with_unbiased_messages():
    matrices = [np.diag([1.0, 2.0, 0.5]), HESSIAN]
    setup = Setup(None, *(Agents(1, Gaussian(0.3), problem=Quadratic(matrix)) for matrix in matrices))
    mean = (matrices[0] + matrices[1]) / 2
    found = model(setup, "new", Constant(ETA)).drift(0.0, jnp.asarray(POINTS[0]))
    np.testing.assert_allclose(found, -mean @ POINTS[0] + ETA / 2 * mean @ mean @ POINTS[0], rtol=1e-10)
