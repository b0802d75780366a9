"""`stablestep explore`."""

import pytest
from typer.testing import CliRunner

from stablestep import cli


def test_the_command(tmp_path):
    spec, out = tmp_path / "spec.toml", tmp_path / "page.html"
    spec.write_text('problem = { type = "Quartic", dim = 3 }\nagents = [{ count = 2 }]\nrun = { x0 = 0.5 }\n')
    found = CliRunner().invoke(cli.app, ["explore", str(spec), "--no-map", "--out", str(out)])
    assert found.exit_code == 0 and out.read_text().startswith("<!doctype html>") and "MB" in found.output
    refused = CliRunner().invoke(cli.app, ["explore", "--out", str(tmp_path / "no" / "page.html")])
    assert refused.exit_code == 2 and "cannot write to the folder" in refused.stderr


@pytest.mark.parametrize("out", ["", ".", "..", "/dev/null"])
def test_what_is_no_file_is_refused_before_anything_is_measured(write, refusal, monkeypatch, out):
    monkeypatch.setattr("stablestep.explore.explore", None)
    assert "but must be a file; choose another with --out" in refusal("explore", write(), "--out", out)
