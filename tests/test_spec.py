"""Specs: what they describe is what Python code would, and what is wrong with one is said in one sentence."""

import re
from pathlib import Path

import numpy as np
import pytest

from stablestep import compressor, noise, problem, schedule
from stablestep.errors import InvalidInput
from stablestep.spec import ELSEWHERE, _classes, load

EXAMPLE = Path(__file__).parent.parent / "examples" / "dcsgd.toml"
LINES = {
    "problem": 'type = "Quartic"\ndim = 4',
    "[agents]": "count = 2",
    "schedule": 'type = "Constant"\neta = 0.1',
    "run": "steps = 3\nruns = 2\nx0 = 0.5",
}


@pytest.fixture
def write(tmp_path):
    """Write a spec in which some tables are replaced (or left out where None) and give its path."""

    def write(**changes):
        tables = LINES | {"[agents]" if name == "agents" else name: text for name, text in changes.items()}
        text = "\n".join(f"[{name}]\n{lines}" for name, lines in tables.items() if lines is not None)
        path = tmp_path / "spec.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def message(path):
    with pytest.raises(InvalidInput) as caught:
        load(path)
    return str(caught.value)


def test_the_example_is_what_its_comments_say():
    spec = load(EXAMPLE)
    (group,) = spec.setup.groups
    assert isinstance(spec.setup.problem, problem.Quartic)
    assert (spec.setup.count, spec.setup.dim, spec.schedule.eta) == (16, 1000, 0.1)
    assert (group.noise.sigma0, group.noise.sigma1, group.compressor.omega(1000)) == (0.0, 0.1, 7)
    assert spec.run == {"x0": 0.5, "steps": 60, "runs": 200, "seed": 0}


def test_the_commented_lines_of_the_example_are_valid(tmp_path):
    text = EXAMPLE.read_text(encoding="utf-8").replace("# [grid]", "[grid]").replace("# omega = [", "omega = [")
    (tmp_path / "grid.toml").write_text(text, encoding="utf-8")
    assert load(tmp_path / "grid.toml").run["grid"] == {"omega": [3, 7, 15]}


@pytest.mark.parametrize("module", [problem, noise, compressor, schedule])
def test_the_example_names_every_type(module):
    text = EXAMPLE.read_text(encoding="utf-8")
    assert [name for name in _classes(module) if not re.search(rf"\b{name}\b", text)] == []


def test_groups_may_differ(write):
    path = write(agents='count = 2\n[[agents]]\ncount = 1\nnoise = {type = "StudentT", df = 2.5}\nmask = "shared"')
    first, second = load(path).setup.groups
    assert (first.count, second.count) == (2, 1)
    assert (second.noise.df, second.mask) == (2.5, "shared")


def test_groups_may_have_problems_of_their_own(write):
    own = 'problem = {{ type = "Quadratic", matrix_or_eigenvalues = [{}, 2.0] }}'
    path = write(problem=None, agents=f"{own.format(1.0)}\n[[agents]]\n{own.format(3.0)}")
    np.testing.assert_allclose(load(path).setup.problem.gradient(np.ones(2)), [2.0, 2.0])


def test_data_come_from_files_beside_the_spec(write, tmp_path, seed):
    generator = np.random.default_rng(seed)
    features, labels = generator.normal(size=(6, 2)), generator.choice([-1.0, 1.0], size=6)
    np.save(tmp_path / "features.npy", features)
    np.savetxt(tmp_path / "labels.csv", labels, delimiter=",", fmt="%.17g")
    text = 'type = "Logistic"\nfeatures = "features.npy"\nlabels = "labels.csv"\nl2 = 0.1'
    read = load(write(problem=text, agents='noise = {type = "Minibatch", batch_size = 2}')).setup.problem
    made = problem.Logistic(features, labels, l2=0.1)
    x = generator.normal(size=2)
    np.testing.assert_allclose(read.value(x), made.value(x), rtol=1e-12)


def test_data_may_be_lists(write):
    text = 'type = "PhaseRetrieval"\na = [[1.0, 0.0], [0.0, 1.0]]\ny = [1, 4]'
    assert load(write(problem=text)).setup.dim == 2


def test_a_theorem_may_limit_the_step(write):
    described = load(write(schedule='type = "StepLimit"\nresult = "4.2"\neta = 0.1')).schedule
    assert (type(described), described.result) == (schedule.StepLimit, "4.2")


def test_what_the_run_leaves_out_is_left_to_simulate(write):
    assert load(write(run="steps = 3\nx0 = 1")).run == {"steps": 3, "x0": 1}


def test_without_a_run_neither_schedule_nor_steps_are_needed(write):
    path = write(schedule=None, run="x0 = 0.5\nseed = 4")
    described = load(path, to_run=False)
    assert (described.schedule, described.run) == (None, {"x0": 0.5, "seed": 4}) and described.setup.count == 2
    assert 'the spec lacks "schedule"; add it.' in message(path)
    assert '[run] lacks "steps"; add it.' in message(write(run="x0 = 0.5"))
    whole = load(write(), to_run=False)
    assert whole.schedule.eta == 0.1 and whole.run["steps"] == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run": "seed = 4"}, '[run] lacks "x0"'),
        ({"problem": None}, "no [problem]"),
        ({"schedule": 'type = "Konstant"\neta = 0.1'}, 'Did you mean "Constant"'),
        ({"run": 'x0 = 0.5\nsteps = "many"'}, "steps = 'many'"),
    ],
)
def test_without_a_run_the_rest_is_checked_all_the_same(write, changes, words):
    with pytest.raises(InvalidInput) as caught:
        load(write(**changes), to_run=False)
    assert words in str(caught.value)


def test_x0_may_be_a_vector(write, tmp_path):
    np.save(tmp_path / "start.npy", np.arange(4.0))
    assert np.array_equal(load(write(run="steps = 3\nx0 = [1, 2, 3, 4]")).run["x0"], [1, 2, 3, 4])
    assert np.array_equal(load(write(run='steps = 3\nx0 = "start.npy"')).run["x0"], [0, 1, 2, 3])


WRONG = {
    "unknown type": (
        {"problem": 'type = "Quartik"\ndim = 4'},
        ["[problem]", '"Quartik"', 'Did you mean "Quartic"?'],
    ),
    "unknown noise": (
        {"agents": 'noise = {type = "Gausian"}'},
        ["[[agents]] 1 noise", '"Gausian"', 'Did you mean "Gaussian"?'],
    ),
    "unknown compressor of the second group": (
        {"agents": 'count = 1\n[[agents]]\ncompressor = {type = "TopQ", k = 1}'},
        ["[[agents]] 2 compressor", '"TopQ"', '"TopK"'],
    ),
    "an abstract class": ({"agents": 'noise = {type = "Noise"}'}, ["unknown type", '"Noise"', "StudentT"]),
    "a private class": ({"agents": 'compressor = {type = "_Biased"}'}, ["unknown type", '"_Biased"']),
    "a class of another kind": ({"schedule": 'type = "Seen"\neta = 1'}, ["[schedule]", '"Seen"', "Constant"]),
    "unknown argument": ({"problem": 'type = "Quartic"\ndmi = 4'}, ["[problem]", '"dmi"', 'Did you mean "dim"?']),
    "argument of a type without any": (
        {"agents": 'compressor = {type = "Sign", omega = 2}'},
        ["[[agents]] 1 compressor", '"omega"', "no arguments"],
    ),
    "missing argument": ({"problem": 'type = "Quartic"'}, ["[problem]", '"dim"', "add dim"]),
    "missing type": ({"problem": "dim = 4"}, ["[problem]", '"type"']),
    "unknown key of a run": ({"run": "stepz = 3\nsteps = 3\nx0 = 1"}, ["[run]", '"stepz"', 'Did you mean "steps"?']),
    "unknown key of agents": ({"agents": "cuont = 3"}, ["[[agents]] 1", '"cuont"', 'Did you mean "count"?']),
    "unknown table": ({"schedul": "eta = 1"}, ['"schedul"', 'Did you mean "schedule"?']),
    "missing table": ({"schedule": None}, ['"schedule"']),
    "missing steps": ({"run": "x0 = 1"}, ["[run]", '"steps"']),
    "no agents": ({"agents": None}, ['"agents"']),
    "agents as one table": ({"agents": None, "problem": LINES["problem"] + "\n[agents]\ncount = 1"}, ["[[agents]]"]),
    "no problem anywhere": ({"problem": None}, ["no [problem]"]),
    "text for a number": ({"run": 'steps = "many"\nx0 = 1'}, ["[run]", "steps", "'many'"]),
    "a number for a table": ({"agents": "noise = 3"}, ["noise", "[[agents]] 1", "table"]),
    "a mask that does not exist": ({"agents": 'mask = "mine"'}, ["mask", "'mine'", "'own'"]),
    "text for x0": ({"run": "steps = 3\nx0 = true"}, ["x0", "True"]),
    "text in a grid": ({"grid": 'omega = ["a"]'}, ["[grid]", "omega"]),
    "negative omega": (
        {"agents": 'compressor = {type = "RandomSparsification", omega = -1}'},
        ["[[agents]] 1 compressor", "omega", "-1"],
    ),
    "negative deviation": ({"agents": 'noise = {type = "Gaussian", sigma0 = -0.5}'}, ["noise", "sigma0", "-0.5"]),
    "no degrees of freedom": ({"agents": 'noise = {type = "StudentT", df = 0}'}, ["noise", "df", "0"]),
    "k larger than d": ({"agents": 'compressor = {type = "RandK", k = 9}'}, ["k", "9", "4"]),
    "deviations of the wrong shape": (
        {"agents": 'noise = {type = "Gaussian", sigma0 = [1.0, 2.0]}'},
        ["sigma0", "2", "4"],
    ),
    "no agent in a group": ({"agents": "count = 0"}, ["[[agents]] 1", "count", "0"]),
    "text for a dimension": ({"problem": 'type = "Quartic"\ndim = "four"'}, ["[problem]", "dim", "four"]),
    "text for a deviation": ({"agents": 'noise = {type = "Gaussian", sigma0 = "a"}'}, ["noise", "sigma0", "a"]),
    "text for a step size": ({"schedule": 'type = "Constant"\neta = "a"'}, ["[schedule]", "eta", "a"]),
    "negative step size": ({"schedule": 'type = "Constant"\neta = -1'}, ["[schedule]", "eta", "-1"]),
    "a ragged list": (
        {"problem": 'type = "Quadratic"\nmatrix_or_eigenvalues = [[1.0], [1.0, 2.0]]'},
        ["[problem] matrix_or_eigenvalues", "[[1.0]"],
    ),
    "a file that is not there": (
        {"problem": 'type = "Logistic"\nfeatures = "a.npy"\nlabels = [1]'},
        ["[problem] features", "a.npy", "cannot be read"],
    ),
}


@pytest.mark.parametrize(("changes", "words"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_in_one_sentence(write, changes, words):
    said = message(write(**changes))
    assert [word for word in words if word not in said] == [], said
    assert str(write()) in said
    assert "\n" not in said
    assert "pydantic" not in said
    assert len(said) < 400


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_a_table_cannot_say_is_pointed_out(write, name):
    table = "problem" if hasattr(problem, name) else "schedule"
    said = message(write(**{table: f'type = "{name}"\neta = 1'}))
    assert f'a spec cannot hold "{name}"' in said
    assert ELSEWHERE[name] in said


def test_arrays_with_objects_are_not_loaded(write, tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "does not hold an array" in message(write(problem='type = "Logistic"\nfeatures = "a.npy"\nlabels = [1]'))
    (tmp_path / "a.csv").write_text("1,2\n3,x\n")
    assert "does not hold an array" in message(write(problem='type = "Logistic"\nfeatures = "a.csv"\nlabels = [1]'))


def test_files_that_are_no_specs(write, tmp_path):
    assert "not valid TOML" in message(write(problem="type = "))
    assert "No such file" in message(tmp_path / "absent.toml")
    assert "directory" in message(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in message(tmp_path / "binary.toml")
