"""Specs: what they describe is what Python code would, and what is wrong with one is said in one sentence."""

import re
import typing
from pathlib import Path

import numpy as np
import pytest

from stablestep import compressor, problem, schedule, server
from stablestep.errors import InvalidInput
from stablestep.simulate import simulate
from stablestep.spec import ELSEWHERE, MODULES, _classes, load

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
    text = re.sub(r"^# (\[\w+\]$|\w+(\.\w+)* = )", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.M)
    (tmp_path / "all.toml").write_text(text, encoding="utf-8")
    described = load(tmp_path / "all.toml")
    assert described.run["grid"] == {"omega": [3, 7, 15], "schedule.eta": [0.05, 0.1]}
    assert described.setup.server == server.HeavyBall(beta=0.9)


@pytest.mark.parametrize("module", MODULES)
def test_the_example_names_every_type(module):
    text = EXAMPLE.read_text(encoding="utf-8")
    missing = [name for name in _classes(module) if not re.search(rf"\b{name}\b", text)]
    assert not missing, f"not named in the comments of examples/dcsgd.toml: {', '.join(missing)}"


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


WHOLE = {
    "grid = 3": '"grid" in the spec must be a table, such as { omega = [1, 8] }; it is 3.',
    "grid = { omega = 3 }": "omega = 3 in [grid]: it must be a list, such as [1, 8].",
    "grid = { omega = ['a'] }": "omega = 'a' in [grid]: every value must be a number.",
    "run = 3": '"run" in the spec must be a table, such as { x0 = 0.5, steps = 100 }; it is 3.',
    "run = { x0 = true }": "x0 = True in [run]: it must be a number.",
    "run = { x0 = 0.5, steps = 'a' }": "steps = 'a' in [run]: it must be a whole number.",
    "run = { x0 = 0.5, final = 1 }": "final = 1 in [run]: it must be true or false.",
    "agents = []": "agents = [] in the spec: there must be at least one group; write [[agents]], and count = ... below it.",
    "agents = [3]": "[[agents]] 1 must be a table, such as { count = 4 }; it is 3.",
    "agents = [{ noise = 3 }]": '"noise" in [[agents]] 1 must be a table, such as { type = "..." }; it is 3.',
}


@pytest.mark.parametrize(("line", "words"), WHOLE.items())
def test_what_is_no_table_or_of_the_wrong_kind_is_said_in_the_house_s_words(tmp_path, line, words):
    key = line.partition(" ")[0]
    lines = {
        "problem": 'problem = { type = "Quartic", dim = 3 }',
        "agents": "agents = [{ count = 2 }]",
        "run": "run = { x0 = 0.5 }",
    }
    (path := tmp_path / "spec.toml").write_text("\n".join((lines | {key: line}).values()), encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        load(path, to_run=False)
    assert str(caught.value) == f"{path}: {words}"


NESTED = {
    "a wrapper": (
        'compressor = { type = "ErrorFeedback", inner = { type = "TopK", k = 1 } }',
        compressor.ErrorFeedback(compressor.TopK(k=1)),
    ),
    "wrappers in a wrapper": (
        'compressor = { type = "Momentum", beta = 0.9, inner = { type = "EF21", warm = true, inner = '
        '{ type = "LocalClip", threshold = 2, inner = { type = "RandK", k = 2, scaled = false } } } }',
        compressor.Momentum(
            compressor.EF21(compressor.LocalClip(compressor.RandK(k=2, scaled=False), threshold=2), warm=True), beta=0.9
        ),
    ),
}


@pytest.mark.parametrize(("text", "made"), NESTED.values(), ids=NESTED)
def test_a_part_may_hold_parts_at_any_depth(write, text, made):
    (group,) = load(write(agents=text)).setup.groups
    assert group.compressor == made


def test_a_schedule_may_hold_a_schedule_and_there_may_be_a_server(write):
    described = load(
        write(
            schedule='type = "Normalized"\nschedule = { type = "Polynomial", eta = 0.05, power = 0.5 }',
            server='type = "HeavyBall"\nbeta = 0.5\nnesterov = true',
        )
    )
    assert described.schedule == schedule.Normalized(schedule.Polynomial(0.05, 0.5))
    assert described.setup.server == server.HeavyBall(0.5, nesterov=True)
    assert load(write()).setup.server == server.Plain()


@pytest.mark.parametrize("kind", [kind for module in MODULES for kind in _classes(module).values()])
def test_the_annotations_of_every_class_can_be_read(kind):
    """They say which arguments are parts."""
    assert "inner" not in kind.__annotations__ or typing.get_type_hints(kind)["inner"] is compressor.Compressor


GROUPS = """count = 2
compressor = { type = "ErrorFeedback", inner = { type = "RandomSparsification", omega = 3, scaled = false } }
[[agents]]
compressor = { type = "RandomSparsification", omega = 7 }"""


@pytest.mark.parametrize(
    "key", ["agents.2.omega", "agents.all.omega", "agents.1.count", "server.beta", "problem.dim", "schedule.eta"]
)
def test_a_grid_of_paths(write, key):
    """With quotes and without them, and what comes out has them as its dimensions."""
    values = [1, 3] if key.endswith(("omega", "count", "dim")) else [0.25, 0.5]
    changes = {"agents": GROUPS, "server": 'type = "HeavyBall"\nbeta = 0.5'}
    plain, quoted = (load(write(grid=f"{name} = {values}", **changes)) for name in (key, f'"{key}"'))
    assert plain.run == quoted.run and plain.run["grid"] == {key: values}
    found = simulate(plain.setup, schedule=plain.schedule, **plain.run)
    assert found[key].values.tolist() == values


def test_a_grid_of_several_paths(write):
    path = write(agents=GROUPS, grid='agents.1.omega = [1]\nagents.2.omega = [2, 3]\n"schedule.eta" = [0.1]')
    assert load(path).run["grid"] == {"agents.1.omega": [1], "agents.2.omega": [2, 3], "schedule.eta": [0.1]}


def test_a_mark_before_the_first_letter_is_not_read(write, tmp_path):
    path = write(problem='type = "Quadratic"\nmatrix_or_eigenvalues = "a.csv"')
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf1.0,2.0\r\n")
    assert load(path).setup.problem == problem.Quadratic([1.0, 2.0])


def test_labels_may_be_yes_and_no(write):
    text = 'type = "Logistic"\nfeatures = [[1.0], [2.0]]\nlabels = [true, false]'
    assert load(write(problem=text)).setup.problem == problem.Logistic([[1.0], [2.0]], [1, -1])


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
    "a table where no part belongs": (
        {"problem": 'type = "Quartic"\ndim = { type = "Quartic" }'},
        ["[problem]: dim of Quartic is a table", "give a value"],
    ),
    "a table of what a spec cannot hold": (
        {"schedule": 'type = "StepLimit"\nresult = "4.2"\neta = 0.1\nconstants = { L0 = 1 }'},
        ["[schedule]: constants of StepLimit is a table"],
    ),
    "a table among numbers": (
        {"problem": 'type = "Quadratic"\nmatrix_or_eigenvalues = [{ a = 1 }]'},
        ["[problem] matrix_or_eigenvalues", "numbers"],
    ),
    "a part without a type": (
        {"agents": 'compressor = { type = "EF21", inner = { k = 1 } }'},
        ["[[agents]] 1 compressor inner lacks", '"type"'],
    ),
    "a type that is no text": ({"problem": "type = 3"}, ["type = 3 in [problem]", "text"]),
    "an unknown part inside": (
        {"agents": 'compressor = { type = "EF21", inner = { type = "TopQ", k = 1 } }'},
        ["[[agents]] 1 compressor inner", '"TopQ"', 'Did you mean "TopK"?'],
    ),
    "a wrong argument inside": (
        {"agents": 'compressor = { type = "EF21", inner = { type = "TopK", k = 0 } }'},
        ["[[agents]] 1 compressor inner", "k is 0"],
    ),
    "a part of another kind inside": (
        {"agents": 'compressor = { type = "EF21", inner = { type = "Gaussian" } }'},
        ["[[agents]] 1 compressor inner", '"Gaussian"', "TopK"],
    ),
    "a number for a part": (
        {"agents": 'compressor = { type = "EF21", inner = 3 }'},
        ["[[agents]] 1 compressor", "inner is 3", "Compressor"],
    ),
    "a function inside": (
        {"schedule": 'type = "Normalized"\nschedule = { type = "Custom", eta = 1 }'},
        ["[schedule] schedule", "Custom", "Python code"],
    ),
    "normalized twice": (
        {
            "schedule": 'type = "Normalized"\nschedule = { type = "Normalized", schedule = { type = "Constant", eta = 1 } }'
        },
        ["[schedule]", "normalized already"],
    ),
    "an unknown server": ({"server": 'type = "HeavyBal"'}, ["[server]", 'Did you mean "HeavyBall"?']),
    "a server of votes without signs": ({"server": 'type = "Majority"'}, ["Majority votes on signs"]),
    "no momentum": ({"server": 'type = "HeavyBall"\nbeta = 1'}, ["[server]", "beta is 1"]),
    "a grid of tables": ({"grid": 'agents.all.omega = "many"'}, ["[grid]", "agents.all.omega", "'many'"]),
    "a path twice": ({"grid": 'schedule.eta = [1]\n"schedule.eta" = [2]'}, ['"schedule.eta" stands twice in [grid]']),
    "texts for numbers": (
        {"problem": 'type = "Quadratic"\nmatrix_or_eigenvalues = ["1", "4"]'},
        ["[problem] matrix_or_eigenvalues", "['1', '4']", "numbers"],
    ),
    "yes and no for numbers": (
        {"problem": 'type = "Quadratic"\nmatrix_or_eigenvalues = [true, true]'},
        ["[problem]", "the matrix is", "True"],
    ),
    "a text for a deviation, though it is a number": (
        {"agents": 'noise = { type = "Gaussian", sigma0 = "1.5" }'},
        ["[[agents]] 1 noise", 'sigma0 is "1.5"'],
    ),
    "yes for a deviation": ({"agents": 'noise = { type = "Gaussian", sigma0 = true }'}, ["sigma0 is True"]),
    "a text for a switch": (
        {"server": 'type = "HeavyBall"\nbeta = 0.9\nnesterov = "no"'},
        ['nesterov is "no"', "True or False"],
    ),
    "a number for a switch": (
        {"agents": 'compressor = { type = "EF21", warm = 0, inner = { type = "TopK", k = 1 } }'},
        ["warm is 0", "True or False"],
    ),
    "a number beyond floats": (
        {"schedule": f'type = "Constant"\neta = 1{"0" * 400}'},
        ["[schedule]", "eta is 1000", "finite"],
    ),
    "a number of thousands of digits": ({"run": f"x0 = 1\nsteps = 1{'0' * 5000}"}, ["not valid TOML", "digits"]),
    "a negative seed": ({"run": "x0 = 1\nsteps = 3\nseed = -1"}, ["[run] seed is -1", "at least 0"]),
    "a seed beyond 64 bits": ({"run": f"x0 = 1\nsteps = 3\nseed = {2**64}"}, ["[run] seed is", "below 2**64"]),
    "a fractional seed": ({"run": "x0 = 1\nsteps = 3\nseed = 1.5"}, ["seed = 1.5 in [run]", "whole number"]),
    "an endless nest": ({"run": f"x0 = {'[' * 3000}"}, ["too deep"]),
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


# Every argument of every class that must be a whole number.
WHOLE = {
    "dim": [{"problem": f'type = "{name}"\ndim = {{}}'} for name in ("Quartic", "Cosh", "DoubleWell", "EvenPower")],
    "power": [{"problem": 'type = "EvenPower"\ndim = 4\npower = {}'}],
    "k": [{"agents": f'compressor = {{{{ type = "{name}", k = {{}} }}}}'} for name in ("TopK", "RandK")],
    "block": [
        {"agents": 'compressor = {{ type = "RandK", fraction = 0.5, block = {} }}'},
        {"agents": 'compressor = {{ type = "Blockwise", block = {} }}'},
    ],
    "bits": [{"agents": 'compressor = {{ type = "Blockwise", bits = {} }}'}],
    "levels": [{"agents": 'compressor = {{ type = "QSGD", levels = {} }}'}],
    "rank": [{"agents": 'compressor = {{ type = "LowRank", rank = {} }}'}],
    "batch_size": [{"agents": 'noise = {{ type = "Minibatch", batch_size = {} }}'}],
    "count": [{"agents": "count = {}"}],
}
NO_WHOLE = ["inf", "-inf", "nan", "0", "-3", "2.5", '"4"', "true", "[4]", "9223372036854775807", f"1{'0' * 400}"]


@pytest.mark.parametrize("value", NO_WHOLE, ids=[value[:20] for value in NO_WHOLE])
def test_what_must_be_a_whole_number_is_refused_otherwise(write, value):
    for name, tables in WHOLE.items():
        for changes in tables:
            more = "\npower = 4" if "EvenPower" in changes.get("problem", "") and name == "dim" else ""
            said = message(write(**{table: text.format(value) + more for table, text in changes.items()}))
            assert f"{name} is " in said or f"{name} = " in said, said
            assert "cannot be made of" not in said and "\n" not in said and len(said) < 400


def argument(kind, field):
    """The constructor's name for what is kept in a field."""
    return {stored: name for name, stored in getattr(kind, "stored", {}).items()}.get(field, field)


def test_every_whole_number_of_a_class_is_among_them():
    kinds = [kind for module in MODULES for kind in _classes(module).values()]
    hints = [(argument(kind, name), hint) for kind in kinds for name, hint in typing.get_type_hints(kind).items()]
    assert {name for name, hint in hints if hint in (int, int | None)} == WHOLE.keys() - {"count"}


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


@pytest.mark.parametrize("name", ["a.npy", "a.csv"])
def test_files_without_an_array_are_no_arrays(write, tmp_path, name, recwarn):
    for content in (b"", b"\x93NUMPY", b"PK\x03\x04"):
        (tmp_path / name).write_bytes(content)
        assert "does not hold an array" in message(write(run=f'steps = 1\nx0 = "{name}"'))
    np.savez(tmp_path / "b.npz", a=np.ones(4))
    (tmp_path / "b.npz").rename(tmp_path / "a.npy")
    assert "does not hold an array" in message(write(run='steps = 1\nx0 = "a.npy"'))
    assert not recwarn.list


def test_files_that_are_no_specs(write, tmp_path):
    assert "not valid TOML" in message(write(problem="type = "))
    assert "No such file" in message(tmp_path / "absent.toml")
    assert "directory" in message(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in message(tmp_path / "binary.toml")
