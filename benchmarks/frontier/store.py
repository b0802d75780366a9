"""What was run already: one line of JSON for each run, so that an interrupted benchmark goes on where it was."""

import ast
import hashlib
import inspect
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import stablestep.compressor
import stablestep.torch
from benchmarks.frontier import entrant, ledger, models, optimizers, tasks, train
from benchmarks.frontier.entrant import Entrant
from benchmarks.frontier.train import Cell

COMMON = (entrant, ledger, models, optimizers, tasks, train)


class Store:
    """A file of lines {"key": …, "found": …}; a key names everything that a result depends on, the code of the run included."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._found = {_text(line["key"]): line["found"] for line in _lines(path)}

    def get(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """What was found, or None."""
        return self._found.get(_text(key))

    def put(self, key: dict[str, Any], found: dict[str, Any]) -> None:
        """Append a line, whole or not at all."""
        line = json.dumps({"key": key, "found": found}, ensure_ascii=False) + "\n"
        # One write to a file opened for appending: neither a second benchmark nor an interruption mixes lines.
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
        self._found[_text(key)] = found


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8")
    whole, _, rest = text.rpartition("\n")
    if rest:  # the machine stopped in the middle of a line
        path.write_text(whole + "\n" if whole else "", encoding="utf-8")
    yield from map(json.loads, whole.splitlines())


def _text(key: dict[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)


def key(cell: Cell, who: Entrant, workers: int) -> dict[str, Any]:
    """What the result of a run depends on."""
    code = [told(who.build), _modules(COMMON)]
    if who.side == "ours":
        code.append(_library())
    digest = hashlib.sha256("\n".join(code).encode()).hexdigest()[:16]
    return {**asdict(cell), "workers": workers, "torch": torch.__version__, "code": digest}


def told(value: Any) -> str:
    """The code of a function and of what it is given."""
    if isinstance(value, partial):
        return "\n".join(
            [told(value.func), *map(told, value.args), *(f"{k}={told(v)}" for k, v in value.keywords.items())]
        )
    return _code(inspect.getsource(value)) if inspect.isfunction(value) else repr(value)


def _modules(modules: Iterable[ModuleType]) -> str:
    return "\n".join(_code(inspect.getsource(module)) for module in modules)


@cache
def _library() -> str:
    """Of stablestep, what makes messages and steps."""
    folders = [Path(str(stablestep.compressor.__file__)).parent]
    folders += [Path(str(stablestep.torch.__file__)).parent]
    files = sorted(file for folder in folders for file in folder.rglob("*.py") if file.parent.name != "probe")
    return "\n".join(_code(file.read_text(encoding="utf-8")) for file in files)


@cache
def _code(source: str) -> str:
    """Without comments, docstrings and layout, which change nothing."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
