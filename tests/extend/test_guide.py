"""The guide names what exists, and all of its code is run."""

import re
from pathlib import Path

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
