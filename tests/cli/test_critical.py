"""`stablestep critical`: what `critical_step` finds, in sentences and in JSON."""

import pytest

from stablestep.cli import critical
from stablestep.stability import METHODS
from stablestep.stability.start_point import BLOWN

# Gradient descent on 2x²: 2/λ = .5 by every method.
DESCENT = (
    ('type = "Quartic", dim = 8', 'type = "Quadratic", matrix_or_eigenvalues = [4.0]'),
    (', noise = { type = "Gaussian", sigma1 = 0.1 }, compressor = { type = "RandomSparsification", omega = 4.0 }', ""),
)


@pytest.mark.parametrize("method", METHODS)
def test_json_of_every_method(write, parsed, method):
    record = parsed("critical", write(*DESCENT), "--method", method)
    assert record["step"] == pytest.approx(0.5, rel=0.03 if method == "rollouts" else 3e-4)
    assert record.keys() == {"step", "low", "high", "status", "method", "definition", "cost", "details"}
    assert record["method"] == method and record["low"] <= record["step"] <= record["high"]


def test_rollouts_are_the_default(write, said):
    lines = said("critical", write(*DESCENT)).splitlines()
    assert float(lines[0].split(",")[0].removeprefix("critical step ")) == pytest.approx(0.5, rel=0.03)
    assert ", interval 0.4" in lines[0] and lines[0].endswith("(sharp)")
    assert lines[1].startswith("rollouts: half of the runs from x0 have blown up")
    assert any(line.startswith("step10: 0.") for line in lines) and any(line.startswith("steps: 90") for line in lines)
    assert lines[-1].startswith("cost: ") and lines[-1].endswith(" steps of one run")


def test_a_formula_has_no_interval(write, said):
    lines = said("critical", write(), "--method", "theorem").splitlines()
    assert "interval" not in lines[0] and lines[0].endswith("(formula)")
    assert "P Thm 4.2" in lines[1] and "result: 4.2" in lines


def test_the_seed_is_that_of_the_run_unless_given(write, parsed):
    path = write()
    runs, given, other = (
        parsed("critical", path, "--method", "one-step", *options) for options in ([], ["--seed", 3], ["--seed", 4])
    )
    assert runs == given and runs["step"] != other["step"]


def test_no_edge_is_null(write, parsed, said):
    path = write(
        ('type = "Quartic", dim = 8', 'type = "Quadratic", matrix_or_eigenvalues = [1.0, 4.0]'),
        ('"Gaussian", sigma1 = 0.1', '"StudentT", df = 1'),
        ('compressor = { type = "RandomSparsification", omega = 4.0 }', 'compressor = { type = "Sign" }'),
    )
    assert parsed("critical", path, "--method", "theorem")["step"] is None
    assert "critical step no limit (formula)" in said("critical", path, "--method", "theorem")


def test_fractions_are_in_the_json_only(write, parsed, said):
    path = write(
        ('type = "Quartic", dim = 8', 'type = "Quadratic", matrix_or_eigenvalues = [1.0]'),
        ("sigma1 = 0.1", "sigma1 = 1.0"),
        ("count = 4", "count = 1"),
    )
    record = parsed("critical", path, "--method", "simulation")
    fractions = {float(step): share for step, share in record["details"]["fractions"].items()}
    assert min(fractions.values()) < 0.5 < max(fractions.values())
    assert record["low"] < record["step"] < record["high"]
    assert "fractions" not in said("critical", path, "--method", "simulation")


@pytest.mark.parametrize(
    ("replaced", "arguments", "words"),
    [
        ([], ["--method", "rolouts"], ['no method "rolouts"', 'Did you mean "rollouts"']),
        ([], ["--method", "moments"], ["needs a Quadratic", "Quartic", "rollouts"]),
        ([("x0 = 0.5", "x0 = 0.0")], ["--method", "theorem"], ["the gradient at x0 is 0"]),
        ([("x0 = 0.5", "x0 = [1.0, 2.0]")], [], ["x0 has shape (2,)"]),
        ([("Quartic", "Quartik")], [], ['"Quartik"', 'Did you mean "Quartic"']),
        ([("omega = 4.0", "omega = -4.0")], [], ["omega is -4"]),
        ([("run =", "ruin =")], [], ['the spec lacks "run"']),
    ],
)
def test_refusals(write, refusal, replaced, arguments, words):
    said = refusal("critical", write(*replaced), *arguments)
    assert [word for word in words if word not in said] == [], said


def test_a_missing_spec(refusal, tmp_path):
    assert "absent.toml" in refusal("critical", tmp_path / "absent.toml")


def test_help_names_every_method(said):
    text = " ".join(said("critical", "--help").split())
    assert "stablestep critical spec.toml --method simulation --json" in text
    assert [method for method in METHODS if method not in text] == []
    assert "f − f* has passed 1000 times its start" in text


def test_the_help_knows_the_methods_and_the_threshold():
    assert tuple(METHODS) == critical.METHODS and BLOWN == critical.BLOWN
