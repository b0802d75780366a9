"""Sweeps: what the function gives at every point, kept, never computed twice, and the same on every executor."""

import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import stablestep as ss
from stablestep import problem, schedule
from stablestep.errors import InvalidInput
from stablestep.setup import Setup
from stablestep.sweep import NotFinished
from stablestep.vary import vary
from tests.sweep.work import GRID, SETUP, broken, logged, numbers, picky, worker


def at(**point):
    setup = SETUP
    for name, value in point.items():
        setup = vary(setup, name, value)
    return setup


def assert_same(one, other):
    """Bit for bit."""
    xr.testing.assert_identical(one.load(), other.load())


def test_every_point_is_what_the_function_gives(tmp_path):
    found = ss.sweep(numbers, SETUP, GRID, store=tmp_path, factor=0.5)
    assert found.product.dims == ("omega", "count") and found["count.half"].dtype == np.int64
    for omega in GRID["omega"]:
        for count in GRID["count"]:
            expected = numbers(at(omega=omega, count=count), 0.5)
            point = found.sel(omega=omega, count=count)
            assert {name: point[name].item() for name in expected} == expected
    assert (
        found.attrs["function"] == "numbers"
        and found.attrs["argument_factor"] == "0.5"
        and found.attrs["finished"] == 12
    )


@pytest.mark.parametrize(
    ("function", "grid", "options"),
    [
        (ss.stability.critical_step, {"omega": [1.0, 5.0], "method": ["moments", "theorem"]}, {"x0": 1.0}),
        (ss.message.moments, {"eta": [0.1, 0.3], "omega": [1.0, 5.0]}, {"x0": 1.0, "steps": 5}),
        (ss.simulate, {"schedule.power": [0.0, 0.5], "count": [1, 2]}, {"schedule": schedule.Polynomial(0.1, 0.0), "x0": 1.0, "steps": 5}),
    ],
)  # fmt: skip
def test_the_library_s_own_functions(function, grid, options):
    found = ss.sweep(function, SETUP, grid, store=None, **options).load()
    (first, ones), (second, others) = grid.items()
    for one in ones:
        for other in others:
            point = found.sel({first: one, second: other})
            setup, arguments = SETUP, dict(options)
            for name, value in ((first, one), (second, other)):
                if name in ("eta", "method"):
                    arguments[name] = value
                elif name == "schedule.power":
                    arguments["schedule"] = schedule.Polynomial(0.1, value)
                else:
                    setup = vary(setup, name, value)
            alone = function(setup, **arguments)
            for name in ("step", "low", "loss", "loss_mean", "loss_quantile", "divergence_time"):
                if hasattr(alone, name):
                    np.testing.assert_array_equal(point[name], getattr(alone, name))


def test_advice_has_its_limit():
    found = ss.sweep(ss.stability.advise, SETUP, {"count": [1, 4]}, store=None, x0=1.0)
    for count in (1, 4):
        advice = ss.stability.advise(at(count=count), x0=1.0)
        assert found.limit.sel(count=count) == advice.limit and found.verdict.sel(count=count) == advice.verdict
        assert found["practice.low"].sel(count=count) == advice.practice.low


def test_a_list_of_points(tmp_path):
    points = [{"omega": 1.0, "agents.1.count": 2}, {"agents.1.count": 3, "omega": 4.0}]
    found = ss.sweep(numbers, SETUP, points, store=tmp_path)
    assert found["product"].dims == ("point",) and found["product"].values.tolist() == [2.0, 12.0]
    assert found["agents.1.count"].values.tolist() == [2, 3]


def test_parts_may_vary(tmp_path):
    noises = [ss.noise.Gaussian(sigma0=1.0), ss.noise.StudentT(5.0, 1.0)]
    found = ss.sweep(lambda setup: setup.groups[0].noise.affine_variance(2), SETUP, {"noise": noises}, store=tmp_path)
    np.testing.assert_allclose(found.value, [[1.0, 0.0], [5 / 3, 0.0]])
    assert found.noise.values.tolist()[0].startswith("Gaussian(")


@dataclass(frozen=True)
class Answer:
    edge: float
    words: list
    missing: float | None = None

    @property
    def half(self):
        return self.edge / 2

    @property
    def refused(self):
        raise InvalidInput("not here.")


RETURNED = [
    (lambda setup: 2.0, {"value": 2.0}),
    (lambda setup: np.int64(2**40), {"value": 2**40}),
    (lambda setup: np.arange(3), {"value": [0, 1, 2]}),
    (lambda setup: jnp.float32(0.1), {"value": np.float32(0.1)}),
    (lambda setup: True, {"value": True}),
    (lambda setup: "", {"value": ""}),
    (lambda setup: {"a": {"b": 1, "c/d": "η"}}, {"a.b": 1, "a.c/d": "η"}),
    (lambda setup: {"inf": np.inf, "list": [1, 2.5]}, {"inf": np.inf, "list": [1, 2.5]}),
    (lambda setup: Answer(3.0, ["a", None]), {"edge": 3.0, "words": '["a", null]', "half": 1.5}),
    (lambda setup: xr.DataArray([1.0], {"t": [7]}, name="x"), {"x": [1.0], "t": [7]}),
]


@pytest.mark.parametrize(("function", "expected"), RETURNED)
def test_what_a_function_may_return(function, expected):
    found = ss.sweep(function, SETUP, {"count": [1]}, store=None).isel(count=0)
    assert {str(name): found[name.replace("/", "_")].values.tolist() for name in expected} == {
        name: np.asarray(value).tolist() for name, value in expected.items()
    }
    assert set(found.data_vars) | {"t", "count"} >= {name.replace("/", "_") for name in expected}


@pytest.mark.parametrize(
    "function",
    [
        lambda setup: None,
        lambda setup: object(),
        lambda setup: [object()],
        lambda setup: {1: 2.0},
        lambda setup: 1j,
        lambda setup: xr.Dataset({"when": np.datetime64("2020-01-01")}),
    ],
)
def test_what_it_may_not_return(function):
    with pytest.raises(NotFinished, match=r"TypeError: (the function returned|.* holds) .*; 0 of 1 are kept"):
        ss.sweep(function, SETUP, {"count": [1]}, store=None)


def test_nothing_is_computed_twice(tmp_path):
    def swept(grid):
        return ss.sweep(logged, SETUP, grid, store=tmp_path / "store", folder=str(tmp_path)).load()

    def calls():
        return sorted(int(path.name.split("-")[1]) for path in tmp_path.glob("call-*"))

    first = swept({"count": [1, 2, 3]})
    assert calls() == [1, 2, 3]
    assert_same(swept({"count": [1, 2, 3]}), first)
    larger = swept({"agents.1.count": [2, 4, 4]})
    assert calls() == [1, 2, 3, 4] and larger.value.values.tolist() == [2.0, 4.0, 4.0]


def test_an_edited_function_is_another_one(tmp_path):
    ss.sweep(lambda setup: 1.0, SETUP, {"count": [1]}, store=tmp_path)
    with pytest.raises(InvalidInput, match=r"was made with code .*give another folder"):
        ss.sweep(lambda setup: 2.0, SETUP, {"count": [1]}, store=tmp_path)


EXECUTORS = {
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ss.sweep.processes(2),
    "spawned": lambda: ProcessPoolExecutor(1, get_context("spawn")),
}


@pytest.mark.parametrize("kind", EXECUTORS)
def test_every_executor_gives_the_same(kind, tmp_path, seed):
    setup = Setup(problem.Function(lambda x: jnp.sum(x**4) / 4, dim=3), *SETUP.groups)
    grid = {"omega": [1.0, 3.0, 19.0]}
    options = {"x0": 1.0, "steps": 3, "runs": 4, "seed": seed, "schedule": schedule.Constant(0.1)}
    with EXECUTORS[kind]() as executor:
        found = ss.sweep(ss.simulate, setup, grid, store=tmp_path, executor=executor, **options)
    assert_same(found, ss.sweep(ss.simulate, setup, grid, store=None, **options))


def test_processes_are_others_and_share_the_work():
    with ss.sweep.processes(2) as executor:
        found = ss.sweep(worker, SETUP, {"sigma1": np.linspace(0, 1, 40)}, store=None, executor=executor)
        there = set(executor._processes or ())
    assert set(found.value.values.tolist()) <= there


def test_what_is_refused_is_kept_in_words(tmp_path):
    found = ss.sweep(picky, SETUP, {"count": [1, 4, 2]}, store=tmp_path)
    assert found.value.values.tolist()[::2] == [1.0, 2.0] and np.isnan(found.value[1])
    assert found.failure.values.tolist() == ["", "four is too many; use fewer.", ""]
    assert_same(ss.sweep.load(tmp_path), found)


def test_what_fails_stops_nothing_else_and_is_not_kept(tmp_path):
    with pytest.raises(
        NotFinished, match=r"1 points failed, the first \(count = 4\) with ZeroDivisionError.*3 of 4 are kept"
    ) as caught:
        ss.sweep(broken, SETUP, {"count": [1, 2, 4, 5]}, store=tmp_path)
    assert "\n" not in str(caught.value)
    found = ss.sweep.load(tmp_path)
    np.testing.assert_array_equal(found.value, [-1 / 3, -1 / 2, np.nan, 1.0])
    assert found.attrs["finished"] == 3 and "failure" not in found


def test_a_function_that_always_fails_is_given_up():
    with pytest.raises(NotFinished, match="10 points failed"):
        ss.sweep(lambda setup: 1 / 0, SETUP, {"sigma1": np.linspace(0, 1, 1000)}, store=None)


def test_progress():
    told = []
    ss.sweep(numbers, SETUP, GRID, store=None, progress=told.append)
    assert told[0] == 0.0 and told[-1] == 1.0 and told == sorted(told) and len(told) == 13


def test_plan(tmp_path):
    ss.sweep(numbers, SETUP, {"omega": [0.0], "count": [1, 4]}, store=tmp_path)
    before = sorted(tmp_path.rglob("*"))
    plan = ss.sweep.plan(numbers, SETUP, GRID, store=tmp_path)
    assert (
        (plan.points, plan.finished) == (12, 2)
        and plan.size > 100
        and plan.memory > 1e7
        and plan.hours() > plan.hours(4) > 0
    )
    assert sorted(tmp_path.rglob("*")) == before
    assert ss.sweep.plan(numbers, SETUP, GRID, store=tmp_path / "new").finished == 0 and not (tmp_path / "new").exists()


def closed():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    return executor


BAD = [
    ({"grid": {"omga": [1.0]}}, 'a parameter "omga".*Did you mean "omega"'),
    ({"grid": {"omega": 1.0}}, "must map names of parameters to lists"),
    ({"grid": {"omega": []}}, 'no values of "omega"'),
    ({"grid": {"omega": [1.0, -1.0]}}, "omega is -1"),
    ({"grid": {"factor": [1.0]}, "factor": 2.0}, '"factor" is given twice'),
    ({"grid": []}, "there are no points"),
    ({"grid": 3}, "the points are 3"),
    ({"grid": [{"omega": 1.0}, {"count": 1}]}, "must all name the same"),
    ({"facto": 1.0}, "numbers cannot be called so.*it takes factor"),
    ({"function": "numbers"}, 'the function is "numbers"'),
    ({"setup": 3}, "setup is 3"),
    ({"store": 3}, "store is 3, but must be a folder"),
    ({"executor": 4}, r"executor is 4.*sweep\.processes"),
    ({"executor": closed()}, "the executor takes no task.*give one that is open"),
    ({"executor": ProcessPoolExecutor(1, get_context("fork"))}, "forks its processes.*spawn"),
    ({"progress": 3}, "progress is 3"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_input(options, message, tmp_path):
    good = {"function": numbers, "setup": SETUP, "grid": {"count": [1]}, "store": tmp_path / "store"}
    with pytest.raises(InvalidInput, match=message) as caught:
        ss.sweep(**(good | options))
    assert "\n" not in str(caught.value)


def test_what_cannot_travel_is_said_before_anything_is_computed(tmp_path):
    lock = threading.Lock()

    def locked(setup):
        with lock:
            return 1.0

    with (
        ss.sweep.processes(1) as executor,
        pytest.raises(InvalidInput, match=r"locked cannot be sent to other processes .*pickle") as caught,
    ):
        ss.sweep(locked, SETUP, {"count": [1]}, store=tmp_path / "store", executor=executor)
    assert "\n" not in str(caught.value) and not (tmp_path / "store").exists()
