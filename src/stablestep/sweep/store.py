"""Where finished points are kept: a folder of small files, named by what was computed and written whole."""

import json
import os
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from stablestep.errors import InvalidInput, require
from stablestep.files import FULL, NotWritten, write_files
from stablestep.sweep.digest import SIZE

IDENTITY = "store.json"
CELLS, SWEEPS = "cells", "sweeps"
SUFFIX = ".nc"
FACTS = {"function", "names", "count", "dims", "shape", "labels", "attributes"}  # of a sweep


class Memory:
    """Finished points of a sweep that nobody keeps."""

    def __init__(self):
        self.cells: dict[str, tuple[str, bytes]] = {}

    def finished(self) -> dict[str, str]:
        """The frames of finished points by their keys."""
        return {key: frame for key, (frame, _) in self.cells.items()}

    def has(self, key: str) -> bool:
        """Whether a point is finished."""
        return key in self.cells

    def write(self, key: str, frame: str, content: bytes) -> None:
        """Keep a point."""
        self.cells[key] = frame, content

    def read(self, key: str, frame: str) -> bytes:
        """The bytes of a finished point."""
        return self.cells[key][1]

    def where(self, key: str, frame: str) -> str:
        """What a point is called."""
        return key


class Folder:
    """Finished points as files `cells/abc/KEY-FRAME.nc`, and what sweeps computed as `sweeps/NAME.json` and `.npy`.

    A name says all of what was computed, and nothing else: neither the time nor who did it. So what two sweeps both compute is the
    same file, whoever is the last to write it.
    """

    def __init__(self, path: Path):
        self.path = path

    def open(self, identity: Mapping[str, str]) -> None:
        """Make the folder, or see that it is a store of the same function and versions; drafts that killed sweeps left are removed.

        Raises:
            InvalidInput: if it is of other ones, holds something else, or cannot be written.
            NotWritten: if the disk is full.
        """
        with self._writable():
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / IDENTITY).exists():
                others = [name for name in _listed(self.path) if name not in (CELLS, SWEEPS)]
                require(
                    not others,
                    f'the folder "{self.path}" holds {others[:1]} and is no store; give an empty or a new one.',
                )
                write_files({self.path / IDENTITY: _json(identity)})
            write_files({self.path / ".writable": b""})
            (self.path / ".writable").unlink(missing_ok=True)
            for name in (CELLS, SWEEPS):
                (self.path / name).mkdir(exist_ok=True)
        self._check(identity)
        self._tidy()

    def _check(self, identity: Mapping[str, str]) -> None:
        held = self._read_json(self.path / IDENTITY)
        for name, value in identity.items():
            require(name in held, _spoilt(self.path / IDENTITY))
            require(
                held.get(name) == value,
                f'the store "{self.path}" was made with {name} {held.get(name)}, and this is {name} {value}; '
                "give another folder (nothing in this one was changed).",
            )

    def finished(self) -> dict[str, str]:
        """The frames of finished points by their keys."""
        found = {}
        for folder in _listed(self.path / CELLS):
            found |= dict(name.removesuffix(SUFFIX).split("-", 1) for name in _listed(self.path / CELLS / folder))
        return found

    def has(self, key: str) -> bool:
        """Whether a point is finished."""
        return any(name.startswith(key) for name in _listed(self._folder(key)))

    def write(self, key: str, frame: str, content: bytes) -> None:
        """Keep a point: the whole file, or none.

        Raises:
            InvalidInput, NotWritten: if it cannot be written.
        """
        path = self._path(key, frame)
        with self._writable():
            try:
                write_files({path: content})
            except FileNotFoundError:  # its folder is not there yet, or another sweep took the draft for a dead one's
                path.parent.mkdir(parents=True, exist_ok=True)
                write_files({path: content})

    def read(self, key: str, frame: str) -> bytes:
        """The bytes of a finished point."""
        path = self._path(key, frame)
        try:
            return path.read_bytes()
        except OSError as error:
            raise InvalidInput(f'"{path}" cannot be read ({error.strerror}); run the sweep again.') from error

    def where(self, key: str, frame: str) -> str:
        """The file of a point."""
        return str(self._path(key, frame))

    def describe(self, name: str, facts: dict[str, Any], keys: list[str]) -> None:
        """Keep what a sweep computes, and the keys of its points in order."""
        path, raw = self.path / SWEEPS / name, b"".join(map(bytes.fromhex, keys))
        if not all(path.with_suffix(kind).exists() for kind in (".json", ".keys")):
            with self._writable():
                write_files({path.with_suffix(".keys"): raw, path.with_suffix(".json"): _json(facts)})

    def described(self, name: str | None) -> tuple[dict[str, Any], list[str]]:
        """What the sweep of this name computes (the only one, where none is given), and the keys of its points.

        Raises:
            InvalidInput: if there is none, or several and no name says which.
        """
        there = [entry.removesuffix(".json") for entry in _listed(self.path / SWEEPS) if entry.endswith(".json")]
        require(there, f'there is no sweep in "{self.path}"; give the folder of a sweep as store.')
        chosen = there[0] if name is None and len(there) == 1 else name
        if chosen not in there:
            words = "; ".join(f'"{entry}" ({self._words(entry)})' for entry in sorted(there))
            raise InvalidInput(f'"{self.path}" holds {words}; give the name of one as sweep.')
        facts = self._facts(chosen)
        return facts, self._keys(chosen, facts["count"])

    def _words(self, name: str) -> str:
        facts = self._facts(name)
        return f"{facts['function']} at {facts['count']} points of {', '.join(facts['names'])}"

    def _facts(self, name: str) -> dict[str, Any]:
        path = self.path / SWEEPS / f"{name}.json"
        facts = self._read_json(path)
        require(facts.keys() >= FACTS, _spoilt(path))
        return facts

    def _keys(self, name: str, count: int) -> list[str]:
        path = self.path / SWEEPS / f"{name}.keys"
        raw = _bytes(path)
        require(len(raw) == count * SIZE, _spoilt(path))
        return [row.tobytes().hex() for row in np.frombuffer(raw, np.uint8).reshape(-1, SIZE)]

    def _read_json(self, path: Path) -> dict[str, Any]:
        raw = _bytes(path)
        try:
            record = json.loads(raw)
        except ValueError as error:
            raise InvalidInput(_spoilt(path)) from error
        require(isinstance(record, dict), _spoilt(path))
        return record

    def _folder(self, key: str) -> Path:
        return self.path / CELLS / key[:3]

    def _path(self, key: str, frame: str) -> Path:
        return self._folder(key) / f"{key}-{frame}{SUFFIX}"

    def _tidy(self) -> None:
        """Remove drafts of processes that are dead, on this machine."""
        for draft in self.path.glob(f"{CELLS}/*/.*{SUFFIX}.*"):
            owner = draft.name.rpartition(".")[2]
            if owner.isdigit() and not psutil.pid_exists(int(owner)):
                with suppress(OSError):
                    draft.unlink()

    @contextmanager
    def _writable(self):
        try:
            yield
        except OSError as error:
            what = f'cannot write to the store "{self.path}" ({error.strerror or error})'
            if error.errno in FULL:
                raise NotWritten(f"{what}; make room there and start again: finished points are kept.") from error
            raise InvalidInput(f"{what}; give a folder that can be written.") from error


Store = Folder | Memory


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        words = f'"{path}" cannot be read ({error.strerror}); make it readable, or delete it and run the sweep again.'
        raise InvalidInput(words) from error


def _spoilt(path: Path) -> str:
    return f'"{path}" is spoilt; delete it, and run the sweep again.'


def _listed(folder: Path) -> list[str]:
    """The names in a folder, without drafts; none where there is no folder."""
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode(errors="replace")
