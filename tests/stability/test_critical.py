"""The one question with nine answers."""

import inspect

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.problem import Quadratic, Quartic
from stablestep.setup import Setup
from stablestep.stability import METHODS, critical_step
from stablestep.theorem import Constants
from tests.stability.reference import DESCENT, SPARSE

NAMES = (
    "rollouts",
    "theorem",
    "coordinate-wise",
    "loss-model",
    "one-step",
    "one-step-log",
    "moments",
    "lyapunov",
    "simulation",
)


def test_the_methods():
    assert tuple(METHODS) == NAMES


@pytest.mark.parametrize("method", NAMES)
def test_all_agree_on_gradient_descent(method):
    """2/λ."""
    found = critical_step(DESCENT, x0=2.0, method=method)
    assert found.step == pytest.approx(2 / 3, rel=0.03 if method == "rollouts" else 3e-4)
    assert found.method == method and found.definition and found.cost > 0 and found.low <= found.step <= found.high


@pytest.mark.parametrize("method", [name for name in NAMES if name not in ("rollouts", "simulation")])
def test_the_answer_scales_with_the_problem(method):
    """f → 9 f makes every edge nine times smaller."""
    (agents,) = SPARSE.groups
    nine = critical_step(Setup(Quadratic([9.0]), agents), x0=1.0, method=method)
    assert critical_step(SPARSE, x0=1.0, method=method).step == pytest.approx(9 * nine.step, rel=1e-5)


WHOLE = {
    "rollouts": ("members", "steps", "longest"),
    "simulation": ("steps", "runs"),
    "lyapunov": ("runs", "steps"),
    "one-step": ("samples",),
    "one-step-log": ("samples",),
}
REAL = {
    "rollouts": {"tolerance": "greater than 0", "blown": "greater than 1"},
    "simulation": {"tolerance": "greater than 0", "blown": "greater than 1", "quantile": "between 0 and 1"},
    "theorem": {"L1": "at least 0"},
}
RECORDS = {"theorem": ("constants",)}
MEASURED = Constants(L0=3, L1=2, dim=1)


def test_every_option_is_checked():
    """The tables above are complete."""
    for method, use in METHODS.items():
        given = set(inspect.signature(use).parameters) - {"case"}
        assert given == {*WHOLE.get(method, ()), *REAL.get(method, ()), *RECORDS.get(method, ())}, method


@pytest.mark.parametrize("value", [np.nan, np.inf, "5", True, 2.5, -1, [7]], ids=str)
@pytest.mark.parametrize(("method", "name"), [(method, name) for method, names in WHOLE.items() for name in names])
def test_a_count_is_a_whole_number(method, name, value):
    with pytest.raises(InvalidInput, match=f"^{name} is .*, but must be a whole number of at least") as caught:
        critical_step(SPARSE, x0=1.0, method=method, **{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, "5", True, -1, [7]], ids=str)
@pytest.mark.parametrize(("method", "name"), [(method, name) for method, names in REAL.items() for name in names])
def test_a_number_is_a_number(method, name, value):
    with pytest.raises(InvalidInput, match=f"^{name} is .*, but must be .*{REAL[method][name]}") as caught:
        critical_step(SPARSE, x0=1.0, method=method, **{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("seed", [1.7, "1", None, True, -1])
def test_a_seed_is_a_whole_number(method, seed):
    with pytest.raises(InvalidInput, match="seed is"):
        critical_step(DESCENT, x0=2.0, method=method, seed=seed)


@pytest.mark.parametrize("method", NAMES)
def test_a_status_says_no_more_than_was_looked_at(method):
    """Only what followed runs speaks of sharp and soft edges."""
    status = critical_step(SPARSE, x0=1.0, method=method, **({"steps": 30} if method == "rollouts" else {})).status
    followed = {"rollouts": ("sharp", "soft", "horizon-dependent"), "simulation": ("sharp", "soft")}
    known = {"theorem": "formula", "coordinate-wise": "formula", "loss-model": "formula", "moments": "exact"}
    assert status in followed.get(method, (known.get(method, "estimated"),))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "rolouts"}, 'there is no method "rolouts". Did you mean "rollouts"'),
        ({"method": "moments", "steps": 3}, 'the method "moments" has no option "steps"; it takes none'),
        ({"method": "lyapunov", "members": 3}, 'no option "members"; it takes runs, steps'),
        ({"method": "simulation", "step": 3}, 'no option "step"; it takes steps, runs, quantile, tolerance, blown'),
        ({"method": "theorem", "constants": 3}, "constants is 3, but must be a Constants"),
        ({"method": "theorem", "constants": MEASURED, "L1": 1.0}, "L1 is 1.0, but constants hold an L1 of their own"),
        ({"method": "theorem", "constants": Constants(L0=1, L1=0, dim=3)}, "dim = 3, but the setup has 1"),
        ({"method": "moments", "constants": MEASURED}, 'the method "moments" has no option "constants"; it takes none'),
        ({"method": None}, 'there is no method "None"'),
        ({"method": ["moments"]}, "there is no method"),
        ({"setup": Quartic(3)}, "must be a Setup"),
        *(({"method": name, "x0": np.ones(2)}, r"x0 has shape \(2,\).*vector of length 1") for name in NAMES),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        critical_step(**({"setup": DESCENT, "x0": 2.0} | options))
    assert "\n" not in str(caught.value)
