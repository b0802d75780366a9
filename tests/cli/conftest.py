"""What the tests of every command share: a wide terminal without colours, a spec, and a way to be refused."""

import json

import pytest
from typer.testing import CliRunner

from stablestep import cli

SMALL = """
problem = { type = "Quartic", dim = 8 }
agents = [{ count = 4, noise = { type = "Gaussian", sigma1 = 0.1 }, compressor = { type = "RandomSparsification", omega = 4.0 } }]
run = { x0 = 0.5, seed = 3 }
"""


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def write(tmp_path):
    """Write a spec: the small one with each of these texts replaced."""

    def write(*replaced):
        text = SMALL
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "spec.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def invoke():
    return lambda *arguments: CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def said(invoke):
    """What a command prints when it succeeds."""

    def said(*arguments):
        outcome = invoke(*arguments)
        assert outcome.exit_code == 0, outcome.output
        return outcome.stdout

    return said


@pytest.fixture
def parsed(said):
    """The strict JSON that a command prints."""

    def refuse(name):
        raise AssertionError(f"{name} is not strict JSON")

    return lambda *arguments: json.loads(said(*arguments, "--json"), parse_constant=refuse)


@pytest.fixture
def refusal(invoke):
    """What stderr says when a command refuses: one sentence, exit status 2, and never a traceback."""

    def refusal(*arguments):
        outcome = invoke(*arguments)
        assert outcome.exit_code == 2, outcome.output
        assert "Traceback" not in outcome.output and outcome.stdout == ""
        assert len(outcome.stderr.strip().splitlines()) == 1
        return outcome.stderr

    return refusal
