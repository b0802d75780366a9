"""The documents: their Python runs, their links lead somewhere, their commands exist, and the API's pages name all that is public.

A block of Python after a line `<!-- not run: why -->` is only compiled. `make docs` runs the tutorials, and stops where a cell fails.
"""

import ast
import re
import shlex
import tempfile
import unicodedata
from pathlib import Path
from types import ModuleType

import jax
import pytest
import torch
import torch.distributed as dist
import typer

import stablestep as ss
import stablestep.compressor as C
import stablestep.torch as sst
from stablestep.cli import app
from tests.extend.guide import BLOCKS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
ALL = [*PAGES, *TUTORIALS, *sorted((DOCS / "api").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
ALL += [ROOT / "benchmarks" / "README.md"]

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", flags=re.M | re.S)
PYTHON = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```python\n(.*?)^```", flags=re.M | re.S)
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```", flags=re.M | re.S)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")


def read(path):
    return path.read_text(encoding="utf-8")


def name(path):
    return str(path.relative_to(ROOT))


def blocks(path):
    """What is run, and what is only compiled."""
    found = PYTHON.findall(read(path))
    return [code for mark, code in found if not mark], [code for mark, code in found if mark]


@pytest.fixture
def given(tmp_path, monkeypatch):
    """The names that pages on training take for granted: a small model, in a group of one worker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    with torch.random.fork_rng(), jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        torch.manual_seed(0)
        store = dist.FileStore(tempfile.mktemp(dir=tmp_path), 1)
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        try:
            yield training()
        finally:
            dist.destroy_process_group()


def training():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 1))
    ddp = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
    inputs = torch.randn(64, 16, 4)
    data = [(x, x.sum(1, keepdim=True)) for x in inputs]

    def loss_fn(first, second):
        """loss_fn(output, target), and loss_fn(model, batch) of the probe."""
        output, target = (first(second[0]), second[1]) if callable(first) else (first, second)
        return (output - target).square().mean()

    x, y = data[0]
    inner = torch.optim.SGD(ddp.parameters(), lr=0.1)
    modules = dict(C=C, sst=sst, torch=torch)
    return modules | dict(
        model=model, ddp=ddp, loss_fn=loss_fn, inner=inner, lr=1e-3, data=data, batches=data, x=x, y=y
    )


@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path)[0] and path.name != "extend.md"], ids=name)
def test_its_python_runs(path, given):
    """All blocks of a page, one after the other, as a reader would type them."""
    namespace = given | {"__name__": "page"}
    for number, code in enumerate(blocks(path)[0], start=1):
        exec(compile(code, f"{path.name}, block {number}", "exec"), namespace)


def test_every_recipe_is_run():
    """The blocks of the guide are in the hands of tests/extend, which finds them by the file that they name."""
    run, marked = blocks(DOCS / "extend.md")
    assert len(run) == len(BLOCKS) > 0 and not marked


@pytest.mark.parametrize("path", ALL, ids=name)
def test_what_is_not_run_here_is_python(path):
    for code in [*blocks(path)[1], *CELL.findall(read(path))]:
        ast.parse(code)


def test_every_tutorial_has_cells():
    assert TUTORIALS and all(CELL.search(read(path)) for path in TUTORIALS)


def slugs(path):
    """The anchors of a page's headings, as code hosts and MyST make them."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", read(path)), flags=re.M)
    return {re.sub(r"\s", "-", "".join(letter for letter in plain(head) if keeps(letter))) for head in heads}


def plain(head):
    return re.sub(r"\[(.*?)\]\(.*?\)", r"\1", head).strip().lower()


def keeps(letter):
    return letter in "- _" or unicodedata.category(letter)[0] in "LN"


def broken(path):
    """The links of a page that lead nowhere."""
    for target, anchor in LINK.findall(FENCE.sub("", read(path))):
        there = (path.parent / target).resolve() if target else path
        if not there.exists() or (anchor and anchor not in slugs(there)):
            yield f"{target}#{anchor}" if anchor else target


@pytest.mark.parametrize("path", ALL, ids=name)
def test_links_lead_somewhere(path):
    assert not list(broken(path))


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One & two\n[a](#one--two) [b](page.md#three) [c](none.md) [d](https://e.org/none)\n```\n[e](f)\n```\n[g](h)\n```\n```\n"
    )
    assert list(broken(page)) == ["page.md#three", "none.md", "h"]


def commands(path):
    """What a page tells to type at the prompt: lines of blocks without a language, and of indented ones."""
    shown = [text for language, text in FENCE.findall(read(path)) if not language]
    lines = "\n".join(shown).splitlines() + re.findall(r"^    (.+)$", FENCE.sub("", read(path)), flags=re.M)
    for line in lines:
        for part in line.split("#")[0].split("&&"):
            if part.split()[:1] in (["make"], ["stablestep"]):
                yield part.replace("[", " ").replace("]", " ").strip()


def test_commands_exist():
    targets = re.findall(r"^([a-z]+):", read(ROOT / "Makefile"), flags=re.M)
    known = typer.main.get_command(app).commands
    found = [(path, shlex.split(line)) for path in ALL for line in commands(path)]
    assert len(found) > 10
    for path, (program, what, *words) in found:
        if program == "make":
            assert what in targets, f"{name(path)}: make {what}"
        else:
            options = {option for one in known[what].params for option in (*one.opts, *one.secondary_opts)}
            unknown = {word for word in words if word.startswith("--")} - options
            assert not unknown, f"{name(path)}: stablestep {what} {unknown}"


def documented():
    """The modules that the API's pages show, and the names that they show one by one."""
    text = "\n".join(read(path) for path in (DOCS / "api").glob("*.md"))
    return set(re.findall(r"automodule:: (\S+)", text)), set(
        re.findall(r"auto(?:class|function|exception):: (\S+)", text)
    )


def test_the_api_names_all_that_is_public():
    modules, names = documented()
    for public in ss.__all__:
        thing, path = getattr(ss, public), f"stablestep.{public}"
        assert path in (modules if isinstance(thing, ModuleType) else names), f"docs/api has no {path}"
    assert "stablestep.torch" in modules


def test_every_page_can_be_reached():
    """From the index, through the lists that the sidebar is made of."""
    listed = set()
    for index in (DOCS / "index.md", DOCS / "api" / "index.md"):
        for text in re.findall(r"^```\{toctree\}\n(.*?)^```", read(index), flags=re.M | re.S):
            entries = [re.sub(r".*<(.*)>", r"\1", line) for line in text.splitlines() if line and line[0] != ":"]
            listed |= {str((index.parent / entry).relative_to(DOCS)) for entry in entries}
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in ALL if path.is_relative_to(DOCS)}
    assert pages - {"index"} == {entry for entry in listed if not entry.startswith("generated/")}
