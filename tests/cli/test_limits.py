"""`stablestep limits`: what `advise` finds, as a table, sentences and JSON."""

import numpy as np
import pytest

from stablestep.cli.limits import as_record, step
from stablestep.compressor import RandomSparsification
from stablestep.noise import Gaussian
from stablestep.problem import Quartic
from stablestep.setup import Agents, Setup
from stablestep.stability import advise

SETUP = Setup(Quartic(8), Agents(4, Gaussian(sigma1=0.1), RandomSparsification(4.0)))
SIGNS = 'compressor = { type = "RandomSparsification", omega = 4.0 }', 'compressor = { type = "Sign" }'
HEAVY = '"Gaussian", sigma1 = 0.1', '"StudentT", df = 1'
PARABOLA = 'type = "Quartic", dim = 8', 'type = "Quadratic", matrix_or_eigenvalues = [1.0, 4.0]'


def test_the_table_and_the_sentences(write, said):
    text, found = said("limits", write()), advise(SETUP, x0=0.5)
    lines = text.splitlines()
    assert lines[0].split() == ["result", "SDE", "printed", "corrected", "reference"]
    limits = {row.name: f"{row.corrected:.4g}" for row in found.rows if row.corrected}
    assert lines[1].split()[:6] == ["4.1", "classic", "(first", "order)", limits["4.1"], limits["4.1"]]
    assert lines[2].split()[:4] == ["4.2", "new", limits["4.2"], limits["4.2"]] and "Thm 4.2" in lines[2]
    assert sum(line.startswith("Does not apply: B.") for line in lines) == 4
    assert "‖∇f‖ = 0.3536" in text and "N = 4, d = 8, ε = 0.5" in text
    assert "What limits the step: landscape" in text and found.verdict in text
    for change, value in found.buys.items():
        assert f"{change}: {step(value)}" in text
    assert "worst cases" in lines[-1]


def test_json(write, parsed):
    record = parsed("limits", write())
    expected = as_record(advise(SETUP, x0=0.5))
    assert record.keys() == expected.keys() and record["verdict"] == expected["verdict"]
    assert record["limit"] == pytest.approx(expected["limit"]) and record["epsilon"] == 0.5
    assert sum(record["shares"].values()) == pytest.approx(1)
    assert record["normalization"].keys() == {"a", "b"} and record["constant_step"] is None
    assert record["constants"]["omega"] == [4.0] * 4 and record["constants"]["dim"] == 8
    rows = {row["name"]: row for row in record["results"]}
    assert rows["B.2"]["printed"] is None and "use 4.2" in rows["B.2"]["reason"]
    assert rows["4.2"]["corrected"] == pytest.approx(record["limit"])
    assert record["buys"]["N = 8"] > record["limit"]


def test_options(write, parsed):
    path = write()
    half, more = (parsed("limits", path, "--epsilon", epsilon, "--L1", 2.0) for epsilon in (0.5, 0.9))
    assert more["limit"] == pytest.approx(1.8 * half["limit"]) and more["epsilon"] == 0.9
    assert (half["constants"]["L0"], half["constants"]["L1"]) == (1.0, 2.0)


def test_a_schedule_and_a_run_do_no_harm(write, said):
    path = write(("run = { x0 = 0.5,", 'schedule = { type = "Constant", eta = 0.1 }\nrun = { steps = 30, x0 = 0.5,'))
    assert said("limits", path) == said("limits", write())


def test_signs(write, said, parsed):
    path = write(SIGNS, HEAVY)
    text, record = said("limits", path, "--L1", 2.0), parsed("limits", path, "--L1", 2.0)
    assert [row["name"] for row in record["results"]] == ["4.3", "B.8", "B.9", "discrete.sign"]
    assert record["limit"] == pytest.approx(2 / 16) and record["constants"]["nu"] == 1
    assert "Signs are normalized already: a constant step below 0.125" in text and "ε" not in text


def test_where_there_is_no_limit(write, said, parsed):
    """On a parabola L1 = 0, and signs have no limit: neither a division by zero nor an infinity in the JSON."""
    path = write(SIGNS, HEAVY, PARABOLA)
    text, record = said("limits", path), parsed("limits", path)
    assert "every constant step is allowed" in text and "no limit" in text and "inf" not in text
    assert record["limit"] is None and set(record["buys"].values()) == {None}
    assert [row["corrected"] for row in record["results"]] == [None] * 4


def test_normal_noise_under_signs_has_infinite_nu(write, parsed):
    record = parsed("limits", write(SIGNS, ("sigma1", "sigma0")), "--L1", 2.0)
    assert record["constants"]["nu"] is None and record["constants"]["scale_max"] == [0.1] * 4


def test_a_bounded_curvature_has_a_constant_step(write, said, parsed):
    path = write(PARABOLA)
    record = parsed("limits", path)
    A = 4 + 2 * 0.01 * 5
    assert record["constant_step"] == pytest.approx(1 / (4 * (1 + A / 4)))
    assert "is safe from every start" in said("limits", path)


MASK = 'type = "RandomSparsification", omega = 4.0', 'type = "EF21", inner = { type = "TopK", k = 2 }'


def test_a_memory_that_no_theorem_knows(write, said, parsed):
    path = write(MASK, ("sigma1 = 0.1", "sigma0 = 0.1"))
    text, record = said("limits", path), parsed("limits", path)
    assert "No theorem covers EF21" in text and "normalization: yes" in text and "it diverges" in text
    assert record["limit"] is None and record["results"] == [] and record["normalization"] == {"a": None, "b": None}
    assert record["practice"]["low"] < record["practice"]["high"] and record["constants"]["alpha"] == 0.25


def test_what_the_method_does(write, said, parsed):
    text, record = said("limits", write()), parsed("limits", write())
    assert "DCSGD: normalization: yes, as 1/(L0 + L1‖∇f‖)." in text and "2/(λ(1 + A/N))" in text
    assert record["practice"]["method"] == "DCSGD" and record["practice"]["low"] == record["practice"]["high"]


@pytest.mark.parametrize(
    ("replaced", "arguments", "words"),
    [
        (("Quartic", "Quartik"), [], ['"Quartik"', 'Did you mean "Quartic"']),
        (("x0 = 0.5, ", ""), [], ["[run]", '"x0"']),
        (("x0 = 0.5", "x0 = 0.0"), [], ["the gradient at x0 is 0"]),
        (("x0 = 0.5", "x0 = [1.0]"), [], ["x0 has shape (1,)"]),
        (SIGNS, [], ["fixed scale", "by hand"]),
        (HEAVY, [], ["df = 1", "df > 2"]),
        (("seed = 3", "seed = 3"), ["--epsilon", "1.5"], ["epsilon is 1.5"]),
        (("seed = 3", "seed = 3"), ["--L1", "0"], ["L1 > 0"]),
    ],
)
def test_refusals(write, refusal, replaced, arguments, words):
    said = refusal("limits", write(replaced), *arguments)
    assert [word for word in words if word not in said] == [], said


def test_a_missing_spec(refusal, tmp_path):
    assert "absent.toml" in refusal("limits", tmp_path / "absent.toml")


def test_help_has_an_example(said):
    assert "stablestep limits spec.toml --epsilon 0.9 --json" in said("limits", "--help")


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (np.inf, "no limit"), (0.123456, "0.1235"), (1.23456e-7, "1.235×10⁻⁷"), (2.0, "2")]
)
def test_steps_in_a_table(value, text):
    assert step(value) == text
