import errno
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stablestep import plot
from stablestep.claim import Check, Claim
from stablestep.errors import InvalidInput
from stablestep.files import NotWritten
from stablestep.report import Figure, Section, Table, measurement, number, write

PROVENANCE = {"seed": 7, "quick": False, "command": "stablestep reproduce --seed 7", "versions": {"jax": "1.2.3"}}
HOLDS = Check(1.0, 0.01, 1.0, "=", label="a check of it")
FAILS = Check(float("inf"), float("nan"), 1.0, "<=")


def claim(id, *printed, corrected=(), text="it converges", error="misprint"):
    return Claim(id, "P 4", text, printed or (HOLDS,), corrected, error=error, detail="the detail")


def figure(name="picture", caption="What one sees."):
    drawing, ax = plot.panels()
    ax.plot([1, 2])
    return Figure(name, drawing, caption)


def section(id="one", claims=(), **fields):
    return Section(id, fields.pop("title", f"Section {id}"), ["A paragraph."], claims=list(claims), **fields)


def rows(out):
    def refuse(name):
        raise AssertionError(f"{name} is not strict JSON")

    return json.loads((out / "claims.json").read_text(encoding="utf-8"), parse_constant=refuse)


class Tags(HTMLParser):
    """Every tag with its attributes, and whether all were closed in order."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_files(tmp_path):
    data = xr.Dataset({"loss": ("time", [1.0, 2.0])}, attrs={"seed": 7, "quick": True, "radius": None})
    made = section(figures=[figure()], claims=[claim("a.b")], data={"raw": data}, parameters={"eta": 0.1})
    path = write([made], tmp_path / "deep" / "out", PROVENANCE, [])
    out = path.parent
    assert path == tmp_path / "deep" / "out" / "report.html"
    assert (out / "figures" / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "figures" / "picture.svg").read_text()
    with xr.open_dataset(out / "data" / "raw.nc", engine="h5netcdf") as back:
        assert np.array_equal(back["loss"], [1.0, 2.0]) and back.attrs["quick"] == "True"
    files = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert files == {"report.html", "claims.json", "figures/picture.png", "figures/picture.svg", "data/raw.nc"}


def test_the_json_is_strict_and_complete(tmp_path):
    write([section(claims=[claim("a.b", FAILS, corrected=(HOLDS,))])], tmp_path, PROVENANCE, [])
    (row,) = rows(tmp_path)
    assert {"id", "claim", "verdict", "measured", "stderr", "predicted", "detail"} <= row.keys()
    assert (row["verdict"], row["measured"], row["stderr"]) == ("misprint", "inf", None)
    assert (row["section"], row["seed"], row["quick"]) == ("one", 7, False)


def test_the_page_is_well_formed_and_needs_no_other_file(tmp_path):
    made = section(figures=[figure()], claims=[claim("a.b", FAILS, corrected=(HOLDS,)), claim("c")])
    text = write([made], tmp_path, PROVENANCE, []).read_text(encoding="utf-8")
    tags = Tags(text).tags
    loaded = [attributes["src"] for tag, attributes in tags if "src" in attributes]
    assert len(loaded) == 1 and loaded[0].startswith("data:image/png;base64,")
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    assert not re.search(r"https?://|url\(|@import", text)


def test_links_within_the_page_have_targets(tmp_path):
    write([section("old", [claim("z")])], tmp_path, PROVENANCE, [])
    text = write([section(claims=[claim("a.b")], figures=[figure()])], tmp_path, PROVENANCE, []).read_text()
    tags = Tags(text).tags
    links = [attributes["href"] for _, attributes in tags if "href" in attributes]
    targets = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(targets) == len(set(targets))
    assert {link[1:] for link in links if link.startswith("#")} <= set(targets)
    assert all((tmp_path / link).is_file() for link in links if not link.startswith("#"))


def test_everything_a_section_says_is_on_the_page(tmp_path):
    made = section(figures=[figure()], claims=[claim("a.b", FAILS, corrected=(HOLDS,))], parameters={"eta": 0.125})
    text = write([made], tmp_path, PROVENANCE, []).read_text(encoding="utf-8")
    said = ["Section one", "A paragraph.", "What one sees.", "it converges", "the detail", "a check of it"]
    said += ["As corrected", "holds once a misprint is corrected"]
    said += ["0.125", "1.000 ± 0.010", "≤ 1", "∞", "stablestep reproduce --seed 7", "1.2.3", "misprint", "P 4"]
    assert [words for words in said if words not in text] == []
    assert "not complete" not in text and "From earlier runs" not in text


def test_text_is_escaped(tmp_path):
    evil = "<script>alert('x')</script>"
    made = section(
        title=evil,
        claims=[claim("a.b", Check(1, 0, 1, "=", label=evil), text=evil)],
        figures=[figure(caption=f'"{evil}')],
        parameters={evil: evil},
    )
    text = write([made], tmp_path, PROVENANCE | {"command": evil}, [evil]).read_text(encoding="utf-8")
    assert "<script" not in text and text.count("&lt;script&gt;") >= 8
    Tags(text)


def cells(text):
    """The rows of the page's tables of data, as (class, text) of each cell."""
    (table,) = re.findall(r'<table class="data">(.*?)</table>', text, re.S)
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
    return [re.findall(r"<t[hd](?: class=\"(\w+)\")?>(.*?)</t[hd]>", row, re.S) for row in rows]


def test_a_table_is_on_the_page(tmp_path):
    """Numbers as everywhere on the page and in their own class; texts as they are."""
    made = Table(
        ["method", "step", "cost"], [["theorem", 0.12345678, 1], ["–", float("inf"), 10_000]], "What one reads."
    )
    text = write([section(tables=[made])], tmp_path, PROVENANCE, []).read_text(encoding="utf-8")
    head, first, second = cells(text)
    assert head == [("", "method"), ("", "step"), ("", "cost")]
    assert first == [("", "theorem"), ("n", "0.12346"), ("n", "1")]
    assert second == [("", "–"), ("n", "∞"), ("n", "10\u202f000")]
    assert "<figcaption>What one reads.</figcaption>" in text
    Tags(text)
    assert "figure-" not in text and not (tmp_path / "figures" / "picture.png").exists()


def test_tables_are_escaped(tmp_path):
    evil = "<script>alert('x')</script>"
    made = Table([evil], [[f'"{evil}'], [f"& {evil}"]], evil)
    text = write([section(tables=[made])], tmp_path, PROVENANCE, []).read_text(encoding="utf-8")
    assert "<script" not in text and text.count("&lt;script&gt;") == 4 and "&amp; &lt;script" in text
    Tags(text)


def test_a_section_without_tables_has_none(tmp_path):
    assert '<table class="data">' not in write([section(figures=[figure()])], tmp_path, PROVENANCE, []).read_text()


def test_what_is_unfinished_is_announced(tmp_path):
    text = write([section()], tmp_path, PROVENANCE, ["Schedules", "Messages"]).read_text()
    assert "not complete" in text and "Schedules, Messages" in text


def test_a_quick_run_says_so(tmp_path):
    assert "Quick run" in write([], tmp_path, PROVENANCE | {"quick": True}, []).read_text()


def test_claims_of_other_sections_are_kept(tmp_path):
    old = claim("b", text="an old claim")
    write([section("one", [claim("a"), claim("a.gone")]), section("two", [old])], tmp_path, PROVENANCE, [])
    text = write(
        [section("one", [claim("a", FAILS, error="false")])], tmp_path, PROVENANCE | {"seed": 8}, []
    ).read_text()
    assert [(row["id"], row["verdict"], row["seed"]) for row in rows(tmp_path)] == [
        ("a", "false", 8),
        ("b", "holds", 7),
    ]
    assert "This report shows Section one" in text and "an old claim" in text


def test_a_claim_that_moved_to_another_section_is_not_listed_twice(tmp_path):
    write([section("one", [claim("a")])], tmp_path, PROVENANCE, [])
    write([section("two", [claim("a")])], tmp_path, PROVENANCE, [])
    assert [(row["id"], row["section"]) for row in rows(tmp_path)] == [("a", "two")]


def test_rows_of_another_origin_are_kept_and_shown(tmp_path):
    row = {"id": "x", "claim": "c", "verdict": "holds", "measured": 1, "stderr": 0, "predicted": 1, "detail": ""}
    (tmp_path / "claims.json").write_text(json.dumps([row]))
    assert "<code>x</code>" in write([section()], tmp_path, PROVENANCE, []).read_text()
    assert rows(tmp_path) == [row]


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '[{"id": "x"}]', "\x00"])
def test_a_strange_claims_file_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "claims.json").write_text(content)
    with pytest.raises(InvalidInput, match="not a list of claims"):
        write([section()], tmp_path, PROVENANCE, [])
    assert (tmp_path / "claims.json").read_text() == content


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInput, match=r"cannot write to the folder .*--out"):
            write([section()], out, PROVENANCE, [])


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    write([section(figures=[figure()], claims=[claim("a")])], tmp_path, PROVENANCE, [])
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.Dataset, "to_netcdf", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write([section("two", [claim("b")], data={"raw": xr.Dataset()})], tmp_path, PROVENANCE, [])
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_full_disk_leaves_the_old_report(tmp_path, monkeypatch):
    write([section(figures=[figure()], claims=[claim("a")])], tmp_path, PROVENANCE, [])
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    whole = Path.write_bytes

    def half(path, content):
        whole(path, content[: len(content) // 2])
        if content and "report" in path.name:  # the last one
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(NotWritten, match=r"cannot write to the folder .*No space left .*--out"):
        write([section("two", figures=[figure("other")], claims=[claim("b")])], tmp_path, PROVENANCE, [])
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_command_that_no_encoding_can_write_is_in_the_report_all_the_same(tmp_path):
    """A folder's name may hold bytes that are no text."""
    text = write([section()], tmp_path, PROVENANCE | {"command": "--out a\udcff"}, []).read_text(encoding="utf-8")
    assert "--out a?" in text


def test_a_mark_before_the_claims_is_not_read(tmp_path):
    write([section("one", [claim("a")])], tmp_path, PROVENANCE, [])
    path = tmp_path / "claims.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    write([section("two", [claim("b")])], tmp_path, PROVENANCE, [])
    assert [row["id"] for row in rows(tmp_path)] == ["b", "a"]


def test_names_that_clash_or_cannot_be_files(tmp_path):
    with pytest.raises(InvalidInput, match="picture"):
        write([section("one", figures=[figure()]), section("two", figures=[figure()])], tmp_path, PROVENANCE, [])
    for make in (lambda: figure("../up"), lambda: section("a b"), lambda: section(data={"": xr.Dataset()})):
        with pytest.raises(InvalidInput, match="cannot name a file"):
            make()


def test_a_picture_is_rendered_once(monkeypatch):
    one = figure()
    assert one.svg.replace(b"\r", b"") == figure().svg.replace(b"\r", b"")
    monkeypatch.setattr(one.figure, "draw", lambda *_, **__: pytest.fail("rendered again"))
    assert one.svg and one.png


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (0.5, 0.25, "0.50 ± 0.25"),
        (-12345.678, 12.0, "-12346 ± 12"),
        (12345.678, 120.0, "12350 ± 120"),
        (1.5e6, 2e4, "(1.500 ± 0.020)×10⁶"),
        (0.0, 0.003, "0.0000 ± 0.0030"),
        (1.0, 1e-12, "1 ± 1×10⁻¹²"),
        (0.0, 1e-12, "(0.0 ± 1.0)×10⁻¹²"),
        (float("nan"), 1.0, "–"),
        (float("inf"), 1.0, "∞"),
        (float("-inf"), float("nan"), "-∞"),
        (1.0, float("inf"), "1 ± ∞"),
        (None, None, "–"),
        ("inf", None, "∞"),
    ],
)
def test_measurement(value, stderr, text):
    assert measurement(value, stderr) == text


def test_number():
    values = [True, 3, "words", 1e-7, -2.5, float("nan"), float("-inf"), np.float32(0.5), 1e10]
    assert [number(value) for value in values] == ["yes", "3", "words", "1×10⁻⁷", "-2.5", "–", "-∞", "0.5", "1×10¹⁰"]


def test_claims_stand_beside_the_pictures_of_their_section(tmp_path):
    """At the top one line a claim; its numbers below, after the section's picture and before its tables."""
    made = section(figures=[figure()], claims=[claim("a.b")], tables=[Table(["n"], [[1.5]], "A table.")])
    text = write([made], tmp_path, PROVENANCE, []).read_text(encoding="utf-8")
    places = [
        text.index(part)
        for part in ('href="#claim-a.b"', '<h2 id="one"', "figure-picture", 'id="claim-a.b"', "A table.")
    ]
    assert places == sorted(places)
    assert text.count('id="claim-a.b"') == 1
