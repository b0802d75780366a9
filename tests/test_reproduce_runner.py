import io
import json
import os
import pkgutil
import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

from stablestep.claim import Check, Claim
from stablestep.errors import InvalidInput
from stablestep.report import Section
from stablestep.reproduce import SECTIONS, Context, Entry, Interrupted, reproduce, sections, workers
from stablestep.reproduce.registry import select


def claim(id):
    return Claim(id, "P 1", "text", (Check(1.0, 0.01, 1.0, "="),))


class Book:
    """A registry of three sections, and what was asked of them."""

    def __init__(self, monkeypatch):
        self.contexts, self.failures = [], {}
        ids = {"first": ("fig1.a", "fig1.b"), "second": ("message.mean",), "third": ("schedule.x",)}
        self.entries = tuple(Entry(name, f"The {name}", f"book_{name}", claims) for name, claims in ids.items())
        for entry in self.entries:
            module = ModuleType(entry.module)
            module.run = lambda context, entry=entry: self.run(entry, context)  # pyright: ignore
            monkeypatch.setitem(sys.modules, entry.module, module)

    def run(self, entry, context):
        self.contexts.append((entry.name, context.quick, context.seed))
        context.progress("half [way]")
        context.progress(0.5)
        if entry.name in self.failures:
            raise self.failures[entry.name]
        return Section(entry.name, entry.title, claims=[claim(id) for id in entry.claims])

    @property
    def names(self):
        return [name for name, *_ in self.contexts]


@pytest.fixture
def book(monkeypatch):
    return Book(monkeypatch)


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=120)


def ids(out):
    return [row["id"] for row in json.loads((out / "claims.json").read_text())]


def test_all_sections_run_in_order(tmp_path, book, console):
    path = reproduce(tmp_path, quick=True, seed=5, console=console, sections=book.entries, jobs=1)
    assert book.contexts == [("first", True, 5), ("second", True, 5), ("third", True, 5)]
    assert ids(tmp_path) == ["fig1.a", "fig1.b", "message.mean", "schedule.x"]
    assert path == tmp_path / "report.html" and "not complete" not in path.read_text()
    said = console.file.getvalue()
    assert said.rstrip().splitlines()[-1] == f"The report is at {path}"
    assert "second finished in" in said and "message.mean" in said and "1.000 ± 0.010" in said


def test_on_a_terminal_it_shows_bars(tmp_path, book):
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    reproduce(tmp_path, console=console, sections=book.entries, jobs=1)
    assert "all sections" in console.file.getvalue() and "The report is at" in console.file.getvalue()


def test_the_command_repeats_the_run(tmp_path, book, console):
    out = tmp_path / "a folder"
    text = reproduce(out, True, ["fig1", "third"], 3, console, book.entries, jobs=1).read_text()
    assert f"stablestep reproduce --quick --only fig1 --only third --out &#39;{out}&#39; --seed 3" in text


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ((), ["first", "second", "third"]),
        (["third", "first"], ["first", "third"]),
        (["fig1"], ["first"]),
        (["fig1.b"], ["first"]),
        (["message.m"], ["second"]),
    ],
)
def test_select(book, only, names):
    assert [entry.name for entry in select(only, book.entries)] == names


@pytest.mark.parametrize("id", ["secnd", "", "fig2", "message.mean.x"])
def test_an_unknown_id_is_refused_before_anything_runs(tmp_path, book, console, id):
    with pytest.raises(InvalidInput, match=f'"{id}" names no section'):
        reproduce(tmp_path / "out", only=[id], console=console, sections=book.entries, jobs=1)
    assert book.names == [] and not (tmp_path / "out").exists()


def test_an_unknown_id_names_the_nearest(book):
    with pytest.raises(InvalidInput, match='"second"'):
        select(["secnd"], book.entries)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(tmp_path, book, console):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot write"):
        reproduce(tmp_path / "file", console=console, sections=book.entries, jobs=1)
    assert book.names == []


def test_an_interrupted_run_keeps_what_is_finished(tmp_path, book, console):
    book.failures["second"] = KeyboardInterrupt()
    with pytest.raises(Interrupted, match=r"first kept in .*report.html; not finished: second, third"):
        reproduce(tmp_path, console=console, sections=book.entries, jobs=1)
    text = (tmp_path / "report.html").read_text()
    assert "not complete" in text and "The second, The third" in text
    assert ids(tmp_path) == ["fig1.a", "fig1.b"]


def test_an_interrupted_first_section_changes_nothing(tmp_path, book, console):
    reproduce(tmp_path, console=console, sections=book.entries, jobs=1)
    before = (tmp_path / "report.html").read_text()
    book.failures["first"] = KeyboardInterrupt()
    with pytest.raises(Interrupted, match="nothing in"):
        reproduce(tmp_path, console=console, sections=book.entries, jobs=1, resume=False)
    assert (tmp_path / "report.html").read_text() == before


def test_an_error_in_a_section_keeps_what_is_finished_and_is_raised(tmp_path, book, console):
    book.failures["third"] = ZeroDivisionError("third")
    with pytest.raises(ZeroDivisionError, match="third"):
        reproduce(tmp_path, console=console, sections=book.entries, jobs=1)
    assert ids(tmp_path) == ["fig1.a", "fig1.b", "message.mean"]
    assert "Not finished: The third" in (tmp_path / "report.html").read_text()


def test_only_keeps_the_claims_of_the_others(tmp_path, book, console):
    reproduce(tmp_path, console=console, sections=book.entries, jobs=1)
    text = reproduce(tmp_path, only=["second"], seed=1, console=console, sections=book.entries, jobs=1).read_text()
    assert sorted(ids(tmp_path)) == ["fig1.a", "fig1.b", "message.mean", "schedule.x"]
    assert "This report shows The second" in text


def test_sections_run_in_other_processes(tmp_path, console):
    first, second = (Entry(name, name, "tests.section_of_another_process", ()) for name in ("first", "second"))
    text = reproduce(tmp_path, seed=5, console=console, sections=[first, second], jobs=2).read_text()
    assert len(set(re.findall(r"process (\d+), seed 5", text)) | {str(os.getpid())}) == 2
    assert len(list((tmp_path / "figures").glob("made-*.png"))) == 2


def test_an_error_in_another_process_is_raised(tmp_path, console):
    entries = [Entry(name, name, f"tests.{name}", ()) for name in ("section_of_another_process", "missing")]
    with pytest.raises(ModuleNotFoundError, match="missing"):
        reproduce(tmp_path, console=console, sections=entries, jobs=2)


def test_the_registry_names_every_claim_once():
    claims = [claim for entry in SECTIONS for claim in entry.claims]
    assert len(claims) == len(set(claims)) == 60
    assert len({entry.name for entry in SECTIONS}) == len({entry.module for entry in SECTIONS}) == 17


def test_every_section_is_in_the_registry():
    """A file or folder of sections/ that is not in the table would never be run."""
    there = {f"{sections.__name__}.{module.name}" for module in pkgutil.iter_modules(sections.__path__)}
    assert there == {entry.module for entry in SECTIONS}
    assert all(entry.module.endswith("." + entry.name.replace("-", "_")) for entry in SECTIONS)


def test_context_without_a_watcher():
    context = Context()
    context.progress(0.5)
    context.progress("words")
    assert not context.quick and context.seed == 0


def test_a_section_without_pictures_may_come_from_another_process(monkeypatch):
    section = Section("plain", "Plain")
    monkeypatch.setattr(workers, "import_module", lambda name: SimpleNamespace(run=lambda context: section))
    assert workers.work(Entry("plain", "Plain", "anywhere", ()), True, 0)[0] is section


def test_a_run_that_was_stopped_goes_on(tmp_path, book, console):
    out, whole = tmp_path / "report", tmp_path / "whole"
    book.failures["second"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        reproduce(out, console=console, sections=book.entries, jobs=1)
    del book.failures["second"]
    book.contexts.clear()
    reproduce(out, console=console, sections=book.entries, jobs=1)
    assert book.names == ["second", "third"] and f"Kept of an earlier run in {out}: first" in console.file.getvalue()
    reproduce(whole, console=console, sections=book.entries, jobs=1)
    for path in ("claims.json", "sections/first.json", "sections/second.json", "sections/third.json"):
        assert (out / path).read_bytes() == (whole / path).read_bytes()
    assert "not complete" not in (out / "report.html").read_text()


@pytest.mark.parametrize("other", [{"seed": 1}, {"quick": True}, {"resume": False}])
def test_sections_of_another_run_are_not_kept(tmp_path, book, console, other):
    reproduce(tmp_path, console=console, sections=book.entries, jobs=1)
    book.contexts.clear()
    reproduce(tmp_path, console=console, sections=book.entries, jobs=1, **other)
    assert book.names == ["first", "second", "third"] and "Kept" not in console.file.getvalue()


def test_a_kept_section_has_its_pictures_and_data(tmp_path, console):
    entry = Entry("elsewhere", "Elsewhere", "tests.section_of_another_process", ())
    before = reproduce(tmp_path, console=console, sections=[entry], jobs=1).read_text()
    files = {path: path.read_bytes() for folder in ("figures", "data") for path in (tmp_path / folder).iterdir()}
    after = reproduce(tmp_path, console=console, sections=[entry], jobs=1).read_text()
    assert {path: path.read_bytes() for path in files} == files and len(files) == 3
    pictures = re.findall(r"data:image/png;base64,[^\"]*", before)
    assert pictures and pictures == re.findall(r"data:image/png;base64,[^\"]*", after)
    next(tmp_path.glob("figures/*.png")).write_bytes(b"another")
    assert f"process {os.getpid()}" in reproduce(tmp_path, console=console, sections=[entry], jobs=1).read_text()
    assert len(list(tmp_path.glob("figures/*.png"))) == 2, "it was made again"
