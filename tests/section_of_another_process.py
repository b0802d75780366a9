"""A section for the tests of the runner that another process can import; its names differ from run to run."""

import os
import time

import xarray as xr

from stablestep import plot
from stablestep.report import Figure, Section


def run(context):
    text, name = f"process {os.getpid()}, seed {context.seed}", f"made-{time.time_ns()}"
    return Section(name, "Elsewhere", [text], [Figure(name, plot.panels()[0], "")], data={name: xr.Dataset({"a": 1.0})})
