"""Finished sections in the folder of a report, so that a run that was stopped goes on where it was."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure as Drawing

import stablestep
from stablestep.claim import Check, Claim
from stablestep.files import make_folders, writable, write_files
from stablestep.report import Figure, Section, Table

FOLDER = "sections"


class Drawn(Figure):
    """A picture that an earlier run drew."""

    def __init__(self, name: str, caption: str, png: bytes, svg: bytes):
        super().__init__(name, Drawing(), caption)
        vars(self).update(png=png, svg=svg)  # in the places of what is drawn once


def identity(versions: Mapping[str, str], seed: int, quick: bool) -> dict[str, Any]:
    """What two runs must share, or their sections are not alike: the source too, as a version may be worked on."""
    return {"versions": dict(versions), "source": _source(), "seed": seed, "quick": quick}


@cache
def _source() -> str:
    """The digest of all files of the package."""
    root = Path(stablestep.__file__).parent
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def keep(out: Path, name: str, section: Section, run: Mapping[str, Any]) -> None:
    """Write down a section whose files are in the folder already.

    Raises:
        InvalidInput, NotWritten: if it cannot be written.
    """
    record = {
        "run": run,
        "id": section.id,
        "title": section.title,
        "paragraphs": section.paragraphs,
        "figures": [[figure.name, figure.caption] for figure in section.figures],
        "tables": [asdict(table) for table in section.tables],
        "claims": [asdict(claim) for claim in section.claims],
        "parameters": section.parameters,
        "data": list(section.data),
        "files": {path: _digest(content) for path, content in section.files.items()},
    }
    content = json.dumps(record, indent=1, ensure_ascii=False, default=lambda number: number.item()).encode(
        errors="replace"
    )
    with writable(out):
        make_folders(out / FOLDER)
        write_files({_path(out, name): content})


def kept(out: Path, names: Iterable[str], run: Mapping[str, Any]) -> dict[str, Section]:
    """The sections of these names that such a run has finished, whole: each file is the one that it wrote."""
    found = {name: _section(out, name, run) for name in names}
    return {name: section for name, section in found.items() if section is not None}


def _section(out: Path, name: str, run: Mapping[str, Any]) -> Section | None:
    try:
        record = json.loads(_path(out, name).read_bytes())
        if record["run"] != run:
            return None
        files = {path: (out / path).read_bytes() for path in record["files"]}
    except (OSError, ValueError, KeyError, TypeError):  # it is not there, or not what was written
        return None
    if any(_digest(files[path]) != digest for path, digest in record["files"].items()):
        return None
    section = Section(
        record["id"],
        record["title"],
        record["paragraphs"],
        [Drawn(figure, caption, *_pictures(files, figure)) for figure, caption in record["figures"]],
        [Table(**table) for table in record["tables"]],
        [_claim(claim) for claim in record["claims"]],
        record["parameters"],
        {data: xr.load_dataset(out / "data" / f"{data}.nc", engine="h5netcdf") for data in record["data"]},
    )
    vars(section)["files"] = files
    return section


def _pictures(files: Mapping[str, bytes], name: str) -> tuple[bytes, bytes]:
    return files[f"figures/{name}.png"], files[f"figures/{name}.svg"]


def _claim(record: Mapping[str, Any]) -> Claim:
    checks = {form: tuple(Check(**check) for check in record[form]) for form in ("printed", "corrected")}
    return Claim(**{**record, **checks})


def _path(out: Path, name: str) -> Path:
    return out / FOLDER / f"{name}.json"


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
