"""The size of a state, what does not fit, and results that depend on neither chunks nor threads."""

import numpy as np
import psutil
import pytest

from stablestep.compressor import EF21, ErrorFeedback, Momentum, RandomSparsification, TopK
from stablestep.errors import InvalidInput
from stablestep.method import method, state_size
from stablestep.noise import Gaussian
from stablestep.problem import Quadratic
from stablestep.record import cast, chunks
from stablestep.schedule import Constant
from stablestep.server import HeavyBall
from stablestep.setup import Agents, Setup
from stablestep.simulate import simulate


def point(x):
    return x


def setup(compressor=None, count=4, dim=3, server=None):
    return Setup(Quadratic(np.linspace(1, 2, dim)), Agents(count, Gaussian(0.3), compressor), server=server)


HEAVY = setup(Momentum(ErrorFeedback(RandomSparsification(1.0, scaled=False)), beta=0.5), server=HeavyBall(0.5))


def run(described=HEAVY, **options):
    chosen = {
        "schedule": Constant(0.1),
        "x0": 1.0,
        "steps": 6,
        "runs": 21,
        "dtype": "float64",
        "observe": point,
        **options,
    }
    return simulate(described, **chosen)


SIZES = [
    (setup(), 3),
    (setup(server=HeavyBall(0.5)), 6),
    (setup(ErrorFeedback(TopK(k=1))), 3 + 4 * 3),
    (setup(EF21(TopK(k=1), warm=True)), 3 + 4 * 4),
    (HEAVY, 3 + 4 * 6 + 3),
]


@pytest.mark.parametrize(("described", "size"), SIZES)
def test_a_state_holds_n_times_d_numbers_for_each_memory(described, size):
    process = cast(method(described, Constant(0.1)), np.dtype("float64"))
    assert state_size(process, 3, np.dtype("float64")) == size


def test_chunks_and_threads_change_nothing(monkeypatch):
    """Bit for bit: one thread and one chunk, chunks of four runs, and more threads than cores."""
    names = ("observed", "loss_mean", "loss_quantile", "final_state")
    found = []
    for cores, size in ((1, 1 << 17), (1, 4 * 30), (2, 4 * 30), (5, 4 * 30), (3, 1 << 17)):
        monkeypatch.setattr(chunks, "cores", lambda cores=cores: cores)
        monkeypatch.setattr(chunks, "CHUNK", size)
        if size < 1 << 17:
            assert chunks.chunk_of(21, 30) in (3, 4)
        found.append(run(final=True))
    for other in found[1:]:
        for name in names:
            np.testing.assert_array_equal(found[0][name], other[name], err_msg=name)
    assert len(np.unique(found[0].final_state)) == 63


def test_a_run_does_not_depend_on_the_others():
    np.testing.assert_array_equal(run(runs=5, final=True).final_state, run(runs=21, final=True).final_state[:5])


@pytest.mark.parametrize(
    ("described", "options"),
    [
        (setup(ErrorFeedback(TopK(k=1)), count=100_000, dim=1000), {"runs": 4}),
        (setup(EF21(TopK(k=1)), count=10, dim=3), {"runs": 2**32 - 1}),
        (setup(), {"runs": 2**32 - 1, "final": True}),
    ],
)
def test_what_does_not_fit_says_its_bytes(described, options, monkeypatch):
    """With 64 MiB free, in the words of who asked."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1 << 26})())
    with pytest.raises(
        InvalidInput, match=r"need [\d.e+]+ bytes, but only 6\.71e\+07 are free; use fewer runs"
    ) as caught:
        run(described, observe=None, **options)
    needed = float(str(caught.value).split(" need ")[1].split(" bytes")[0])
    assert needed > 1 << 26 and "\n" not in str(caught.value)


def test_the_bytes_are_those_of_the_state(monkeypatch):
    """Those before a step, those after it, and as much in between, on every core."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1 << 24})())
    monkeypatch.setattr(chunks, "cores", lambda: 2)
    described = setup(ErrorFeedback(TopK(k=1)), count=10_000, dim=100)
    with pytest.raises(InvalidInput, match="2 runs whose state holds 1000100 numbers each need") as caught:
        run(described, observe=None, runs=2)
    needed = float(str(caught.value).split(" need ")[1].split(" bytes")[0])
    assert 2 * 1000100 * 8 * 2 < needed < 8 * 1000100 * 8 * 2


def test_too_many_runs_are_said():
    with pytest.raises(InvalidInput, match="runs is 100000000000000, but must be at most 4294967295"):
        run(runs=10**14)
