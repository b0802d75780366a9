"""The blocks and rows of docs/extend.md, and how its tests are run."""

import doctest
import inspect
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stablestep as ss

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```", GUIDE, flags=re.M | re.S))
X = np.array([1.0, -0.5, 2.0])
DRAWS = 20_000


def row(text):
    """A row of a table as the guide writes it: the name, and what makes the instance."""
    (found,) = re.findall(rf"`({re.escape(text)}[^`]*)` in `(\w+)`", GUIDE)
    return found


def fails(test, words, *arguments):
    """A test of the suite that says these words where a piece is missing."""
    with pytest.raises(AssertionError, match=re.escape(words)):
        test(*arguments)


def run_doctests(module, *names):
    for name in names:
        finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        examples = finder.find(getattr(module, name), name, globs=dict(vars(module)))
        for example in examples:
            runner.run(example)
        assert runner.summarize(verbose=False).attempted > 0 and runner.failures == 0


def run_tests(code, request):
    """The tests of a block, with their parameters and fixtures."""
    namespace = {"__name__": "block"}
    exec(compile(code, "block", "exec"), namespace)
    tests = [value for name, value in namespace.items() if name.startswith("test_")]
    for test in tests:
        marks = [mark.args for mark in getattr(test, "pytestmark", ())]
        names = {mark[0] for mark in marks}
        given = {
            name: request.getfixturevalue(name) for name in inspect.signature(test).parameters if name not in names
        }
        for chosen in [{marks[0][0]: value} for value in marks[0][1]] if marks else [{}]:
            test(**chosen, **given)
    assert tests


def drawn(setup, seed, sampling="auto"):
    """Mean messages [draws, d] at X."""
    law = ss.message.law(setup, sampling)
    return np.asarray(law._samples(jnp.asarray(X), DRAWS, jax.random.key(seed)))
