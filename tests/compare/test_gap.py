"""The gap between optimizer and model, split into its parts, where the answer is known."""

import numpy as np
import pytest
import xarray as xr

from stablestep import compare, simulate
from stablestep.compare.gap import _warn_where_unknown
from stablestep.errors import InvalidInput
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic
from stablestep.schedule import Clip, Constant
from stablestep.setup import Agents, Setup

# 95 % intervals are widened to the suite's 5 standard errors where they must cover.
WIDER = 5 / 1.96
SETUP = Setup(Quadratic([1.0]), Agents(1, Gaussian(1.0)))
ETA, TIME, RUNS = 1.0, 12.0, 8000
COMMON = dict(schedule=Constant(ETA), x0=0.0, time=TIME, runs=RUNS, seed=5, record=[6])


@pytest.fixture(scope="module")
def table():
    return compare(SETUP, models=["first", "new"], **COMMON)


def interval(table, model, part, wider=1.0):
    value, low, high = (float(table[f"{part}{end}"].sel(model=model)[-1]) for end in ("", "_low", "_high"))
    return value - wider * (value - low), value + wider * (high - value)


def test_levels_are_those_of_the_theory(table):
    """η/(2(2−η)) for the optimizer and for "new", η/4 for "first", at η = 1 (theory 4), less the integration error."""
    discrete = float(table.loss_discrete.sel(model="new")[-1])
    assert abs(discrete - 0.5) < 5 * float(table.loss_discrete_stderr.sel(model="new")[-1])
    for model, level in {"first": 0.25, "new": 0.5}.items():
        row = table.sel(model=model).isel(time=-1)
        corrected = float(row.loss_model - row.integration_error)
        low, high = interval(table, model, "integration_error", WIDER)
        assert abs(corrected - level) < 5 * float(row.loss_model_stderr) + (high - low) / 2 + 1e-3


def test_model_error_covers_zero_where_the_model_is_exact(table):
    low, high = interval(table, "new", "model_error", WIDER)
    assert low < 0 < high and high - low < 0.25


def test_model_error_excludes_zero_where_it_is_not(table):
    """The first-order model is low by ½ − ¼ = ¼ at η = 1."""
    low, high = interval(table, "first", "model_error", WIDER)
    assert high < 0 and low < -0.25 < high


def test_the_gap_is_the_sum_of_its_parts(table):
    np.testing.assert_allclose(table.gap, table.integration_error + table.model_error, atol=1e-12)
    np.testing.assert_allclose(table.gap, table.loss_model - table.loss_discrete, atol=1e-12)
    sampling = 1.96 * np.hypot(table.loss_model_stderr, table.loss_discrete_stderr)
    np.testing.assert_allclose(table.monte_carlo_error, sampling, rtol=1e-12)
    half = (table.model_error_high - table.model_error_low) / 2
    integration = (table.integration_error_high - table.integration_error_low) / 2
    np.testing.assert_allclose(half, np.hypot(sampling, integration), rtol=1e-12)
    assert np.all(table.gap[:, 0] == 0) and np.all(half[:, 0] == 0)


def test_times_are_those_of_the_optimizer(table):
    assert table.time.values.tolist() == [0.0, 6.0, 12.0] and table.iteration.values.tolist() == [0, 6, 12]
    assert list(table.model.values) == ["first", "new"]
    assert np.all(table.diverged_discrete == 0) and np.all(table.diverged_model == 0)
    options = {name: value for name, value in COMMON.items() if name != "time"}
    discrete = simulate(SETUP, steps=12, **options)
    np.testing.assert_allclose(table.loss_discrete.sel(model="new"), discrete.loss_mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(models=[]), "models is empty"),
        (dict(models="new"), r'models is "new", but must be a list, such as \["first"\]'),
        (dict(models=None), "models is None, but must be a list"),
        (dict(models=["new", "old"]), 'there is no model "old"'),
        (dict(models=["principal"]), 'there is no model "principal" to compare with'),
        (dict(substeps=1), "substeps is 1"),
        (dict(substeps=2.5), "substeps is 2.5"),
        (dict(models=["new"], form="printed"), "papers print another formula only"),
        (dict(models=["new"], schedule=Clip(0.1, 1.0)), "Clip depends on the messages"),
    ],
)
def test_bad_input(options, match):
    with pytest.raises(InvalidInput, match=match):
        compare(SETUP, **(COMMON | {"runs": 4} | options))


def test_heavy_tails():
    with pytest.raises(InvalidInput, match=r"no SDE; .*Sign\(\)"):
        compare(Setup(Quadratic([1.0]), Agents(1, StudentT(1.5))), models=["new"], **(COMMON | {"runs": 4}))


@pytest.mark.parametrize("wrong", [{"setup": 5}, {"schedule": 5}, {"time": "1"}, {"time": float("nan")}])
def test_wrong_kinds_are_one_sentence(wrong):
    given = {"setup": Setup(Quadratic([1.0]), Agents(1)), "schedule": Constant(0.1), "time": 1.0} | wrong
    name = next(iter(wrong))
    with pytest.raises(InvalidInput, match=f"{name} is .*, but must be"):
        compare(given.pop("setup"), x0=1.0, runs=2, **given)


def test_an_integration_error_that_is_unknown_is_said(recwarn):
    def path(errors):
        return xr.Dataset(
            {"integration_error": ("time", errors), "loss_mean": ("time", [1.0, 2.0, np.inf])},
            {"time": [0.0, 0.5, 1.0]},
        )

    _warn_where_unknown("new", path([0.0, 0.1, np.nan]), 16)
    assert not recwarn, "there the mean is infinite as well"
    with pytest.warns(UserWarning, match=r'error of "new" diverge, .* from t = 0.5 on; give more than 16 substeps'):
        _warn_where_unknown("new", path([0.0, np.nan, np.nan]), 16)
