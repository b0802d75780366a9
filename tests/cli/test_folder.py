"""Every file of cli/ is a command, but for those that all of them need."""

from pathlib import Path

import pytest
from typer.main import get_command

from stablestep import cli

SHARED = {"__init__", "__main__", "app", "screen", "show"}
COMMANDS = get_command(cli.app).commands  # pyright: ignore[reportAttributeAccessIssue]


def test_every_file_is_a_command():
    assert {path.stem for path in Path(cli.__file__).parent.glob("*.py")} - SHARED == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_which_stands_in_the_help_of_all(name, said):
    own, common = said(name, "--help"), said("--help")
    examples = [line.strip() for line in own.splitlines() if line.strip().startswith(f"stablestep {name}")]
    assert examples and examples[0] in common


def test_brackets_are_no_markup(said):
    assert "x0 in [run]" in " ".join(said("limits", "--help").split())
    assert "that of [run]" in " ".join(said("critical", "--help").split())
