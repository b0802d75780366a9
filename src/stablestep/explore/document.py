"""The page as a text, and the page of a setup."""

import json
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import numpy as np
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stablestep.claim import plain
from stablestep.errors import InvalidInput, require
from stablestep.explore.inputs import described
from stablestep.setup import Setup
from stablestep.stability import advise, critical_step, edge_map
from stablestep.theorem import Constants

_SECONDS, _PILOT_RUNS = 60.0, 2
_STEPS, _RUNS, _ETAS, _VALUES = 100, 32, 24, 13


def page(inputs: Mapping[str, Any] | None = None, measured: xr.Dataset | None = None, about: str = "") -> str:
    """The HTML of the page.

    Args:
        inputs: what its sliders show first, such as {"method": "sgd", "omega": 9.0}; see `explore.inputs`.
        measured: of `stability.edge_map`.
        about: a sentence for its head.

    >>> page({"omega": 9.0}).startswith("<!doctype html>")
    True
    """
    environment = Environment(loader=PackageLoader("stablestep"), autoescape=True, undefined=StrictUndefined)
    given = {"inputs": inputs and dict(inputs), "map": None if measured is None else _as_map(measured)}
    return environment.get_template("explore.html.jinja").render(
        styles=Markup(_text("vendored/uPlot.min.css") + _text("page.css")),
        scripts=[Markup(_text(name)) for name in ("vendored/uPlot.iife.min.js", "limits.js", "page.js")],
        given=Markup(json.dumps(_finite(plain(given)), allow_nan=False).replace("</", "<\\/")),
        about=about,
        version=f"StableStep {version('stablestep')}",
    )


def explore(setup: Setup, x0: Any, seed: int = 0, measure: bool = True, yes: bool = False) -> str:
    """The page of a setup: the sliders at its constants, and the fraction of runs that fail, measured over the step and ω, x0 or N.

    Args:
        x0: the start.
        seed: of the measured map.
        measure: whether there is a map.
        yes: make it even if it takes longer than a minute.

    Raises:
        InvalidInput: if the map would take longer, or the setup has no constants that the page could show.
    """
    found = advise(setup, x0=x0, seed=seed)
    measured = _measured(setup, x0, found.constants, seed, yes) if measure else None
    inputs, left_out = described(found.constants, found.gradient_norm, found.epsilon)
    return page(inputs, measured, " ".join(["The sliders start at the constants of the given setup.", *left_out]))


def _text(name: str) -> str:
    return files("stablestep.explore").joinpath(name).read_text(encoding="utf-8")


def _measured(setup: Setup, x0: Any, c: Constants, seed: int, yes: bool) -> xr.Dataset:
    middle = critical_step(setup, x0=x0, seed=seed).step
    require(np.isfinite(middle), "no step fails here, so there is no edge to map; use --no-map.")
    etas = middle * np.geomspace(1 / 30, 10, _ETAS)
    name, values = _varied(x0, c)

    def mapped(values, runs: int) -> xr.Dataset:
        where = {"x0": values} if name == "x0" else {"x0": x0, name: values}
        return edge_map(setup, eta=etas, steps=_STEPS, runs=runs, seed=seed, **where)

    # A few runs tell soon that it is far too long, and a whole row how long it is.
    for runs in () if yes else (_PILOT_RUNS, _RUNS):
        seconds = len(values) * _seconds(lambda: mapped(values[:1], runs))  # noqa: B023
        require(
            seconds < _SECONDS,
            f"the map would take about {seconds:.0f} s; say --yes to make it, or --no-map to leave it out.",
        )
    return mapped(values, _RUNS)


def _seconds(work: Callable[[], object]) -> float:
    """Of the second time, which compiles nothing."""
    work()
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _varied(x0: Any, c: Constants) -> tuple[str, list]:
    """What is varied beside the step: ω where there is one, else the start where it is a number, else N."""
    if np.any(c.omega) and np.ptp(c.omega) == 0:
        return "omega", [float(f"{v:.3g}") for v in float(c.omega[0]) * np.geomspace(1 / 8, 8, _VALUES)]
    if np.ndim(x0) == 0 and not callable(x0):
        return "x0", [float(f"{v:.3g}") for v in x0 * np.geomspace(1 / 8, 8, _VALUES)]
    return "count", [2**k for k in range(_VALUES)]


def _as_map(measured: xr.Dataset) -> dict[str, Any]:
    (name,) = (str(dim) for dim in measured.up.dims if dim != "eta")
    runs, steps = measured.attrs["runs"], measured.attrs["steps"]
    return {
        "name": name,
        "values": measured[name].values,
        "eta": measured.eta.values,
        "up": measured.up.transpose(name, "eta").values,
        "predicted": {str(one): measured.predicted.sel(predictor=one).values for one in measured.predictor.values},
        "words": f"Darker: more of {runs} runs of {steps} steps end above f(x0). Lines: what predictors say.",
    }


def _finite(value: Any) -> Any:
    """JSON has no infinity; the page reads a text."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not np.isfinite(value):
        raise InvalidInput(f"{value} cannot be shown.")
    return value
