"""What is given in the place of a setup, constants, a model, a name or a point: one sentence each, whatever it is."""

import numpy as np
import pytest

from stablestep import integrate, simulate, vary
from stablestep.errors import InvalidInput
from stablestep.message import law
from stablestep.noise import Gaussian
from stablestep.problem import FiniteSum, Mixture, Quadratic
from stablestep.schedule import Constant, StepLimit
from stablestep.sde import loss_process, model
from stablestep.setup import Agents, Setup
from stablestep.stability import critical_step
from stablestep.theorem import (
    Constants,
    bound,
    constants,
    covered,
    covering,
    density,
    described,
    necessary,
    normalized_bound,
    result,
    step_limit,
)

SETUP = Setup(Quadratic([1.0, 2.0]), Agents(2, Gaussian(0.5)))
C = Constants(L0=1, L1=1, dim=2, count=2)
STEP = Constant(0.1)
JUNK = [None, "1", 1.0, [1.0, 2.0], np.ones((2, 2)), {}, 1j, lambda x: x]
MODEL = model(SETUP, "first", STEP)
NO_SETUP = {
    "law": law,
    "vary": lambda junk: vary(junk, "sigma0", 1.0),
    "constants": lambda junk: constants(junk, L1=1.0),
    "covered": lambda junk: covered(junk, 1.0),
    "described": lambda junk: described(C, junk),
    "model": lambda junk: model(junk, "first", STEP),
    "critical_step": lambda junk: critical_step(junk, x0=1.0),
}
NO_CONSTANTS = {
    "covering": covering,
    "described": lambda junk: described(junk, SETUP),
    "necessary": necessary,
    "normalized_bound": lambda junk: normalized_bound(junk, 10),
    "step_limit": lambda junk: step_limit("4.2", junk, 1.0, 0.5),
    "bound": lambda junk: bound("4.2", junk, eta=0.1, phi1=1.0, phi2=1.0),
    "density": lambda junk: density("4.2", junk, eta=0.1, eta_t=1.0, phi1=1.0, phi2=1.0),
}
NO_NAME = {
    "result": result,
    "step_limit": lambda junk: step_limit(junk, C),
    "StepLimit": lambda junk: StepLimit(junk, 0.1),
    "model": lambda junk: model(SETUP, junk, STEP),
    "critical_step": lambda junk: critical_step(SETUP, x0=1.0, method=junk),
}
PLACES = {"a Setup": NO_SETUP, "a Constants": NO_CONSTANTS, r"There is no result|there is no m": NO_NAME}
ROWS = [(words, name) for words, table in PLACES.items() for name in table]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: type(junk).__name__)
@pytest.mark.parametrize(("words", "name"), ROWS)
def test_something_else(words, name, junk):
    with pytest.raises(InvalidInput, match=words) as caught:
        PLACES[words][name](junk)
    assert "\n" not in str(caught.value)


RUN = {"model": MODEL, "x0": 1.0, "time": 0.1, "runs": 2}
OTHERS = [
    (lambda: loss_process(3, x0=1.0, time=0.1), "model is 3, but must be a Continuous"),
    (lambda: integrate(**RUN, method=["euler"]), r"there is no method \"\['euler'\]\""),
    (lambda: integrate(**RUN, method=np.ones((2, 2))), "there is no method"),
    (lambda: integrate(**RUN, start=np.ones(2)), "start is array"),
    (lambda: integrate(**RUN, error=np.ones(2)), "error is array.*must be True or False"),
    (lambda: integrate(**RUN, observe=np.ones(2)), "observe is array.*must be a function of x"),
    (lambda: simulate(SETUP, schedule=STEP, x0=lambda key: key, steps=1), r"x0\(key\) "),
    (lambda: simulate(SETUP, schedule=STEP, x0=lambda key: float(key), steps=1), r"x0\(key\) failed with"),
    (lambda: simulate(SETUP, schedule=STEP, x0=lambda key: 1j, steps=1), r"x0\(key\) holds complex"),
    (lambda: constants(SETUP, L1=1.0, x0="here"), "x0"),
    (lambda: result(4.2), r'no result 4\.2, as results have texts for names; write "4\.2"'),
    (lambda: result(np.float64(4.2)), r'write "4\.2"'),
    (lambda: step_limit("4.2", SETUP), r"must be a Constants, such as theorem\.constants\(setup, L1=1\)"),
    (lambda: Setup(lambda x: x, Agents(1)), r"must be a Problem, such as problem\.Function\(f, dim\)"),
    (lambda: Agents(1, problem=lambda x: x), r"such as problem\.Function\(f, dim\)"),
    (lambda: FiniteSum(np.ones((5, 3)), lambda x, row: x @ row, 3), "FiniteSum: f is array"),
    (lambda: Mixture(3, [1.0]), "Mixture: problems is 3, but must list problems"),
    (lambda: Mixture("ab", [1.0]), 'Mixture: problems is "ab"'),
]


@pytest.mark.parametrize(("wrong", "match"), OTHERS)
def test_other_arguments(wrong, match):
    with pytest.raises(InvalidInput, match=match) as caught:
        wrong()
    assert "\n" not in str(caught.value)
