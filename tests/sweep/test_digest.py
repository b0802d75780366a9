"""Digests: the same for the same contents, in every process, and another for whatever changes a result."""

import functools
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stablestep import compressor, noise, problem
from stablestep.errors import InvalidInput
from stablestep.setup import Agents, Setup
from stablestep.sweep.digest import digest
from tests.instances import TABLES

SHIFT = 1.0


def shifted(x):
    return x + SHIFT


def made(shift):
    return lambda x: x + shift


def setup(**options):
    return Setup(problem.Quadratic([1.0, 2.0]), Agents(4, noise.Gaussian(**options), compressor.RandK(k=1)))


UNLIKE = [
    *[
        1,
        1.0,
        "1",
        b"1",
        True,
        None,
        (1,),
        [1],
        {"a": 1},
        {"b": 1},
        {"a": 2},
        np.ones(1),
        np.ones(1, np.float32),
        np.ones((1, 1)),
    ],
    *[
        lambda x: x + 1,
        lambda x: x + 2,
        lambda x, y=1: x + y,
        lambda x, y=2: x + y,
        made(1),
        made(2),
        shifted,
        jax.jit(shifted),
    ],
    *[
        functools.partial(shifted, 1),
        functools.partial(shifted, 2),
        jnp.sum,
        jnp.mean,
        np.sin,
        np.cos,
        setup(),
        setup(sigma0=1.0),
    ],
    *[setup, digest, [[1], 2], [1, [2]], {1, 2}, {1, 3}, ["a", "b"], ["ab", ""]],
]


def test_unlike_values_have_unlike_digests():
    digests = [digest(value) for value in UNLIKE]
    assert len(set(digests)) == len(UNLIKE)


def test_every_part_has_its_own():
    parts = [part for table in TABLES.values() for part in table.values()]
    assert len({digest(part) for part in parts}) == len(parts)


def test_equal_values_are_equal():
    assert digest(setup(sigma0=0.5)) == digest(setup(sigma0=np.float64(0.5))) and digest(jnp.ones(2)) == digest(
        np.ones(2)
    )
    assert digest(made(1)) == digest(made(1)) and digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    one = noise.Gaussian(sigma0=1.0)
    assert digest([one, one]) == digest([one, noise.Gaussian(sigma0=1.0)]), "it does not matter what is the same object"


def test_a_global_that_a_function_reads_is_part_of_it(monkeypatch):
    before = digest(shifted)
    monkeypatch.setattr(sys.modules[__name__], "SHIFT", 2.0)
    assert digest(shifted) != before


def test_a_list_inside_itself():
    value = [1]
    value.append(value)
    assert digest(value) == digest(value) != digest([1, [1]])


def test_another_process_has_the_same():
    """Also where the hashes of texts are others."""
    code = "from tests.sweep.test_digest import *; print(digest(setup(sigma0=0.5), made(1), shifted, {'a', 'b'}).hex())"
    options = {"cwd": Path(__file__).parents[2], "capture_output": True, "text": True, "check": True}
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ".:src"}, **options
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert said == [[digest(setup(sigma0=0.5), made(1), shifted, {"a", "b"}).hex()]] * 2


@pytest.mark.parametrize("value", [object(), (one for one in "ab"), [object()], {"a": object()}])
def test_what_nobody_can_read(value):
    with pytest.raises(InvalidInput, match=r"nobody can tell what .* holds"):
        digest(value)
