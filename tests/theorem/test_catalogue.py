"""The results by their numbers, and the three functions that take one."""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from textwrap import dedent

import pytest

from stablestep import theorem
from stablestep.errors import InvalidInput
from stablestep.theorem import Constants, Result, bound, covering, density, result, results, step_limit
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


def test_every_name_means_one_result():
    assert ALIASES.items() <= {one.name: one.aliases for one in results()}.items()
    assert [one.name for one in results()][: len(ALIASES)] == list(ALIASES)
    names = [name for one in results() for name in (one.name, *one.aliases)]
    assert len(names) == len(set(names))


def files():
    """The modules of the room, by name."""
    return {found.name: import_module(f"{theorem.__name__}.{found.name}") for found in iter_modules(theorem.__path__)}


def test_every_file_of_a_result_has_its_test():
    tests = Path(__file__).parent
    untested = [
        stem for stem, file in files().items() if hasattr(file, "RESULT") and not (tests / f"test_{stem}.py").exists()
    ]
    assert not untested, f"no tests/theorem/test_NAME.py for {', '.join(untested)}"


def test_every_result_is_the_RESULT_of_its_file():
    """The catalogue looks for that name, and would pass by any other one without a word."""
    for stem, file in files().items():
        others = [name for name, value in vars(file).items() if isinstance(value, Result) and name != "RESULT"]
        assert not others, f"theorem/{stem}.py calls a result {others[0]}, but the catalogue looks for RESULT"
        made = [type(one) for one in results()]
        idle = [kind for kind in vars(file).values() if isinstance(kind, type) and issubclass(kind, Result)]
        idle = [kind.__name__ for kind in idle if kind is not Result and not any(issubclass(one, kind) for one in made)]
        assert not idle, f"theorem/{stem}.py has a {', '.join(idle)} that no RESULT is made of"


def test_every_file_holds_a_result_or_is_used():
    room = Path(theorem.__file__).parent
    sources = "\n".join(path.read_text(encoding="utf-8") for path in room.parent.rglob("*.py"))
    silent = [stem for stem, file in files().items() if not hasattr(file, "RESULT")]
    unused = [stem for stem in silent if not re.search(rf"theorem\.{stem}\b|theorem import .*\b{stem}\b", sources)]
    assert not unused, f"theorem/{', '.join(unused)}: no RESULT, and nothing imports it"


def test_a_new_file_is_found_and_chosen_without_any_list(tmp_path, monkeypatch):
    (tmp_path / "z10.py").write_text(
        dedent(
            """
            from dataclasses import dataclass

            from stablestep.theorem.result import Hypothesis
            from stablestep.theorem.unbiased import Unbiased

            @dataclass(frozen=True, kw_only=True)
            class Echoed(Unbiased):
                def memory(self, c):
                    return Hypothesis("an echo", c.memory == "Echo", f"{self.name} is about an echo, but memory is {c.memory}.")

            RESULT = Echoed(name="Z.10", aliases=(), reference="Z Thm Z.10", method="DCSGD", sde="new")
            """
        )
    )
    monkeypatch.setattr(theorem, "__path__", [*theorem.__path__, str(tmp_path)])
    results.cache_clear()
    try:
        assert "Z.10" in [one.name for one in results()] and result("Z.10").sde == "new"
        echoed = Constants(L0=1, L1=1, dim=2, omega=1.0, memory="Echo")
        assert covering(echoed).name == "Z.10" and step_limit("Z.10", echoed, 1.0, 0.5) > 0
        assert covering(Constants(L0=1, L1=1, dim=2, omega=1.0)).name == "4.2"
    finally:
        monkeypatch.undo()
        results.cache_clear()


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
        (4.2, r'no result 4\.2, .*; write "4\.2"'),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(InvalidInput, match=message):
        result(name)
