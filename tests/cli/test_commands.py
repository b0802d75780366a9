"""The command line: results where they were asked for, and one sentence with exit status 2 for what cannot be right."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from stablestep import cli

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = """
problem = { type = "Quartic", dim = 8 }
agents = [{ count = 2, noise = { type = "Gaussian", sigma1 = 0.1 } }]
schedule = { type = "Constant", eta = 0.1 }
run = { x0 = 0.5, steps = 30, runs = 20 }
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def refusal(*arguments, status=2):
    """What stderr says when the command refuses: one sentence, and never a traceback."""
    outcome = invoke(*arguments)
    assert outcome.exit_code == status, outcome.output
    assert "Traceback" not in outcome.output
    assert len(outcome.stderr.strip().splitlines()) == 1
    return outcome.stderr


def test_simulate_writes_a_result_a_picture_and_a_table(spec, tmp_path):
    outcome = invoke("simulate", spec, "--out", tmp_path / "new" / "out")
    assert outcome.exit_code == 0, outcome.output
    assert sorted(os.listdir(tmp_path / "new" / "out")) == ["loss.png", "loss.svg", "result.nc"]
    result = xr.load_dataset(tmp_path / "new" / "out" / "result.nc", engine="h5netcdf")
    assert result.sizes["time"] == 31
    assert result.attrs["seed"] == 0
    rows = [line.split() for line in outcome.stdout.splitlines()]
    last = next(row for row in rows if row[:2] == ["3", "30"])
    assert float(last[2]) == pytest.approx(float(result.loss_quantile.sel(quantile=0.5)[-1]), rel=1e-3)
    assert "seed: 0" in outcome.stdout
    assert "Quartic(dim=8)" in outcome.stdout


def test_a_diverging_run_is_in_the_table(spec, tmp_path):
    spec.write_text(SMALL.replace("x0 = 0.5", "x0 = 50.0"), encoding="utf-8")
    outcome = invoke("simulate", spec, "--out", tmp_path / "out")
    assert outcome.exit_code == 0
    assert "100 %" in outcome.stdout
    assert "∞" in outcome.stdout


@pytest.mark.parametrize(
    ("grid", "rows"), [("eta = [0.05, 0.1]", 2), ("eta = [0.05, 0.1]\nsigma1 = [0.0, 0.1, 0.2]", 6)]
)
def test_a_grid_has_a_row_for_each_point(spec, tmp_path, grid, rows):
    spec.write_text(f"{SMALL}\n[grid]\n{grid}", encoding="utf-8")
    outcome = invoke("simulate", spec, "--out", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output
    assert sum(line.strip().startswith(("0.05 ", "0.1 ")) for line in outcome.stdout.splitlines()) == rows
    result = xr.load_dataset(tmp_path / "out" / "result.nc", engine="h5netcdf")
    assert np.prod([size for name, size in result.sizes.items() if name in ("eta", "sigma1")]) == rows


def test_the_example_runs(tmp_path):
    outcome = invoke("simulate", EXAMPLES / "dcsgd.toml", "--out", tmp_path)
    assert outcome.exit_code == 0, outcome.output
    result = xr.load_dataset(tmp_path / "result.nc", engine="h5netcdf")
    assert float(result.loss_mean[-1]) < float(result.loss_mean[0])


def test_the_quickstart_runs(tmp_path):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / "quickstart.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "quickstart.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Quartic", "Quartik", ['"Quartik"', 'Did you mean "Quartic"?']),
        ("sigma1", "sigma", ['"sigma"', 'Did you mean "sigma']),
        ("steps = 30", "steps = 0", ["steps is 0"]),
        ("runs = 20", "runs = 0", ["runs is 0"]),
        ("runs = 20", "runs = 20, radius = -1.0", ["radius is -1"]),
        ("runs = 20", 'runs = 20, record = "lgo"', ['"lgo"']),
        ("x0 = 0.5", "x0 = [1.0, 2.0]", ["x0 has shape (2,)"]),
        ("run =", "grid = { omega = [1, 2] }\nrun =", ['"omega"']),
        ("run =", "grid = { eta = [] }\nrun =", ['the grid has no values of "eta"']),
        ("run =", "grid = { eta = [0.1, -0.1] }\nrun =", ["eta is -0.1"]),
        ("problem =", "problem", ["not valid TOML"]),
    ],
)
def test_a_wrong_spec_is_refused_in_one_sentence(spec, tmp_path, old, new, words):
    spec.write_text(SMALL.replace(old, new, 1), encoding="utf-8")
    said = refusal("simulate", spec, "--out", tmp_path / "out")
    assert [word for word in words if word not in said] == [], said


def test_a_missing_spec_is_refused(tmp_path):
    assert "absent.toml" in refusal("simulate", tmp_path / "absent.toml")


@pytest.mark.parametrize("command", ["simulate", "reproduce"])
def test_a_folder_that_cannot_be_written_is_refused(spec, tmp_path, command):
    (tmp_path / "file").write_text("in the way")
    said = refusal(*([command, spec] if command == "simulate" else [command]), "--out", tmp_path / "file" / "out")
    assert "cannot write to the folder" in said
    assert "--out" in said


def test_an_unknown_claim_is_refused(tmp_path):
    said = refusal("reproduce", "--only", "fig1.dcsdg.constant", "--out", tmp_path)
    assert 'Did you mean "fig1.dcsgd.constant"?' in said


def test_reproduce_hands_its_options_on(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr("stablestep.reproduce.reproduce", lambda out, **options: seen.update(out=out, **options))
    outcome = invoke("reproduce", "--quick", "--only", "a", "--only", "b", "--out", tmp_path, "--seed", "7")
    assert outcome.exit_code == 0, outcome.output
    assert seen == {"out": tmp_path, "quick": True, "only": ("a", "b"), "seed": 7, "resume": True}


def test_an_interruption_says_what_was_kept(tmp_path, monkeypatch):
    from stablestep.reproduce import Interrupted

    def interrupt(*_, **__):
        raise Interrupted("Interrupted: fig1-dsgd kept.")

    monkeypatch.setattr("stablestep.reproduce.reproduce", interrupt)
    assert refusal("reproduce", "--out", tmp_path, status=130) == "Interrupted: fig1-dsgd kept.\n"


def test_an_interrupted_simulation_exits_with_130(spec, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    # By its name in sys.modules: the package's attribute `simulate` is the function.
    monkeypatch.setattr(import_module("stablestep.simulate"), "simulate", interrupt)
    assert "Interrupted" in refusal("simulate", spec, "--out", tmp_path, status=130)


def test_help_has_examples():
    for arguments in (["--help"], ["reproduce", "--help"], ["simulate", "--help"]):
        outcome = invoke(*arguments)
        assert outcome.exit_code == 0
        assert "Example" in outcome.stdout
        assert "stablestep simulate spec.toml" in outcome.stdout or "stablestep reproduce --quick" in outcome.stdout


def test_the_example_in_the_help_is_a_spec(tmp_path):
    shown = invoke("simulate", "--help").stdout
    lines = [
        line.strip() for line in shown.splitlines() if line.strip().startswith(("problem", "agents", "schedule", "run"))
    ]
    (tmp_path / "help.toml").write_text("\n".join(lines), encoding="utf-8")
    from stablestep.spec import load

    assert load(tmp_path / "help.toml").setup.count == 16


def test_version():
    assert invoke("--version").stdout.startswith("stablestep ")


def test_nothing_of_jax_is_configured(spec, tmp_path):
    """A command computes as a script and a notebook do."""
    code = f"""if True:
        import jax
        before = dict(jax.config.values)
        import stablestep.cli
        try:
            stablestep.cli.app(["simulate", {str(spec)!r}, "--out", {str(tmp_path / "out")!r}])
        except SystemExit as end:
            assert end.code == 0
        assert dict(jax.config.values) == before and jax.device_count() == 1"""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_folder_in_the_place_of_a_result_is_refused_before_anything_runs(tmp_path, refusal, monkeypatch):
    monkeypatch.setattr(import_module("stablestep.simulate"), "simulate", None)
    spec, taken = tmp_path / "spec.toml", tmp_path / "out" / "loss.png"
    spec.write_text(SMALL, encoding="utf-8")
    taken.mkdir(parents=True)
    assert f'"{taken}" is a folder or a device, but must be a file' in refusal("simulate", spec, "--out", taken.parent)
