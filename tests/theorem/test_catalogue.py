"""The results by their numbers, and the three functions that take one."""

import pytest

from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, bound, density, result, results, step_limit
from tests.theorem.reference import HET, TIMES

ALIASES = {
    "4.1": ("B.4", "S2 A.4"),
    "4.2": ("B.6", "S2 4.3", "S2 A.6"),
    "4.3": (),
    "B.1": ("S2 A.1",),
    "B.2": ("S2 4.1", "S2 A.2"),
    "B.3": ("S2 A.3",),
    "B.5": ("S2 4.2", "S2 A.5"),
    "B.8": ("S2 A.8",),
    "B.9": ("S2 4.4", "S2 A.9"),
}
FIRST = {"4.1", "B.1", "B.3", "B.8"}
METHODS = {"B.1": "DSGD", "B.2": "DSGD", "4.3": "DSignSGD", "B.8": "DSignSGD", "B.9": "DSignSGD"}


@pytest.mark.parametrize("name", ALIASES)
def test_names(name):
    found = result(name)
    assert found.name == name and all(result(alias) is found for alias in ALIASES[name])
    assert f"Thm {name}" in found.reference and "Eq" in found.reference
    assert found.sde == ("first" if name in FIRST else "new") and found.method == METHODS.get(name, "DCSGD")


def test_every_result_is_listed_once():
    assert {one.name: one.aliases for one in results()} == ALIASES
    names = [name for one in results() for name in (one.name, *one.aliases)]
    assert len(names) == len(set(names))


def test_the_functions_are_those_of_the_result():
    c, found = Constants(**HET), result("4.2")
    assert step_limit("S2 4.3", c, 2.0, 0.5, unit=2.0) == found.step_limit(c, 2.0, 0.5, unit=2.0)
    given = {**TIMES, "initial_gap": 3.0, "epsilon": 0.5, "young": True}
    assert bound("S2 4.3", c, **given) == found.bound(c, **given)
    assert float(density("S2 4.3", c, eta_t=0.5, **TIMES)) == 0.5 / TIMES["phi1"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("B.7", r'no result "B\.7".*Known: 4\.1, 4\.2'),
        ("S2 4.5", r"Did you mean \"S2 \S+5?\""),
        ("", 'no result "".*Known'),
        ("b.2", r'Did you mean "B\.2"'),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(InvalidInput, match=message):
        result(name)
