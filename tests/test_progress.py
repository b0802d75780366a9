"""Who is told how far a long computation is, and where a bar stands: in a terminal and in a notebook, nowhere else."""

import io
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from types import ModuleType

import numpy as np
import pytest

import stablestep as ss
from stablestep import progress
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian
from stablestep.problem import Quadratic
from stablestep.progress import say, watched
from stablestep.schedule import Constant
from stablestep.setup import Agents, Setup

SETUP = Setup(Quadratic([1.0, 4.0]), Agents(2, Gaussian(sigma0=0.1)))


def halves():
    with watched("halves") as whole:
        for half in range(2):
            whole.part(half / 2, half / 2 + 0.5)
            with watched("half") as inner:
                inner(0.5)


def test_parts_tell_of_the_whole():
    told = []
    with watched("outer", told.append) as outer:
        outer(0.5)
        outer.part(0.5, 1.0)
        halves()
    assert told == [0.5, 0.625, 0.75, 0.875, 1.0]


def test_it_never_falls_and_ends_at_one_unless_it_fails():
    told = []
    with watched("a", told.append) as watch:
        watch(0.7)
        watch(0.2)
    assert told == [0.7, 0.7, 1.0]
    told.clear()
    with pytest.raises(ZeroDivisionError), watched("a", told.append):
        raise ZeroDivisionError
    assert told == []


@pytest.mark.parametrize("wrong", [3, "yes"])
def test_bad_input(wrong):
    with pytest.raises(InvalidInput, match=r"progress is .* must be True, False or a function"), watched("a", wrong):
        pass


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """What stderr shows, where it is a terminal and bars stand at once; it is so inside `redirect_stderr`, which pytest leaves alone."""
    monkeypatch.setattr(progress, "DELAY", 0.0)
    return Terminal()


def awaited(condition, seconds=20.0):
    """Whether something comes about while one waits."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_a_terminal_shows_one_bar_with_words_and_nothing_stays(terminal):
    with redirect_stderr(terminal), watched("outer"), watched("inner"):
        assert awaited(lambda: "outer" in terminal.getvalue())  # while nothing is told yet
        say("round 3")
        assert awaited(lambda: "outer: round 3" in terminal.getvalue())
    assert "inner" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")  # the line is taken away


def test_what_is_quick_shows_nothing(terminal, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 60.0)
    with redirect_stderr(terminal):
        halves()
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("silent", [False, None, lambda done: None])
def test_no_bar_where_none_is_wanted_also_inside(terminal, silent):
    with redirect_stderr(terminal), watched("outer", silent):
        assert progress._place() is progress.TerminalBar
        with watched("inner"):
            assert not awaited(lambda: terminal.getvalue() != "", 0.3)


def test_no_bar_outside_a_terminal_and_in_threads(terminal):
    with redirect_stderr(terminal), ThreadPoolExecutor(1) as pool:
        assert pool.submit(progress._place).result() is None
    closed = io.StringIO()
    closed.close()
    for elsewhere in (io.StringIO(), None, closed, object()):
        with redirect_stderr(elsewhere):
            assert progress._place() is None


class ZMQInteractiveShell:
    """As the one of a notebook is called."""


class Handle:
    def __init__(self, cell):
        self.cell = cell

    def update(self, shown):
        self.cell.append(shown)


@pytest.fixture
def cell(monkeypatch):
    """What a notebook's cell shows, one after another; IPython itself is not needed for it."""
    shown = []
    display = ModuleType("IPython.display")
    display.HTML = str

    def first(html, display_id):
        shown.append(html)
        return Handle(shown)

    display.display = first
    notebook = ModuleType("IPython")
    notebook.display, notebook.get_ipython = display, ZMQInteractiveShell
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(progress, "PERIOD", 0.0)
    return shown


def test_a_notebook_shows_a_bar_that_is_empty_in_the_end(cell):
    with watched("a <b>") as watch:
        say("round 3")
        watch(0.25)
    assert "<progress max='1'></progress> round 3" in cell[0] and "a &lt;b&gt;" in cell[0]
    assert 'value="0.250"' in cell[1] and cell[-1] == ""


LONG = {
    "simulate": lambda told: ss.simulate(
        SETUP, schedule=Constant(0.1), x0=1.0, steps=4, runs=5, grid={"sigma0": [0.1, 0.2]}, progress=told
    ),
    "integrate": lambda told: ss.integrate(
        ss.sde.model(SETUP, "first", Constant(0.1)), x0=1.0, time=0.2, runs=5, progress=told
    ),
    "compare": lambda told: ss.compare(
        SETUP, schedule=Constant(0.1), models=["first", "new"], x0=1.0, time=0.2, runs=5, progress=told
    ),
    "weak_order": lambda told: ss.weak_order(
        SETUP, "first", etas=[0.2, 0.1, 0.05, 0.025], x0=1.0, time=0.2, runs=4, progress=told
    ),
    "edge_map": lambda told: ss.stability.edge_map(
        SETUP, x0=1.0, eta=[0.1, 0.9], sigma0=[0.1, 0.2], steps=5, runs=2, progress=told
    ),
    "sweep": lambda told: ss.sweep(
        ss.stability.critical_step, SETUP, {"sigma1": [0.1, 0.2]}, x0=1.0, method="moments", store=None, progress=told
    ),
    "critical_step": lambda told: ss.stability.critical_step(SETUP, x0=1.0, steps=5, longest=5, progress=told),
}


@pytest.mark.parametrize("name", LONG)
def test_what_takes_long_tells_how_far_it_is(name):
    told = []
    LONG[name](told.append)
    assert told == sorted(told) and told[-1] == 1.0 and (np.diff(told) >= 0).all()
    assert len(told) > 1 or name == "critical_step"


def test_a_ladder_says_where_it_is(monkeypatch):
    said = []
    monkeypatch.setattr(progress.Watch, "say", lambda self, words: said.append(words))
    LONG["critical_step"](None)
    assert said[0] == "round 1, 5 steps each" and len(said) > 1
    ss.stability.critical_step(SETUP, x0=1.0, method="simulation", steps=5, runs=20)
    assert said[-1].endswith("steps tried")


def test_inside_one_point_of_a_sweep_it_moves_too():
    told = []

    def one(setup):
        return ss.simulate(setup, schedule=Constant(0.1), x0=1.0, steps=4, runs=5, grid={"sigma1": [0.1, 0.2]}).sizes[
            "run"
        ]

    ss.sweep(one, SETUP, {"sigma0": [0.1, 0.2]}, store=None, progress=told.append)
    assert {0.25, 0.75} <= {round(done, 12) for done in told}
