"""The guide names what exists, and all of its code is run."""

import re
import tomllib
from pathlib import Path

import stablestep as ss
from tests.extend.guide import BLOCKS, GUIDE, ROOT

RECIPES = GUIDE.split("\n## ")[1:]


def test_there_are_six_recipes_and_each_says_what_is_forgotten():
    assert [text[:2] for text in RECIPES] == [f"{number}." for number in range(1, 7)]
    assert all("**Forgotten?**" in text for text in RECIPES)


def test_the_guide_names_files_and_tests_that_exist():
    new = set(BLOCKS) | {"tests/theorem/test_gl21.py", "tests/cli/test_traffic.py"}
    files = set(re.findall(r"`((?:src|tests|examples)/[\w/.]+)`", GUIDE))
    assert [path for path in files - new if not (ROOT / path).exists()] == []
    sources = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    named = re.findall(r"`(test_\w+)::(test_\w+)", GUIDE)
    assert len(named) > 12
    assert [(file, test) for file, test in named if f"def {test}" not in sources[file]] == []


def test_every_block_of_the_guide_has_a_file_and_is_run():
    assert len(BLOCKS) == GUIDE.count("```python")
    here = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.py"))
    assert [path for path in BLOCKS if f'"{path}"' not in here] == []


def test_the_rooms_in_contributing_stand_in_the_order_that_the_linter_enforces():
    contract, *_ = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    table = re.findall(r"^\| ([a-z_, ]+) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.M)
    assert table[0] == "room"
    assert ", ".join(table[1:]).split(", ") == contract["layers"][::-1]


def test_the_package_says_that_it_is_typed():
    assert (Path(ss.__file__).parent / "py.typed").exists()
