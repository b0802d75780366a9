"""Where the numbers given prove that the step condition is broken, a bound raises: it would be false."""

import math

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, bound, density, result, step_limit
from tests.theorem.reference import ROOT, SIGN, UNBIASED

# x²/2, one agent, ω = 4, no noise: E x² is multiplied by (1 − h)² + 4h² in each step, and the limit is 2ε/5.
SPARSE = Constants(L0=1, L1=0, dim=1, omega=4.0, initial_gap=28.0)
STEPS, TIME = 65, 10.0


def mean_square(eta: float, time: float) -> float:
    """(1/t) ∫ E f'(X)² over the optimizer's own steps of length `eta`, from f = 28: by its exact recursion."""
    steps = round(time / eta)
    growth = (1 - eta) ** 2 + 4 * eta**2
    return 56.0 * float(np.mean(growth ** np.arange(steps, dtype=float)))


def at(eta: float, time: float) -> dict:
    return {"eta": eta, "phi1": time, "phi2": time}


@pytest.mark.parametrize("eta", [0.01, 0.1, 0.19, 0.2])
def test_below_the_limit_the_bound_holds(eta):
    assert mean_square(eta, TIME) <= bound("4.2", SPARSE, **at(eta, TIME), epsilon=0.5) == pytest.approx(5.6)


@pytest.mark.parametrize("eta", [0.201, 0.5, 1.0, 1.5])
def test_beyond_it_the_same_number_would_be_false_and_is_not_given(eta):
    """The formula knows no η without noise: it would say 5.6 at every step, where the exact value is up to 1e63."""
    with pytest.raises(
        InvalidInput, match=r"4\.2 says nothing here: it allows steps up to 0\.2, but .* is .*; use a smaller eta"
    ):
        bound("4.2", SPARSE, **at(eta, TIME), epsilon=0.5)
    if eta >= 0.5:
        assert mean_square(eta, STEPS * eta) > 5.6 * TIME / (STEPS * eta)
    assert mean_square(1.5, STEPS * 1.5) > 1e60


NOISY = Constants(L0=1, L1=0.5, dim=4, sigma0_sq=0.3, count=2, initial_gap=1.0)
ROUGH = Constants(L0=1, L1=3, dim=4, sigma0_sq=0.3, sigma1_sq=0.0, count=2, initial_gap=1.0)


@pytest.mark.parametrize("form", ["corrected", "printed"])
@pytest.mark.parametrize("c", [NOISY, ROUGH], ids=["smooth", "rough"])
@pytest.mark.parametrize("name", UNBIASED)
def test_unbiased_messages_have_no_larger_limit_than_at_gradient_zero(name, c, form):
    limit = step_limit(name, c, 0.0, 0.5, form=form)
    assert limit >= max(step_limit(name, c, norm, 0.5, form=form) for norm in (0.1, 1.0, 50.0))
    # φ²/φ¹ = ½: the mean step is half of η.
    times, options = {"phi1": 2.0, "phi2": 1.0}, {"form": form}
    assert bound(name, c, eta=1.999 * limit, **times, epsilon=0.5, **options) > 0
    with pytest.raises(InvalidInput, match=f"{name} says nothing here.*mean step"):
        bound(name, c, eta=2.001 * limit, **times, epsilon=0.5, **options)
    # The density serves every ε: its limit is that for ε → 1.
    assert float(density(name, c, eta=3.99 * limit, eta_t=0.5, **times, **options)) == 0.25
    for eta, eta_t, words in ((4.01 * limit, 0.1, "mean step"), (3.0 * limit, [0.1, 0.9], "largest step")):
        with pytest.raises(InvalidInput, match=f"{name} says nothing here.*{words}"):
            density(name, c, eta=eta, eta_t=eta_t, **times, **options)


@pytest.mark.parametrize(
    "options", [{}, {"form": "printed"}, {"radius": 2.0}, {"radius": 2.0, "form": "printed"}], ids=str
)
@pytest.mark.parametrize("name", ["4.3", "B.8", "B.9"])
def test_signs_have_one_limit_everywhere(name, options):
    c = Constants(**SIGN, initial_gap=3.0)
    limit = step_limit(name, c, **options)
    times = {"phi1": ROOT["phi1"], "phi2": ROOT["phi2"]}
    share = times["phi2"] / times["phi1"]
    for factor in (1 + 1e-12, 1.1, 3.0):
        with pytest.raises(InvalidInput, match=f"{name} says nothing here: it allows steps below"):
            bound(name, c, eta=factor * limit / share, **times, **options)
        with pytest.raises(InvalidInput, match=f"{name} says nothing here"):
            density(name, c, eta=factor * limit / share, eta_t=0.1, **times, **options)
    if name != "B.9" or options != {"form": "printed"}:
        assert bound(name, c, eta=0.99 * limit / share, **times, **options) > 0


def test_what_is_printed_in_b9_is_not_its_step_limit():
    """With dη > 1 its denominators stay positive beyond the limit, without they vanish below it."""
    times = {"phi1": 10.0, "phi2": 1.0, "initial_gap": 1.0, "form": "printed"}
    wide = Constants(**SIGN | {"dim": 400})
    limit = step_limit("B.9", wide, form="printed")
    assert 10 * limit * 400 > 1
    with pytest.raises(InvalidInput, match=r"B\.9 says nothing here"):
        bound("B.9", wide, eta=11 * limit, **times)
    narrow = Constants(**SIGN)
    with pytest.raises(
        InvalidInput, match=r"B\.9 bounds nothing here: φ²/φ¹ is 1, but must be below 0\.\d+; use a smaller eta"
    ):
        bound("B.9", narrow, eta=1e-3, phi1=1.0, phi2=1.0, initial_gap=1.0, form="printed")


def test_where_nothing_limits_nothing_is_refused():
    for c in (Constants(L0=0, L1=0, dim=1, initial_gap=1.0), Constants(L0=0, L1=1, dim=1, initial_gap=1.0)):
        assert bound("4.2", c, **at(1e6, TIME), epsilon=0.5) == pytest.approx(0.2)
    signs = Constants(L0=1, L1=0, dim=1, nu=1.0, scale_max=1.0, initial_gap=1.0)
    assert math.isfinite(bound("4.3", signs, **at(1e6, TIME)))


@pytest.mark.parametrize("name", UNBIASED)
@pytest.mark.parametrize("options", [{"unit": 2.0}, {"young": True}])
def test_the_printed_form_has_no_other_phases(name, options):
    given = options | {"form": "printed"}
    plain = Constants(L0=1, L1=1, dim=2, sigma0_sq=0.1, initial_gap=1.0)
    message = f'unit and young change the corrected form of {name}, but form is "printed"; leave out one or the other'
    for use in (
        lambda: step_limit(name, plain, 1.0, 0.5, **given),
        lambda: bound(name, plain, **at(0.01, 1.0), epsilon=0.5, **given),
        lambda: density(name, plain, **at(0.01, 1.0), eta_t=1.0, **given),
    ):
        with pytest.raises(InvalidInput, match=message):
            use()
    assert not result(name).applies(plain, **given) and result(name).applies(plain, **options)
