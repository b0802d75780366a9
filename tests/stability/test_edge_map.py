"""Maps of where runs end, with the predictors' lines."""

from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import pytest

from stablestep.errors import InvalidInput
from stablestep.problem import EvenPower, Function, Quartic
from stablestep.setup import Agents, Setup
from stablestep.stability import critical_step, edge_map
from stablestep.vary import vary
from tests.stability.reference import MASKED, SPARSE
from tests.statistics import assert_fails, assert_fraction


def test_gradient_descent_over_x0():
    """x⁴/4: 2/x0²."""
    etas = np.geomspace(0.1, 10, 16)
    found = edge_map(Setup(Quartic(1), Agents(1)), x0=[0.5, 1.0, 2.0], eta=etas, steps=200, runs=1)
    assert found.up.dims == ("x0", "eta") and found.predicted.dims == ("predictor", "x0")
    assert found.x0.values.tolist() == [0.5, 1.0, 2.0] and found["predictor"].values.tolist()[0] == "theorem"
    for x0 in (0.5, 1.0, 2.0):
        assert found.up.sel(x0=x0).values.tolist() == (etas > 2 / x0**2).astype(float).tolist()
        assert found.blown.sel(x0=x0).values.tolist() == (etas > 2 / x0**2).astype(float).tolist()
        # The minimal pair at this gradient norm: L0 + L1 G = 3 x0².
        np.testing.assert_allclose(found.predicted.sel(x0=x0), 2 / 3 / x0**2, rtol=1e-9)
    assert found.attrs["steps"] == 200 and found.attrs["runs"] == 1 and "half" in found.attrs["edge"]


def test_a_parameter_of_the_messages(seed):
    """From one coordinate and five steps: up iff |1 − (1 + ω)h| > 1 and at least one message is not 0."""
    found = edge_map(MASKED, x0=1.0, eta=[0.6, 1.1], omega=[1.0, 4.0], steps=5, runs=2000, seed=seed)
    assert found.up.dims == ("omega", "eta")
    some = {1.0: 1 - 0.5**5, 4.0: 1 - 0.8**5}
    for omega, eta, over in ((1.0, 0.6, 0), (1.0, 1.1, 1), (4.0, 0.6, 1), (4.0, 1.1, 1)):
        fraction = float(found.up.sel(omega=omega, eta=eta))
        if not over:
            assert fraction == 0
            continue
        assert_fraction(round(2000 * fraction), 2000, some[omega])
        with assert_fails("one step fewer"):
            assert_fraction(round(2000 * fraction), 2000, 1 - (1 - some[omega]) ** 0.8)
    np.testing.assert_allclose(found.predicted, np.broadcast_to([1.0, 0.4], (3, 2)), rtol=1e-12)


def test_lines_are_the_predictors():
    lines = ("coordinate-wise", "theorem")
    found = edge_map(SPARSE, x0=1.0, eta=[0.1], sigma1=[0.5, 3.0], steps=5, runs=16, lines=lines)
    for line in lines:
        for sigma1 in (0.5, 3.0):
            expected = critical_step(vary(SPARSE, "sigma1", sigma1), x0=1.0, method=line).step
            assert float(found.predicted.sel(predictor=line, sigma1=sigma1)) == pytest.approx(expected, rel=1e-12)


def test_a_line_that_does_not_apply_is_missing():
    """No pair known, not known to be separable; the loss model needs neither."""
    setup = Setup(Function(lambda x: jnp.sum(x**2) / 2, 2), Agents(1))
    found = edge_map(setup, x0=[1.0], eta=[1.9, 2.1], steps=10, runs=1)
    assert np.isnan(found.predicted.values[:2, 0]).all()
    assert float(found.predicted.sel(predictor="loss-model")[0]) == pytest.approx(2)
    assert found.up.values.tolist() == [[0, 1]]


def test_the_same_seed_gives_the_same_map():
    one, again, other = (
        edge_map(MASKED, x0=[1.0], eta=[0.6, 1.1], steps=5, runs=2000, seed=seed, lines=()) for seed in (1, 1, 2)
    )
    assert one.identical(again) and not np.array_equal(one.up, other.up) and one.predicted.shape == (0, 1)


def test_the_threshold_is_an_option_and_stands_in_the_attributes():
    """h = 2.2 multiplies f by a hundred with probability 1/5 in each of five steps: two such make a thousandfold."""
    found = {
        blown: edge_map(MASKED, x0=[1.0], eta=[2.2], steps=5, runs=500, lines=(), blown=blown) for blown in (10.0, 1e3)
    }
    assert found[10.0].blown > 2 * found[1e3].blown and found[10.0].up == found[1e3].up
    assert [f"has passed {blown:g} times" in each.attrs["edge"] for blown, each in found.items()] == [True, True]


def test_a_store_keeps_what_is_finished_and_an_executor_computes(tmp_path):
    options = {"x0": 1.0, "eta": [0.6, 1.1], "omega": [1.0, 4.0], "steps": 5, "runs": 50}
    alone, (first, again) = edge_map(MASKED, **options), (edge_map(MASKED, **options, store=tmp_path) for _ in range(2))
    with ThreadPoolExecutor(2) as executor:
        shared = edge_map(MASKED, **options, executor=executor)
    assert alone.identical(first) and first.identical(again) and shared.identical(alone)
    assert len(list(tmp_path.glob("cells/*/*.nc"))) == 2


def test_saved_as_netcdf(tmp_path):
    found = edge_map(MASKED, x0=[1.0], eta=[0.6, 1.1], steps=5, runs=2000)
    found.to_netcdf(tmp_path / "map.nc", engine="h5netcdf")


PLAIN = Setup(EvenPower(1, power=4), Agents(1))
GOOD = {"setup": PLAIN, "x0": 1.0, "eta": [0.1], "count": [1]}
BAD = [
    ({"power": [2]}, "one parameter can be varied beside eta, but 2 are given"),
    ({"eta": [0.1, 0.0]}, "must list positive steps"),
    ({"eta": [[1, 2], [3]]}, "must list positive steps"),
    ({"eta": [[1, 2], [3, 4]]}, "must list positive steps"),
    ({"eta": [-0.1]}, "must list positive steps"),
    ({"eta": [np.nan]}, "must list positive steps"),
    ({"eta": []}, "must list positive steps"),
    ({"eta": 0.1}, r"eta is 0\.1, but must list"),
    ({"count": 3}, "count is 3, but must list the values"),
    ({"count": []}, "count has no values"),
    ({"count": [0]}, "count is 0"),
    ({"steps": 0}, "steps is 0"),
    ({"runs": 0}, "runs is 0"),
    *(
        ({name: value}, f"{name} is .*whole number")
        for name in ("steps", "runs")
        for value in (2.5, "5", True, np.nan, np.inf)
    ),
    *(({"blown": value}, "blown is .*greater than 1") for value in (1.0, np.nan, "5", True)),
    *(({"eta": value}, "eta is .*must list positive steps") for value in (["0.1"], [True], [[0.1]], None)),
    ({"lines": ("theorm",)}, 'no method "theorm".*Did you mean "theorem"'),
    ({"lines": "theorem"}, 'lines is "theorem", but must be a list, such as'),
    ({"x0": [1.0, 2.0]}, r"x0 has shape \(2,\)"),
    ({"setup": Quartic(1)}, "Setup"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_input(options, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        edge_map(**(GOOD | options))
    assert "\n" not in str(caught.value)


def test_an_unknown_parameter_and_a_single_start():
    with pytest.raises(InvalidInput, match=r'parameter "powr"\. Did you mean "power"'):
        edge_map(PLAIN, x0=1.0, eta=[0.1], powr=[2])
    with pytest.raises(InvalidInput, match=r"x0 is 1\.0, but must list the values"):
        edge_map(PLAIN, x0=1.0, eta=[0.1])
