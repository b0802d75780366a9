"""The files and names of the guide, in place until a test is over."""

import importlib
import sys
from importlib import import_module

import pytest

from stablestep import compressor
from tests import instances
from tests.cli.conftest import invoke, parsed, refusal, said, wide_terminal, write  # noqa: F401
from tests.extend.guide import BLOCKS, ROOT, row


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Write a block of the guide where it says, beside the files of the library or at the end of one, until the test is over."""
    undo = []

    def add(path, change=lambda code: code):
        code, name = change(BLOCKS[path]), path.removeprefix("src/").removesuffix(".py").replace("/", ".")
        return _appended(name, code) if (ROOT / path).exists() else _written(path, name, code)

    def _appended(name, code):
        home = import_module(name)
        before = dict(vars(home))
        undo.append(lambda: (vars(home).clear(), vars(home).update(before)))
        exec(compile(code, name, "exec"), vars(home))
        return home

    def _written(path, name, code):
        folder, package = (tmp_path / path).parent, import_module(name.rpartition(".")[0])
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(code, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        undo.append(lambda: (sys.modules.pop(name, None), vars(package).pop(name.rpartition(".")[2], None)))
        importlib.invalidate_caches()
        return import_module(name)

    yield add
    for step in reversed(undo):
        step()


@pytest.fixture
def publish(monkeypatch):
    """Name a class in its folder's __init__."""

    def publish(folder, kind):
        monkeypatch.setattr(folder, kind.__name__, kind, raising=False)
        monkeypatch.setattr(folder, "__all__", [*folder.__all__, kind.__name__])

    return publish


@pytest.fixture
def enter(monkeypatch):
    """Add a row of the guide to a table of tests/instances.py (and to the unions of tables that hold it); its name is the answer."""

    def enter(text, **classes):
        code, table = row(text)
        ((name, instance),) = eval(f"{{{code}}}", {**vars(instances), **classes}).items()
        for held in ("MEMORYLESS", "COMPRESSORS") if isinstance(instance, compressor.Compressor) else ():
            if held == "COMPRESSORS" or not instance.remembers:
                monkeypatch.setitem(getattr(instances, held), name, instance)
        monkeypatch.setitem(getattr(instances, table), name, instance)
        return name

    return enter


@pytest.fixture
def one_bit(add, publish):
    module = add("src/stablestep/compressor/one_bit.py")
    publish(compressor, module.OneBit)
    publish(compressor, module.Diana)
    return module
