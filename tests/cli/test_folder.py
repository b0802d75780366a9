"""Every file of cli/ is a command, but for those that all of them need."""

import subprocess
import sys
from pathlib import Path
from pkgutil import iter_modules

import pytest
from typer.main import get_command

from stablestep import cli, interrupt

SHARED = {"__main__", "app", "screen", "show"}


def commands():
    return get_command(cli.app).commands  # pyright: ignore[reportAttributeAccessIssue]


def test_every_file_is_a_command():
    files = {found.name for found in iter_modules(cli.__path__)} - SHARED
    assert not files - commands().keys(), f"a file of cli/ without a command of its name: {files - commands().keys()}"
    assert not commands().keys() - files, f"a command without a file of its name in cli/: {commands().keys() - files}"


def test_every_command_is_called_by_a_test():
    here = Path(__file__)
    tests = "".join(path.read_text(encoding="utf-8") for path in here.parent.glob("test_*.py") if path != here)
    uncalled = [name for name in commands() if f'"{name}"' not in tests]
    assert not uncalled, f"no test in tests/cli calls {', '.join(uncalled)}"


@pytest.mark.parametrize("name", commands())
def test_every_command_has_an_example_which_stands_in_the_help_of_all(name, said):
    own, common = said(name, "--help"), said("--help")
    examples = [line.strip() for line in own.splitlines() if line.strip().startswith(f"stablestep {name}")]
    assert examples and examples[0] in common


def test_brackets_are_no_markup(said):
    assert "x0 in [run]" in " ".join(said("limits", "--help").split())
    assert "that of [run]" in " ".join(said("critical", "--help").split())


def test_the_package_itself_runs_as_the_command():
    """And Ctrl-C is answered there as everywhere."""
    found = subprocess.run(
        [sys.executable, "-m", "stablestep", "--version"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0 and found.stdout.startswith("stablestep "), found.stderr
    assert interrupt.is_command(["-m", "limits"], ["python", "-m", "stablestep", "limits"])
    assert not interrupt.is_command(["-m"], ["python", "-m", "pytest", "stablestep"])
