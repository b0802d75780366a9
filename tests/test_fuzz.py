"""Random specs, from valid ones with up to three changes: load, advise and a tiny run either work or refuse in one sentence.

STABLESTEP_FUZZ=100000 makes so many; STABLESTEP_TEST_SEED makes other ones. They come in two parts, for two cores. A spec whose parts
nobody combined before is compiled, which takes a second, so only so many kinds are run; others of the same kind take milliseconds.
"""

import copy
import os
import tomllib
import warnings
from collections import Counter

import jax
import numpy as np
import pytest

from conftest import SUITE_SEED
from stablestep import compressor, noise, problem, schedule
from stablestep.errors import InvalidInput
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate
from stablestep.spec import MODULES, load
from stablestep.stability import advise

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

PARTS = 2
EXAMPLES = int(os.environ.get("STABLESTEP_FUZZ", "10000")) // PARTS
COMPILED = max(6, EXAMPLES // 1000)  # kinds that are run
COUNTS = Counter()

PROBLEMS = [
    {"type": "Quartic", "dim": 3},
    {"type": "EvenPower", "dim": 3, "power": 6},
    {"type": "Cosh", "dim": 3, "a": 2.0},
    {"type": "DoubleWell", "dim": 3, "b": 1.5},
    {"type": "Quadratic", "matrix_or_eigenvalues": [1.0, 2.0, 4.0]},
    {"type": "Quadratic", "matrix_or_eigenvalues": [[2.0, 0.5], [0.5, 1.0]]},
    {"type": "Logistic", "features": [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], "labels": [1.0, -1.0, 1.0], "l2": 0.1},
    {"type": "PhaseRetrieval", "a": [[1.0, 0.0], [0.5, 1.0]], "y": [1.0, 2.0]},
]
NOISES = [
    {"type": "Gaussian"},
    {"type": "Gaussian", "sigma0": 0.5, "sigma1": 0.1},
    {"type": "StudentT", "df": 5.0, "scale": 0.3},
    {"type": "StudentT", "df": 1.0, "coordinates": "multivariate"},
    {"type": "Minibatch", "batch_size": 2},
]
LEAVES = [
    {"type": "Identity"},
    {"type": "Sign"},
    {"type": "ScaledSign"},
    {"type": "TernGrad"},
    {"type": "NaturalCompression"},
    {"type": "TopK", "k": 1},
    {"type": "RandK", "k": 2},
    {"type": "RandK", "fraction": 0.5, "scaled": False},
    {"type": "RandomSparsification", "omega": 3.0},
    {"type": "QSGD", "levels": 2},
]
WRAPPERS = [
    {"type": "EF21"},
    {"type": "ErrorFeedback", "step": "outside"},
    {"type": "Momentum", "beta": 0.9},
    {"type": "LocalClip", "threshold": 1.0},
]
SCHEDULES = [
    {"type": "Constant", "eta": 0.1},
    {"type": "Polynomial", "eta": 0.1, "power": 0.5},
    {"type": "LocalNorms", "eta0": 0.1},
    {"type": "Clip", "eta": 0.1, "threshold": 1.0},
    {"type": "StepLimit", "result": "4.2", "eta": 0.1},
    {"type": "Normalized", "schedule": {"type": "Constant", "eta": 0.1}},
]
SERVERS = [
    {"type": "Plain"},
    {"type": "HeavyBall", "beta": 0.9},
    {"type": "HeavyBall", "beta": 0.5, "nesterov": True},
    {"type": "Majority"},
]
WHOLE = [0, 1, 2, -1, 3, 17, 2**31, 2**63 - 1, 10**30, 10**400]
REAL = [0.0, -0.0, 0.5, 1.0, -1.0, 1e-300, 1e300, 5e-324, float("inf"), float("-inf"), float("nan")]
LISTS = [[], [1.0], [0.0, 1.0, 2.0], [[1.0, 2.0], [3.0]], [True], ["a"], [float("nan")], [{}]]
WORDS = [
    "",
    "a",
    "none.npy",
    "../x.csv",
    "ω",
    "x" * 300,
    "own",
    "shared",
    "common",
    "independent",
    "4.1",
    "corrected",
    "float64",
]
ODD = [*WHOLE, *REAL, *LISTS, *WORDS, True, False, {}, {"type": "Quartic"}, {"type": "Sign"}, {"type": 3}]
NAMES = ["typ", "Omega", "dim", "k", "seed", "record", "sampling", "radius", "final", "dtype", "mask"]


@st.composite
def specs(draw):
    """A spec that is likely to be valid, with up to three changes."""
    pick = lambda options: copy.deepcopy(draw(st.sampled_from(options)))  # noqa: E731
    agents = []
    for _ in range(draw(st.integers(1, 2))):
        compressor = pick(LEAVES)
        if draw(st.integers(0, 3)) == 0:
            compressor = pick(WRAPPERS) | {"inner": compressor}
        group = {"count": draw(st.integers(1, 4)), "noise": pick(NOISES[:4]), "compressor": compressor}
        agents.append(group if draw(st.booleans()) else {"count": 2})
    found = {
        "problem": pick(PROBLEMS),
        "agents": agents,
        "schedule": pick(SCHEDULES),
        "run": {"x0": 0.5, "steps": 2, "runs": 2},
    }
    if draw(st.integers(0, 4)) == 0:
        found["server"] = pick(SERVERS)
    for _ in range(draw(st.sampled_from([0, 1, 1, 2, 3]))):
        change(draw, found)
    return found


def change(draw, found):
    """Put something in the place of a value, leave one out, or add one."""
    table, key = draw(st.sampled_from(list(places(found))))
    kind = draw(st.sampled_from(["odd", "odd", "close", "drop", "rename", "swap"]))
    value = table[key]
    if kind == "close" and isinstance(value, int | float) and not isinstance(value, bool):
        factor = draw(st.sampled_from([2, 0.5, 1.5, 10, -1]))
        table[key] = value * (factor if abs(value) < 1e300 else 2)  # of an int beyond all floats
    elif kind == "swap":
        table[key] = copy.deepcopy(draw(st.sampled_from(PROBLEMS + NOISES + LEAVES + SCHEDULES + SERVERS)))
    elif kind == "drop":
        del table[key]
    elif kind == "rename" and isinstance(table, dict):
        table[draw(st.sampled_from(NAMES))] = value
    else:
        table[key] = copy.deepcopy(draw(st.sampled_from(ODD)))


def places(value):
    """Every place in nested tables and lists that holds something; the table of all itself is spared."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(inner):
        yield value, key
        yield from places(part)


def toml(value):
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {toml(inner)}' for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool | float) else str(value)


@pytest.fixture
def quickly_compiled():
    """What is run three steps need not be quick."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "spec.toml"


def one_sentence(error):
    """What every refusal is."""
    words = str(error)
    assert words and "\n" not in words and len(words) < 1500, words


def attempt(name, call):
    """What a call gives; None where it refuses."""
    try:
        found = call()
    except InvalidInput as error:
        one_sentence(error)
        COUNTS[f"{name} refused"] += 1
        return None
    COUNTS[name] += 1
    return found


def run(spec, kinds):
    """A tiny run, if specs of this kind are compiled already, or there is room for one more."""
    options = {**spec.run, "steps": min(spec.run["steps"], 3), "runs": min(spec.run.get("runs", 2), 3)}
    leaves, tree = jax.tree.flatten((spec.setup, spec.schedule))
    kind = (
        str(tree),
        tuple(np.shape(leaf) for leaf in leaves),
        str({k: v for k, v in options.items() if k not in ("seed", "x0")}),
    )
    if kind not in kinds and len(kinds) >= COMPILED:
        return
    kinds.add(kind)
    attempt("run", lambda: simulate(spec.setup, schedule=spec.schedule, **options))


@pytest.mark.timeout(max(300, EXAMPLES // 20))
@pytest.mark.parametrize("part", range(PARTS))
def test_random_specs(part, path, quickly_compiled):
    kinds = set()

    @hypothesis.seed(SUITE_SEED + part)
    @hypothesis.settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(specs())
    def check(found):
        text = "\n".join(f"{key} = {toml(value)}" for key, value in found.items())
        tomllib.loads(text)  # our own writer is right
        path.write_text(text, encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # no warning that a user cannot act on: so far there is none that he can
            spec = attempt("load", lambda: load(path))
            if spec is not None:
                attempt("advise", lambda: advise(spec.setup, x0=spec.run["x0"], seed=spec.run.get("seed", 0)))
                run(spec, kinds)

    COUNTS.clear()
    check()
    print(dict(COUNTS))
    assert COUNTS["load"] > EXAMPLES / 4 and COUNTS["load refused"] > EXAMPLES / 5 and COUNTS["run"] >= 4, COUNTS


HUGE = [10**400, -(10**400), 10**5000]  # the last one Python does not even write


@pytest.mark.parametrize("table", PROBLEMS + NOISES + LEAVES + WRAPPERS + SCHEDULES[:-1] + SERVERS, ids=str)
@pytest.mark.parametrize("huge", HUGE, ids=["large", "small", "unwritten"])
def test_numbers_that_no_float_holds_in_parts(table, huge):
    """In Python, where no reader of a file stands before the parts."""
    kind = next(getattr(module, table["type"]) for module in MODULES if hasattr(module, table["type"]))
    given = {name: value for name, value in table.items() if name != "type"}
    if table in WRAPPERS:
        given["inner"] = compressor.Sign()
    for name, value in given.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            with pytest.raises(InvalidInput) as caught:
                kind(**{**given, name: huge})
            one_sentence(caught.value)


@pytest.mark.parametrize("name", ["x0", "steps", "runs", "seed", "radius", "record"])
@pytest.mark.parametrize("huge", HUGE, ids=["large", "small", "unwritten"])
def test_numbers_that_no_float_holds_in_a_run(name, huge):
    setup = Setup(problem.Quartic(dim=2), Agents(2, noise.Gaussian()))
    with pytest.raises(InvalidInput) as caught:
        simulate(setup, schedule=schedule.Constant(0.1), **{"x0": 1.0, "steps": 2, "runs": 2, name: huge})
    one_sentence(caught.value)
    if name in ("x0", "seed"):
        with pytest.raises(InvalidInput):
            advise(setup, **{"x0": 1.0, name: huge})
