"""Sections that take a moment, for a reproduction that is killed; one file for each, as another process imports them by name."""

import time

import numpy as np
import xarray as xr

from stablestep import plot
from stablestep.claim import Check, Claim
from stablestep.report import Figure, Section, Table


def section(name, context):
    """A picture, a table, a claim and data that follow from name and seed."""
    time.sleep(0.3)
    numbers = np.random.default_rng([len(name), context.seed]).random(5)
    figure, ax = plot.panels()
    ax.plot(numbers)
    claim = Claim(f"{name}.claim", "P 1", "a text", (Check(float(numbers[0]), 0.01, np.inf, "="),))
    return Section(
        name,
        f"The {name}",
        ["A paragraph, with η."],
        [Figure(name, figure, "what to see")],
        [Table(["a", "b"], [["x", float(numbers[1])], ["y", 2]], "a table")],
        [claim],
        {"runs": 3, "eta": np.float32(0.5)},
        {name: xr.Dataset({"numbers": ("i", numbers)})},
    )
