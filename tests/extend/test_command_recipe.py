"""Recipe 6: a command."""

import re
import sys

import pytest

from stablestep.cli import app as cli_app
from tests.cli import test_folder
from tests.extend.guide import BLOCKS, fails, run_tests


@pytest.fixture
def commands(monkeypatch):
    """The command line, whose new commands are forgotten afterwards."""
    monkeypatch.setattr(cli_app, "registered_commands", [*cli_app.registered_commands])
    examples = sys.modules["stablestep.cli.app"].first_examples
    for name in list(examples):
        monkeypatch.setitem(examples, name, examples[name])
    yield cli_app
    examples.pop("traffic", None)


def test_the_command(add, commands, said, request):
    add("src/stablestep/cli/traffic.py")
    run_tests(BLOCKS["tests/cli/test_traffic.py"], request)
    test_folder.test_every_file_is_a_command()
    test_folder.test_every_command_has_an_example_which_stands_in_the_help_of_all("traffic", said)
    fails(test_folder.test_every_command_is_called_by_a_test, "no test in tests/cli calls traffic")


def test_a_file_that_is_no_command_is_missed_by_a_test(add, commands):
    add("src/stablestep/cli/traffic.py", lambda code: re.sub(r"^@command.*\n", "", code, flags=re.M))
    fails(test_folder.test_every_file_is_a_command, "a file of cli/ without a command of its name: {'traffic'}")
