import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

import stablestep as ss
from stablestep import plot
from stablestep.errors import InvalidInput
from stablestep.problem import Quadratic
from stablestep.schedule import Constant
from stablestep.setup import Agents, Setup

QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95]
SPREAD = np.array([0.25, 0.5, 1.0, 2.0, 4.0])


def result(values, fraction=None, eta=0.1):
    """A Dataset as simulate returns it, whose quantiles are SPREAD times `values`; `fraction` has diverged."""
    values = np.asarray(values, float)
    steps = np.arange(len(values))
    fraction = np.zeros(len(values)) if fraction is None else fraction
    with np.errstate(invalid="ignore"):
        quantiles = SPREAD[:, None] * values
    return xr.Dataset(
        {
            "loss_quantile": (("quantile", "time"), quantiles),
            "gradient_norm_quantile": (("quantile", "time"), 2 * quantiles),
            "diverged": ("time", fraction),
        },
        coords={"quantile": QUANTILES, "time": eta * steps, "iteration": ("time", steps)},
    )


def diverging(at, steps=12):
    """A result all of whose runs diverge at iteration `at`."""
    values = 10.0 ** np.minimum(np.arange(steps), 20)
    values[at:] = np.inf
    return result(values, fraction=(np.arange(steps) >= at).astype(float))


def grid(**values):
    (name,) = values
    results = [diverging(3), result(np.geomspace(1, 0.1, 12))]
    if name == "eta":  # as simulate returns it: each η has its own times
        apart = xr.concat([one.drop_vars("time") for one in results], xr.DataArray(values[name], dims=name, name=name))
        return apart.assign_coords(time=((name, "time"), np.outer(values[name], np.arange(12))))
    return xr.concat(results, xr.DataArray(values[name], dims=name, name=name))


def test_median_and_bands_are_the_quantiles():
    ax = plot.loss(result([4.0, 2.0, 1.0]), label="here")
    (line,) = ax.lines
    assert np.allclose(line.get_xdata(), [0, 0.1, 0.2]) and np.allclose(line.get_ydata(), [4, 2, 1])
    outer, inner = [band.get_paths()[0].get_extents() for band in ax.collections]
    assert (outer.ymin, outer.ymax) == (0.25, 16.0) and (inner.ymin, inner.ymax) == (0.5, 8.0)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("t = kη", "f(x)", "log")
    assert legend(ax) == ["here"]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_gradient_norm_draws_its_own_variable():
    ax = plot.gradient_norm(result([4.0, 2.0, 1.0]))
    assert np.allclose(ax.lines[0].get_ydata(), [8, 4, 2]) and ax.get_ylabel() == "‖∇f(x)‖"


def test_a_median_that_diverges_ends_in_a_marker_at_the_top_and_says_when():
    ax = plot.loss(diverging(6), label="constant")
    line, marker = ax.lines
    top = ax.get_ylim()[1]
    assert legend(ax) == ["constant: 100 % diverged, median diverged at k = 6"]
    assert np.allclose(line.get_ydata(), [1, 10, 100, 1000, 4000])
    assert ax.get_legend().get_title().get_text().startswith("median (▲ once infinite)")
    assert marker.get_marker() == "^" and np.isclose(marker.get_xdata()[0], 0.6)
    assert np.isclose(marker.get_ydata()[0], top) and np.isclose(line.get_ydata()[-1], top)


def test_a_line_that_leaves_the_picture_before_it_diverges_ends_where_it_leaves():
    values = np.append(10.0 ** np.arange(0, 18, 2), np.inf)
    line, marker = plot.loss(result(values, fraction=np.isinf(values).astype(float))).lines
    assert np.isclose(line.get_ydata()[-1], 4000) and np.isclose(line.get_xdata()[-1], 0.1 * np.log(4000) / np.log(100))
    assert np.isclose(marker.get_xdata()[0], 0.9)


def test_recorded_now_and_then_the_iteration_is_an_upper_bound():
    sparse = diverging(6).isel(time=[0, 4, 8, 11])
    assert "median diverged by k = 8" in legend(plot.loss(sparse))[0]


def test_more_than_four_lines_have_the_inner_band_only():
    six = xr.concat([result([2.0, 1.0])] * 6, xr.DataArray(range(6), dims="sigma", name="sigma"))
    assert len(bands(plot.loss(six))) == 6 and len(bands(plot.loss(six, bands=plot.BANDS))) == 12


def test_some_diverged_runs_are_told_though_the_median_converges():
    mixed = result(np.geomspace(1, 0.1, 5), fraction=np.array([0, 0, 0.05, 0.09, 0.093]))
    mixed["loss_quantile"][-1, 2:] = np.inf
    ax = plot.loss(mixed)
    assert legend(ax) == ["9.3 % diverged"]
    assert len(ax.lines) == 1 and len(ax.lines[0].get_xdata()) == 5
    assert all(np.all(np.isfinite(path.vertices)) for band in bands(ax) for path in band.get_paths())


def bands(ax):
    return [artist for artist in ax.collections if isinstance(artist, PolyCollection)]


def test_everything_infinite_from_the_start_is_still_marked():
    ax = plot.loss(result([np.inf] * 4, fraction=np.ones(4)))
    assert "median diverged at k = 0" in legend(ax)[0]
    ax.figure.savefig("/dev/null", format="png")


def test_a_grid_gives_one_line_per_value_in_sequential_colours():
    ax = plot.loss(grid(omega=[8.0, 16.0]))
    assert legend(ax)[0].startswith("omega = 8: 100 %") and legend(ax)[1] == "omega = 16"
    assert len({line.get_color() for line in ax.lines[:3]}) == 2


def test_along_eta_every_line_has_its_own_time():
    ax = plot.loss(grid(eta=[0.5, 0.25]))
    assert [float(line.get_xdata()[-1]) for line in (ax.lines[0], ax.lines[2])] == [1.5, 2.75]


def swept(grid, **common):
    """A sweep of simulations over η = 0.1 from 1 in 4 steps, where the grid says nothing else."""
    given = {"x0": 1.0, "steps": 4, "runs": 2, "schedule": Constant(0.1)} | common
    varied = grid if isinstance(grid, dict) else grid[0]
    given = {name: value for name, value in given.items() if name not in varied}
    return ss.sweep(ss.simulate, Setup(Quadratic([1.0, 2.0]), Agents(2)), grid, store=None, **given)


@pytest.mark.parametrize("draw", [plot.loss, plot.gradient_norm, plot.diverged, plot.mean_loss])
@pytest.mark.parametrize("points", [{"eta": [0.1, 0.5]}, [{"eta": 0.1}, {"eta": 0.5}]], ids=["grid", "list"])
def test_along_a_sweep_every_line_has_its_own_time(draw, points):
    ax = draw(swept(points))
    assert [text.split(":")[0] for text in legend(ax)] == ["eta = 0.1", "eta = 0.5"]
    for line, eta in zip(ax.lines, (0.1, 0.5)):
        np.testing.assert_allclose(line.get_xdata(), eta * np.arange(5))


def test_a_point_of_a_sweep_is_compared_at_its_own_times():
    found = swept({"eta": [0.1, 0.5]})
    ax = plot.compare({1: found.isel(eta=1), 2: found.sel(eta=0.1)})
    assert legend(ax) == ["1", "2"]
    assert [float(line.get_xdata()[-1]) for line in ax.lines] == [2.0, 0.4]


@pytest.mark.parametrize("draw", [plot.loss, plot.diverged, plot.mean_loss])
def test_a_shorter_run_ends_earlier_and_does_not_diverge(draw):
    ax = draw(swept({"steps": [3, 5]}))
    assert [text.replace(": 0 %", "") for text in legend(ax)] == ["steps = 3", "steps = 5"]
    assert [len(line.get_xdata()) for line in ax.lines] == [4, 6]


@pytest.mark.parametrize("draw", [plot.loss, plot.diverged, plot.mean_loss])
def test_a_refused_point_is_called_so(draw):
    found = swept({"x0": [1.0, 1e30]})
    assert [text.replace(": 0 %", "") for text in legend(draw(found))] == ["x0 = 1", "x0 = 1e+30: refused"]
    for nothing in (found.isel(x0=1), swept({"x0": [1e31, 1e30]})):
        with pytest.raises(InvalidInput, match="nothing is there to draw: f is not finite at x0"):
            draw(nothing)


def test_a_point_that_is_not_finished_is_called_so():
    found = swept({"x0": [1.0, 1e30]}).drop_vars("failure")
    assert legend(plot.loss(found)) == ["x0 = 1", "x0 = 1e+30: not finished"]


def test_two_grid_dimensions_are_refused():
    twice = grid(omega=[1.0, 2.0]).expand_dims(sigma=[1.0, 2.0])
    for draw in (plot.loss, plot.gradient_norm, plot.diverged):
        with pytest.raises(InvalidInput, match="sel"):
            draw(twice)


def test_compare_draws_all_and_refuses_grids():
    ax = plot.compare({"a": result([2.0, 1.0]), "b": diverging(4)})
    assert legend(ax)[0] == "a" and legend(ax)[1].startswith("b: 100 %")
    with pytest.raises(InvalidInput, match="omega"):
        plot.compare({"a": grid(omega=[1.0, 2.0])})
    with pytest.raises(InvalidInput, match="no result"):
        plot.compare({})


def test_diverged_draws_the_fraction():
    ax = plot.diverged(diverging(6), label="constant")
    assert np.allclose(ax.lines[0].get_ydata(), np.arange(12) >= 6) and legend(ax) == ["constant: 100 %"]
    low, high = plot.diverged(result([1.0, 1.0])).get_ylim()
    assert low < 0 and high > 1


def test_negative_and_zero_losses():
    assert plot.loss(result([1.0, -1.0])).get_yscale() == "linear"
    assert plot.loss(result([0.0, 0.0])).get_yscale() == "linear"
    ax = plot.loss(result([1.0, 0.0]))
    assert ax.get_yscale() == "log" and len(ax.lines[0].get_xdata()) == 2


def test_logarithmic_time_keeps_the_start():
    ax = plot.loss(result([4.0, 2.0, 1.0]), log_time=True)
    assert ax.get_xscale() == "symlog" and ax.get_xlim()[0] == 0.0


def test_a_second_call_on_the_same_axes_keeps_both_visible():
    ax = plot.loss(diverging(6))
    assert plot.loss(result([1e9, 1e-9]), ax) is ax
    low, high = ax.get_ylim()
    assert low < 1e-9 and high > 1e9


def edges(name="omega", values=(1.0, 2.0, 4.0), methods=("theorem", "loss-model")):
    """A map as `stability.edge_map` returns it: up beyond η = 1/value, and a line for each method."""
    etas = np.array([0.1, 0.3, 1.0, 3.0])
    inverse = 1 / np.maximum(np.asarray(values), 0.5)
    up = (etas > inverse[:, None]).astype(float)
    predicted = inverse * np.arange(1, len(methods) + 1)[:, None] / 3
    return xr.Dataset(
        {"up": ((name, "eta"), up), "blown": ((name, "eta"), up), "predicted": (("predictor", name), predicted)},
        {name: list(values), "eta": etas, "predictor": list(methods)},
    )


def test_an_edge_map_shows_fractions_and_lines():
    drawn = edges()
    ax = plot.edge_map(drawn)
    (mesh,) = ax.collections
    np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(4, 3), drawn.up.values.T)
    assert legend(ax) == ["theorem", "loss-model"] and len(ax.lines) == 2
    for line, method in zip(ax.lines, ("theorem", "loss-model")):
        np.testing.assert_allclose(line.get_xdata(), [1, 2, 4])
        np.testing.assert_allclose(line.get_ydata(), drawn.predicted.sel(predictor=method))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("omega", "step η")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    np.testing.assert_allclose(ax.get_ylim(), (0.1, 3.0))
    assert len({line.get_color() for line in ax.lines}) == 2
    ax.figure.savefig("/dev/null", format="png")


@pytest.mark.parametrize("count", [6, 9])
def test_an_edge_map_draws_every_predictor(count):
    names = [f"predictor {number}" for number in range(count)]
    ax = plot.edge_map(edges(methods=names))
    assert legend(ax) == names and len({str(line.get_color()) for line in ax.lines}) == count


@pytest.mark.parametrize(
    ("values", "texts"),
    [(["own", "shared"], ["own", "shared"]), ([True, False], ["True", "False"]), ([np.inf, 3.0], ["inf", "3"])],
)
def test_an_edge_map_over_what_is_no_scale_stands_in_its_own_order(values, texts):
    drawn = edges(values=(1.0, 2.0)).assign_coords(omega=values)
    ax = plot.edge_map(drawn)
    assert [text.get_text() for text in ax.get_xticklabels()] == texts and ax.get_xscale() == "linear"
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0, 1])
    ax.figure.savefig("/dev/null", format="png")


def test_an_edge_map_in_any_order_is_drawn_in_that_of_its_axes():
    np.testing.assert_array_equal(
        np.asarray(plot.edge_map(edges().isel(omega=[2, 0, 1], eta=[3, 0, 1, 2])).collections[0].get_array()),
        np.asarray(plot.edge_map(edges()).collections[0].get_array()),
    )


def test_an_edge_map_from_zero_has_a_linear_axis():
    ax = plot.edge_map(edges("sigma1", (0.0, 1.0, 2.0)))
    assert ax.get_xscale() == "linear" and ax.get_xlabel() == "sigma1"


def test_an_edge_map_of_one_value_or_without_lines_can_be_drawn():
    for drawn in (edges(values=(2.0,)), edges().isel(eta=[1])):
        assert len(plot.edge_map(drawn).lines) == 2
    bare = plot.edge_map(edges(methods=()), legend=False)
    assert len(bare.lines) == 0 and bare.get_legend() is None
    missing = edges()
    missing["predicted"][0] = np.nan
    plot.edge_map(missing).figure.savefig("/dev/null", format="png")


def test_an_edge_map_is_drawn_where_it_is_told():
    _, axes = plot.panels(1, 2)
    ax = np.ravel(axes)[1]
    assert plot.edge_map(edges(), ax, legend=False) is ax and ax.get_legend() is None


@pytest.mark.parametrize("name", ["up", "predicted"])
def test_an_edge_map_needs_its_variables(name):
    with pytest.raises(InvalidInput, match=name):
        plot.edge_map(edges().drop_vars(name))


def test_another_dataset_is_refused():
    for draw in (plot.loss, plot.gradient_norm, plot.diverged):
        with pytest.raises(InvalidInput, match="simulate"):
            draw(xr.Dataset({"x": ("time", [1.0])}))
    with pytest.raises(InvalidInput, match="compare returned"):
        plot.gap(result([2.0, 1.0]))


@pytest.mark.parametrize(
    "draw", [plot.loss, plot.gradient_norm, plot.diverged, plot.mean_loss, plot.gap, plot.edge_map]
)
@pytest.mark.parametrize("junk", [None, 1.0, [1.0], {}, np.ones(3)], ids=repr)
def test_something_else_is_refused(draw, junk):
    with pytest.raises(InvalidInput, match="must be a Dataset, such as what"):
        draw(junk)


def gaps():
    times, ones = np.arange(3) * 0.1, np.ones((2, 3))
    columns = {
        "loss_discrete": 3 * ones,
        "loss_discrete_stderr": 0.1 * ones,
        "loss_model": np.array([[2.0], [4.0]]) * ones,
    }
    return xr.Dataset(
        {name: (("model", "time"), column) for name, column in columns.items()}, {"model": ["a", "b"], "time": times}
    )


def test_a_gap_is_the_optimizer_and_every_model():
    ax = plot.gap(gaps())
    assert legend(ax) == ["optimizer", "a", "b"] and ax.get_yscale() == "log"
    assert [float(line.get_ydata()[0]) for line in ax.lines] == [3.0, 2.0, 4.0]
    assert plot.gap(gaps() - 3).get_yscale() == "linear" and plot.gap(gaps(), log_time=True).get_xscale() == "symlog"


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plot.loss(one(), bands=[(0.1, 0.9)]), "no quantile 0.1, but only 0.05, 0.25"),
        (lambda: plot.loss(one(), bands=[0.1]), "bands is .* must list pairs"),
        (lambda: plot.loss(one(), bands="all"), "bands is .* must be a number, or numbers"),
        (lambda: plot.loss(one().isel(quantile=0)), 'has no dimension "quantile"'),
        (lambda: plot.loss(one().isel(time=0)), 'has no dimension "time": choose by a list'),
        (lambda: plot.diverged(one().isel(time=0)), 'has no dimension "time": choose by a list'),
        (lambda: plot.compare({"a": one().isel(time=0)}), 'has no dimension "time": choose by a list'),
        (lambda: plot.gap(gaps().isel(time=0)), 'has no dimension "time": choose by a list'),
        (lambda: plot.gap(gaps().isel(model=0)), 'has no dimension "model": choose by a list'),
        (lambda: plot.gap(gaps().expand_dims(omega=[1.0])), "the table has the grid dimension omega"),
        (lambda: plot.edge_map(edges().isel(eta=0)), 'has no dimension "eta": choose by a list'),
        (lambda: plot.edge_map(edges().isel(omega=0)), "must have one parameter there"),
        (lambda: plot.edge_map(edges().isel(predictor=0)), 'has no dimension "predictor"'),
    ],
)
def test_what_lacks_a_dimension_or_a_quantile_is_refused_in_a_sentence(draw, words):
    with pytest.raises(InvalidInput, match=words):
        draw()


def one():
    return result([2.0, 1.0])


def test_only_the_start_can_be_drawn_over_logarithmic_time():
    ax = plot.loss(one().isel(time=[0]), log_time=True)
    assert [len(line.get_xdata()) for line in ax.lines] == [1] and ax.get_xscale() == "linear"


def test_a_table_of_compare_is_no_dictionary_of_results():
    with pytest.raises(InvalidInput, match=r"give \{label: result\}; of what ss\.compare returns, plot\.gap"):
        plot.compare(gaps())


def test_no_graphical_backend_and_no_global_figure():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    figure, axes = plot.panels(2, 3)
    plot.loss(result([2.0, 1.0]), axes[0, 0])
    assert isinstance(figure, Figure) and axes.shape == (2, 3) and plt.get_fignums() == before


@pytest.mark.parametrize(("fraction", "text"), [(0.0, "0 %"), (1.0, "100 %"), (0.5, "50.0 %"), (0.001, "0.10 %")])
def test_percent(fraction, text):
    assert plot.percent(fraction) == text


def many(count):
    return xr.concat([result([2.0, 1.0])] * count, xr.DataArray(np.arange(count), dims="omega", name="omega"))


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_a_legend_of_twenty_lines_stands_beside_the_axes_and_inside_the_figure(fraction):
    twenty = many(20)
    twenty["diverged"][:] = fraction  # with more to say of each line
    for ax in (plot.loss(twenty), plot.diverged(twenty)):
        box = drawn(ax)
        assert len(legend(ax)) == 20 and ax.get_legend()._ncols == 1
        assert box.x0 >= ax.get_window_extent().x1 and ax.get_window_extent().width >= 0.4 * 5.4 * ax.figure.dpi
        assert ax.figure.bbox.x0 <= box.x0 and box.x1 <= ax.figure.bbox.x1 and box.y0 >= ax.figure.bbox.y0
        assert ax.get_window_extent().height >= 0.7 * ax.figure.bbox.height  # the legend takes nothing of it


def drawn(ax):
    ax.figure.draw_without_rendering()
    return ax.get_legend().get_window_extent()


def test_a_legend_of_fifty_lines_has_columns():
    assert plot.loss(many(50)).get_legend()._ncols == 3


def test_a_figure_of_ones_own_does_not_grow():
    figure, (left, _) = plot.panels(1, 2)
    plot.loss(many(20), left)
    assert figure.get_size_inches().tolist() == [10.8, 3.7]


@pytest.mark.parametrize("count", [3, 7, 20])
def test_no_two_lines_of_a_comparison_share_a_colour(count):
    ax = plot.compare({str(number): result([2.0, 1.0]) for number in range(count)})
    assert len({str(line.get_color()) for line in ax.lines}) == count
    ax = plot.lines([1, 2], {str(number): [1, 2] for number in range(count)}, ordered=False)
    assert len({str(line.get_color()) for line in ax.lines}) == count
