"""`stablestep sweep`: a spec's grid in a store, resumed, planned, and on a cluster."""

import pytest

import stablestep as ss

GRID = "run = {", "grid = { omega = [1.0, 4.0], count = [2, 4] }\nrun = {"
RUN = "x0 = 0.5,", "x0 = 0.5, steps = 5, runs = 4,"
STEP = "run = {", 'schedule = { type = "Constant", eta = 0.1 }\nrun = {'
SQUARE = 'type = "Quartic", dim = 8', 'type = "Quadratic", matrix_or_eigenvalues = [1.0, 2.0]'


def test_critical(write, said, tmp_path):
    store = tmp_path / "store"
    text = said("sweep", write(GRID), "--store", store, "--of", "critical", "--method", "theorem")
    assert f"4 points are in {store}" in text and any(line.startswith("step ") for line in text.splitlines())
    found = ss.sweep.load(store)
    assert found.step.dims == ("omega", "count") and found.attrs["finished"] == 4
    assert said("sweep", write(GRID), "--store", store, "--of", "critical", "--method", "theorem") == text


def test_simulate_in_two_processes(write, said, tmp_path):
    path, store = write(GRID, RUN, STEP), tmp_path / "store"
    assert "loss_mean" in said("sweep", path, "--store", store, "--jobs", 2)
    assert ss.sweep.load(store).loss_mean.sizes == {"omega": 2, "count": 2, "time": 6}


@pytest.mark.parametrize("of", ["limits", "moments"])
def test_the_others(write, said, tmp_path, of):
    assert "4 points are in" in said("sweep", write(GRID, RUN, STEP, SQUARE), "--store", tmp_path / "store", "--of", of)


def test_a_dry_run_writes_nothing(write, said, tmp_path):
    text = said(
        "sweep",
        write(GRID),
        "--store",
        tmp_path / "store",
        "--of",
        "critical",
        "--method",
        "theorem",
        "--dry-run",
        "--jobs",
        2,
    )
    assert (
        text.startswith("4 points, 0 of them finished: 4 take about ")
        and "in 2 processes" in text
        and "MB of memory" in text
    )
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("replaced", "options", "words"),
    [
        ((), ["--of", "critical"], "there is no [grid]"),
        (
            (GRID,),
            ["--of", "everything"],
            '--of is "everything", but must be "simulate", "critical", "limits" or "moments"',
        ),
        ((GRID,), ["--of", "limits", "--method", "theorem"], "--method is of critical"),
        ((GRID,), [], 'lacks "schedule"'),
        (
            (GRID, RUN, ("run = {", 'schedule = { type = "LocalNorms", eta0 = 0.1 }\nrun = {')),
            ["--of", "moments"],
            "constant step",
        ),
        ((GRID,), ["--of", "critical", "--scheduler", "nowhere"], "Dask"),
        ((GRID,), ["--of", "critical", "--method", "thorem"], 'none of that name. Did you mean "theorem"'),
        ((GRID, RUN, STEP), ["--of", "moments"], "All 4 points were refused: the moment recursion needs a Quadratic"),
        ((("run = {", "grid = { omga = [1] }\nrun = {"),), ["--of", "critical"], 'Did you mean "omega"'),
    ],
)
def test_refusals(write, refusal, tmp_path, replaced, options, words):
    assert words in refusal("sweep", write(*replaced), "--store", tmp_path / "store", *options)


def gridded(grid):
    return "run = {", f"grid = {{ {grid} }}\nrun = {{"


def test_why_some_points_were_refused_is_said(write, said, tmp_path):
    text = said("sweep", write(gridded("sigma1 = [0.1, 1e39]"), RUN, STEP), "--store", tmp_path / "store")
    assert text.endswith(
        '1 of them refused: the setup holds 1e+39, which no float32 can; choose another scale, or dtype="float64".\n'
    )
    assert len(text.splitlines()) > 2 and "2 points are in" in text


def test_one_point_shows_its_numbers(write, said, tmp_path):
    text = said("sweep", write(gridded("omega = [3]"), RUN, STEP), "--store", tmp_path / "store")
    assert "1 point is in" in text and text.split()[:2] == ["found", "value"]
    assert any(line.split()[:2] == ["steps", "5"] for line in text.splitlines())


def test_the_last_time_is_that_of_each_point(write, said, tmp_path):
    text = said("sweep", write(gridded("record = [2, 4], omega = [0, 3]"), RUN, STEP), "--store", tmp_path / "store")
    (row,) = [line.split() for line in text.splitlines() if line.startswith("loss_mean ")]
    found = ss.sweep.load(tmp_path / "store")
    last = found.loss_mean.where(found.iteration_of_point == 5).max("time")
    assert row[-1] == "0" and float(row[3]) == pytest.approx(float(last.max()), rel=1e-3)


def test_points_that_fail_are_one_sentence(write, invoke, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("here")

    monkeypatch.setattr(ss.message, "moments", broken)
    outcome = invoke("sweep", write(GRID, RUN, STEP, SQUARE), "--store", tmp_path / "store", "--of", "moments")
    assert outcome.exit_code == 1 and len(outcome.stderr.splitlines()) == 1
    assert (
        "4 points failed, the first (omega = " in outcome.stderr
        and "ZeroDivisionError: here; 0 of 4 are kept" in outcome.stderr
    )
