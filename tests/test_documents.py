"""README.md and docs/: every name of the library in them exists, calls fit their signatures, and the README's claims hold."""

import ast
import inspect
import re
from operator import attrgetter
from pathlib import Path

import pytest

import stablestep as ss
import stablestep.compressor
import stablestep.torch as sst

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
ROOMS = {"ss": ss, "sst": sst, "C": stablestep.compressor}


def text(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", text(page), flags=re.M | re.S)


def unknown(words):
    """The dotted names in a text that do not exist."""

    def exists(room, path):
        try:
            return attrgetter(path)(ROOMS[room]) is not None
        except AttributeError:
            return False

    found = re.findall(r"(?<![\w./])(ss|sst|C)\.([A-Za-z_][\w.]*\w)", words)
    return [f"{room}.{path}" for room, path in found if not exists(room, path)]


def misfits(code):
    """The calls of the library in a block that its signatures refuse."""
    bad = []
    for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
        room, _, path = ast.unparse(call.func).partition(".")
        if room in ROOMS and re.fullmatch(r"[\w.]+", path):
            given = {word.arg: None for word in call.keywords if word.arg is not None}
            try:
                inspect.signature(attrgetter(path)(ROOMS[room])).bind(*call.args, **given)
            except TypeError as error:
                bad.append(f"{ast.unparse(call)}: {error}")
    return bad


@pytest.mark.parametrize("page", PAGES)
def test_every_name_exists(page):
    assert not unknown(text(page))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_compiles_and_its_calls_fit(page):
    assert not [bad for code in blocks(page) for bad in misfits(code)]


def test_what_would_be_found():
    assert unknown("`ss.simulat` and sst.rule.Governor() and C.Topk(k=1), not docs/ss.png") == ["ss.simulat", "C.Topk"]
    assert len(misfits("ss.simulate(setup, step=3)\nsst.LocalSteps(model, optimizer, every=16)\nC.TopK(1, 2, 3)")) == 2


def test_the_ten_lines_are_those_of_the_example():
    """Which runs by itself in tests/cli."""
    example = ast.parse((ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8"))
    assert ast.unparse(ast.parse(blocks("README.md")[0])) == ast.unparse(ast.Module(example.body[1:], []))


def test_with_the_theorems_step_nothing_diverges():
    """The second block, as printed, on the setup of the first; the third value of ω is what diverges with a constant step."""
    first, second = blocks("README.md")[:2]
    space: dict = {}
    exec(compile(ast.Module(ast.parse(first).body[:2], []), "README.md", "exec"), space)
    *lines, last = ast.parse(second).body
    exec(compile(ast.Module(lines, []), "README.md", "exec"), space)
    assert (
        isinstance(last, ast.Expr) and float(eval(compile(ast.Expression(last.value), "README.md", "eval"), space)) == 0
    )
    constant = ss.simulate(
        space["setup"], schedule=ss.schedule.Constant(0.1), x0=0.5, steps=60, runs=50, grid={"omega": [128]}
    )
    assert float(constant.diverged[0, -1]) == 1
