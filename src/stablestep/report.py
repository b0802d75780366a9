"""Sections of figures and claims, written as one page to read and as files to work with."""

import io
import json
import re
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Drawing

from stablestep.claim import Claim, measurement, number
from stablestep.errors import require
from stablestep.files import make_folders, require_files, writable, write_files

VERDICTS = ("holds", "misprint", "false", "undecided")


@dataclass
class Figure:
    """A picture: `name` is the stem of its files, `caption` says what to see in it.

    Raises `InvalidInput` for a name that cannot be a file's.
    """

    name: str
    figure: Drawing
    caption: str

    def __post_init__(self):
        _require_stem(self.name)

    # Rendered once, however often the report is rewritten while its sections arrive.
    @cached_property
    def png(self) -> bytes:
        """The picture as PNG."""
        buffer = io.BytesIO()
        self.figure.set_dpi(170)
        # Not by `savefig`, which draws everything twice.
        FigureCanvasAgg(self.figure).print_png(buffer)
        self.figure.set_layout_engine("none")  # it is laid out now, and would be again for every format
        return buffer.getvalue()

    @cached_property
    def svg(self) -> bytes:
        """The picture as SVG in the layout of the PNG, the same bytes for the same picture."""
        assert self.png
        buffer = io.BytesIO()
        with matplotlib.rc_context({"svg.hashsalt": self.name}):
            FigureCanvasSVG(self.figure).print_svg(buffer, metadata={"Date": None})
        return buffer.getvalue()

    @property
    def embedded(self) -> str:
        """The picture as an address that carries its own data."""
        return "data:image/png;base64," + b64encode(self.png).decode()


@dataclass
class Table:
    """A table: the heads of its columns, its rows (texts and numbers), and what to see in it."""

    columns: list[str]
    rows: list[list[str | float]]
    caption: str


@dataclass
class Section:
    """One experiment: what was done, its pictures and tables, the claims it decides, its parameters and its raw results.

    Raises `InvalidInput` for an id or a name of data that cannot be a file's.
    """

    id: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    parameters: dict[str, str | float] = field(default_factory=dict)
    data: dict[str, xr.Dataset] = field(default_factory=dict)

    def __post_init__(self):
        for name in (self.id, *self.data):
            _require_stem(name)

    # Made once, as a picture is.
    @cached_property
    def files(self) -> dict[str, bytes]:
        """The pictures and the data by the paths of their files."""
        files = {f"figures/{figure.name}.png": figure.png for figure in self.figures}
        files |= {f"figures/{figure.name}.svg": figure.svg for figure in self.figures}
        return files | {f"data/{name}.nc": netcdf(data) for name, data in self.data.items()}

    def rows(self, provenance: dict[str, Any]) -> list[dict[str, Any]]:
        """The claims as objects of claims.json, which say the section and the kind of run they come from."""
        source = {"section": self.id, "seed": provenance.get("seed"), "quick": provenance.get("quick")}
        return [claim.to_json() | source for claim in self.claims]


def write(sections: list[Section], out: Path | str, provenance: dict[str, Any], unfinished: list[str]) -> Path:
    """Write report.html, claims.json, figures/NAME.png and .svg, and data/NAME.nc; return the path of report.html.

    provenance: seed, quick, command, "versions" (a dict) and whatever else describes the run; unfinished: titles of
    what was asked for but is not there. All files are written before the first one takes its place, so an interruption or a
    full disk leaves whole ones. Claims that other sections left in the folder's claims.json stay there, and the page lists
    them apart. Raises `InvalidInput` where the folder cannot be written, or when two pictures or data sets share a name, and
    `NotWritten` where the disk is full.
    """
    out = Path(out)
    _require_unique("figure", [figure.name for section in sections for figure in section.figures])
    _require_unique("data set", [name for section in sections for name in section.data])
    _require_unique("claim", [claim.id for section in sections for claim in section.claims])
    kept = _kept(prepare(out), sections)
    rows = {section.id: section.rows(provenance) for section in sections}
    claims = [row for group in rows.values() for row in group] + kept
    files = {name: content for section in sections for name, content in section.files.items()}
    files["claims.json"] = (json.dumps(claims, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    files["report.html"] = page(sections, rows, kept, provenance, unfinished).encode(errors="replace")
    with writable(out):
        write_files({out / name: content for name, content in files.items()})
    return out / "report.html"


def prepare(out: Path | str) -> list[dict[str, Any]]:
    """Make the folder and return the claims that are in it already.

    Raises `InvalidInput` where it cannot be written, or holds a claims.json that is not a list of claims.
    """
    path = Path(out) / "claims.json"
    with writable(Path(out)):
        make_folders(path.parent, path.parent / "figures", path.parent / "data")
        text = path.read_text(encoding="utf-8-sig", errors="replace") if path.exists() else "[]"
    require_files(path.parent / "report.html")
    try:
        rows = json.loads(text)
    except ValueError:
        rows = None
    sound = isinstance(rows, list) and all(isinstance(row, dict) and "id" in row and "verdict" in row for row in rows)
    require(sound, f'"{path}" is not a list of claims; move it away, or choose another folder with --out.')
    return rows or []


def page(
    sections: list[Section],
    rows: dict[str, list[dict[str, Any]]],
    kept: list[dict[str, Any]],
    provenance: dict[str, Any],
    unfinished: list[str],
) -> str:
    """The text of report.html: one page that needs no other file."""
    counts = Counter(row["verdict"] for group in rows.values() for row in group)
    environment = Environment(
        loader=PackageLoader("stablestep"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "measurement": measurement}
    return environment.get_template("report.html.jinja").render(
        sections=sections,
        rows=rows,
        kept=kept,
        provenance=provenance,
        unfinished=unfinished,
        summary=summary(counts),
        counts={verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]},
    )


def summary(counts: dict[str, int]) -> str:
    """How many claims hold, and how many do not, in one sentence.

    >>> summary({"holds": 3, "false": 1})
    '4 claims were checked by running something: 3 hold as stated and 1 is false as stated.'
    """
    words = {
        "holds": ("holds as stated", "hold as stated"),
        "misprint": ("holds once a misprint is corrected", "hold once a misprint is corrected"),
        "false": ("is false as stated", "are false as stated"),
        "undecided": ("is undecided", "are undecided"),
    }
    parts = [f"{counts[key]} {words[key][counts[key] > 1]}" for key in VERDICTS if counts.get(key)]
    total = sum(counts.values())
    if not parts:
        return "No claim has been checked yet."
    start = "1 claim was" if total == 1 else f"{total} claims were"
    ending = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
    return f"{start} checked by running something: {ending}."


def netcdf(data: xr.Dataset) -> bytes:
    """The bytes of a NetCDF file, made in memory: HDF5 itself crashes where a disk is full."""
    plain = data.assign_attrs({key: _plain(value) for key, value in data.attrs.items()})
    return bytes(plain.to_netcdf(engine="h5netcdf"))


def _plain(value: Any) -> Any:
    """An attribute that NetCDF can hold."""
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else str(value)


def _kept(rows: list[dict[str, Any]], sections: list[Section]) -> list[dict[str, Any]]:
    """The claims of an earlier run that none of these sections decides anew."""
    shown = {section.id for section in sections}
    decided = {claim.id for section in sections for claim in section.claims}
    return [row for row in rows if row["id"] not in decided and row.get("section") not in shown]


def _require_stem(name: str) -> None:
    sound = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None
    require(sound, f'"{name}" cannot name a file; use letters, digits, ".", "_" and "-".')


def _require_unique(kind: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    require(not twice, f'two {kind}s are named "{twice[0] if twice else ""}"; give each its own name.')
