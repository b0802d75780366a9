"""What stands at the prompt beside results: the version, and signatures that can be read."""

import inspect
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

import stablestep as ss
from tests.instances import TABLES, public

PARTS = [one for module in (*TABLES, ss.problem) for one in sorted(public(module), key=lambda one: one.__name__)]
CALLS = [
    *(ss.Setup, ss.Agents, ss.simulate, ss.integrate, ss.compare, ss.weak_order, ss.quadratic_order, ss.vary, ss.cache),
    *(ss.stability.critical_step, ss.stability.edge_map, ss.stability.advise, ss.sde.model),
    *(ss.theorem.step_limit, ss.theorem.bound, ss.theorem.Constants),
]


QUICK = """
import sys
from stablestep.cli import app
print(sorted({name.partition(".")[0] for name in sys.modules} & {"jax", "equinox", "scipy", "xarray", "matplotlib", "pydantic"}))
"""
ORDER = """
import stablestep.vary, stablestep.compare.gap, stablestep.sweep.call
import stablestep as ss
assert callable(ss.vary) and callable(ss.compare) and callable(ss.sweep) and ss.simulate.__module__ == "stablestep.simulate"
from stablestep import *
assert simulate is ss.simulate and sde is ss.sde and not hasattr(ss, "nothing")
"""


def test_help_and_version_load_nothing_that_takes_long():
    done = subprocess.run([sys.executable, "-c", QUICK], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_means_the_same_whatever_was_imported_first():
    subprocess.run([sys.executable, "-c", ORDER], check=True)


def test_every_public_name_is_there():
    assert all(hasattr(ss, name) and name in dir(ss) for name in ss.__all__)
    assert not inspect.ismodule(ss.compare) and inspect.ismodule(ss.sde)


def test_the_version():
    assert ss.__version__ == version("stablestep")


@pytest.mark.parametrize("one", [*PARTS, *CALLS], ids=lambda one: one.__name__)
def test_a_signature_reads_well(one):
    """In help() and under a cursor: public names, no machinery, no wall."""
    written = inspect.signature(one)
    for parameter in written.parameters.values():
        hint = inspect.formatannotation(parameter.annotation)
        assert not any(word in hint for word in ("_typing", "jaxlib", "lambda", "0x")) and len(hint) < 160, parameter


@pytest.mark.parametrize("part", PARTS, ids=lambda one: one.__name__)
def test_every_argument_of_a_part_says_what_it_takes(part):
    for parameter in inspect.signature(part).parameters.values():
        assert parameter.annotation not in (parameter.empty, Any), parameter
