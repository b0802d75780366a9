"""The one question with nine answers."""

import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.problem import Quadratic, Quartic
from stablestep.setup import Setup
from stablestep.stability import METHODS, critical_step
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "rolouts"}, 'there is no method "rolouts". Did you mean "rollouts"'),
        ({"method": "moments", "steps": 3}, 'the method "moments" has no option "steps"; it takes none'),
        ({"method": "lyapunov", "members": 3}, 'no option "members"; it takes runs, steps'),
        ({"method": "simulation", "step": 3}, 'no option "step"; it takes steps, runs, quantile, tolerance, blown'),
        ({"setup": Quartic(3)}, "must be a Setup"),
        *(({"method": name, "x0": np.ones(2)}, r"x0 has shape \(2,\).*vector of length 1") for name in NAMES),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        critical_step(**({"setup": DESCENT, "x0": 2.0} | options))
    assert "\n" not in str(caught.value)
