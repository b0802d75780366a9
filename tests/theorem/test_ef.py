"""Error feedback with contractive compressors."""

import numpy as np
import pytest

from stablestep import schedule, simulate
from stablestep.compressor import EF21, ErrorFeedback, RandomSparsification, ScaledSign, TopK
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian
from stablestep.problem import Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.theorem import Constants, bound, constants, covered, necessary, result, step_limit
from tests.theorem.descents import feedback, top


def of(alpha=0.25, **more):
    return Constants(**({"L0": 1, "L1": 0, "dim": 4, "alpha": alpha} | more))


@pytest.mark.parametrize(
    ("alpha", "sufficient", "needed"), [(0.1, 0.05265, 0.05267), (0.25, 0.14320, 0.14359), (0.5, 0.33722, 0.34315)]
)
def test_limits(alpha, sufficient, needed):
    assert step_limit("ef", of(alpha)) == pytest.approx(sufficient, abs=5e-6)
    assert necessary(of(alpha)) == pytest.approx(needed, abs=5e-6)
    assert step_limit("ef", of(alpha, L0=4)) == pytest.approx(step_limit("ef", of(alpha)) / 4, rel=1e-13)


def test_numbers():
    """theory2 section 8.12; its last digit of the necessary step is 5, that of 2(7 − 4√3) is 4."""
    assert step_limit("ef", of()) == pytest.approx(0.1431965115, abs=5e-11)
    assert necessary(of()) == pytest.approx(2 * (7 - 4 * np.sqrt(3)), rel=1e-12)
    assert necessary(of()) == pytest.approx(0.1435935395, abs=1.1e-10)
    assert step_limit("ef", of(1.0)) == pytest.approx(1.0) and necessary(of(1.0)) == 2.0


@pytest.mark.parametrize("alpha", [0.1, 0.25, 0.5])
def test_beyond_the_necessary_step_a_compressor_diverges(alpha):
    """C(v) = (1 + s)v on x²/2: (x, e) ↦ (x − (1+s)p, −sp), p = e + ηx, has an eigenvalue −1 there."""
    s = np.sqrt(1 - alpha)

    def radius(eta):
        return np.max(np.abs(np.linalg.eigvals([[1 - (1 + s) * eta, -(1 + s)], [-s * eta, -s]])))

    h = necessary(of(alpha))
    assert radius(h) == pytest.approx(1, abs=1e-12) and radius(1.01 * h) > 1.0004 and radius(0.99 * h) < 1
    assert radius(step_limit("ef", of(alpha))) < 1


def test_by_hand():
    """𝔅² = 2, ζ² = 3, N = 2, v0² = 4 · .1, v1² = 4 · .05 = .2, r² = s²/(1−s)² at α = .75: s = ½, r = 1."""
    c = of(0.75, L0=2, count=2, sigma0_sq=0.1, sigma1_sq=[0.05, 0.01], dissimilarity=(2.0, 3.0), initial_gap=1.5)
    eta = 0.05
    D = 1 - 2 * eta * (1 + 0.2 * 2 / 2) - 4 * eta**2 * 1.2 * 2
    right = 2 * 1.5 / (eta * 100) + 2 * eta * (0.4 + 0.2 * 3) / 2 + 4 * eta**2 * (1.2 * 3 + 0.4)
    assert bound("ef", c, eta=eta, steps=100) == pytest.approx(right / D, rel=1e-12)
    limit = step_limit("ef", c)
    assert 1 - 2 * limit * 1.2 - 4 * limit**2 * 2.4 == pytest.approx(0, abs=1e-12)


CENTRES = np.array([[0.3, -0.2, 0.1, 0.0], [-0.2, 0.4, 0.0, 0.1], [-0.1, -0.2, -0.1, -0.1]])


@pytest.mark.parametrize("eta", [0.02, 0.01, 0.005])
def test_the_bound_holds_for_unlike_clients(eta):
    """theory2: .0613 ≤ .1263, and two more; equal Hessians, 𝔅 = 1, Top-1 of four."""
    gradients = [lambda x, c=c: x - c for c in CENTRES]
    zeta = float(np.mean(np.sum((CENTRES - CENTRES.mean(0)) ** 2, axis=1)))
    norms = feedback(gradients, np.ones(4), eta, round(30 / eta), top)
    gap = float(np.sum((1 - CENTRES.mean(0)) ** 2)) / 2
    c = of(count=3, dissimilarity=(1.0, zeta), initial_gap=gap)
    found = bound("ef", c, eta=eta, steps=len(norms))
    assert 0.3 * found < np.mean(norms**2) <= found


def test_the_floor_of_unlike_clients_needs_zeta():
    """Started at the minimum, EF with masks in the mean stays at O(η²ζ²): with ζ² = 0 the bound would be 0."""
    gradients = [lambda x, c=c: x - c for c in CENTRES]
    zeta = float(np.mean(np.sum((CENTRES - CENTRES.mean(0)) ** 2, axis=1)))
    norms = feedback(gradients, CENTRES.mean(0), 0.05, 4000, top)
    given = {"eta": 0.05, "steps": 4000, "initial_gap": 0.0}
    assert (
        bound("ef", of(count=3), **given)
        == 0
        < np.mean(norms**2)
        <= bound("ef", of(count=3, dissimilarity=(1.0, zeta)), **given)
    )


@pytest.mark.parametrize(
    "inner", [TopK(k=1), ScaledSign(), RandomSparsification(3.0, scaled=False)], ids=lambda one: one.name
)
def test_of_a_setup_with_noise(inner, seed):
    """The product's own simulation, constants read off the setup."""
    import jax.numpy as jnp

    setup = Setup(Quadratic([1.0, 0.5, 0.3, 0.2]), Agents(3, Gaussian(0.2, 0.1), ErrorFeedback(inner)))
    c = constants(setup, L1=0.0, x0=1.0)
    assert (c.alpha, c.memory, covered(setup, 1.0).result.name) == (0.25, "ErrorFeedback", "ef") and not np.any(c.omega)
    eta = 0.5 * step_limit("ef", c)
    run = simulate(setup, schedule=schedule.Constant(eta), x0=1.0, steps=200, runs=200, seed=seed,
                   observe=lambda x: jnp.sum((x * jnp.array([1.0, 0.5, 0.3, 0.2], x.dtype)) ** 2))  # fmt: skip
    measured, found = float(run.observed.mean("run")[:-1].mean()), bound("ef", c, eta=eta, steps=200)
    assert 0.03 * found < measured <= found


def test_without_the_memory_it_would_be_false():
    """r = 0 would allow ηL < 1; Top-1 of ten equal coordinates diverges from .21 on."""
    norms = feedback([lambda x: x], np.linspace(0.5, 1.5, 10), 0.5, 400, top)
    assert norms[-1] > 1e3 * norms[0]
    assert step_limit("ef", of(1.0, dim=10)) > 0.5 > step_limit("ef", of(0.1, dim=10))


BAD = [
    (lambda: step_limit("ef", of(L1=1.0)), r"needs a bounded Hessian, but L1 is 1; use a pair \(L0, 0\)"),
    (
        lambda: bound("ef", of(), eta=0.2, steps=5, initial_gap=1.0),
        r"steps below 0\.1432, .* is 0\.2; use a smaller eta",
    ),
    (lambda: bound("ef", of(), steps=[0.1, 0.05], initial_gap=1.0), "about a constant step"),
    (lambda: step_limit("ef", of(memory="EF21")), "ef is about ErrorFeedback, but memory is EF21; leave"),
    (lambda: step_limit("ef", Constants(L0=1, L1=0, dim=4)), "but memory is None; give alpha"),
    (lambda: of(0.0), "alpha is 0.0, but must be in"),
    (lambda: of(omega=2.0), "alpha and omega = 2 are both given"),
    (lambda: necessary(Constants(L0=1, L1=0, dim=4)), "alpha is missing"),
    (lambda: of(dissimilarity=3.0), "dissimilarity is 3.0, but must be a pair"),
    (lambda: of(dissimilarity=(1.0, -1.0)), r"dissimilarity\[1\] is -1.0"),
    (
        lambda: covered(Setup(Quadratic([1.0] * 4), Agents(1, None, EF21(TopK(k=1)))), 1.0),
        "no result covers EF21 with plain steps",
    ),
    (lambda: covered(Setup(Quartic(4), Agents(1, None, ErrorFeedback(TopK(k=1)))), 1.0), "needs a bounded Hessian"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_input(wrong, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_measure():
    assert result("ef").gradient_norm_bound(of(), 4.0) == 2.0 and result("ef").measure(of(), 3.0) == 9
