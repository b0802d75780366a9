"""A sweep in a process of its own: `python -m tests.fire.sweeping STORE EXECUTOR [ADDRESS]`.

STABLESTEP_CELLS=10000 makes it of so many points.
"""

import os
import sys

import jax

import stablestep as ss
from tests.sweep.work import SETUP, slow

COUNTS = [1, 2, 3, 4]
CELLS = int(os.environ.get("STABLESTEP_CELLS", "40")) // len(COUNTS) * len(COUNTS)
GRID = {"omega": [float(n) for n in range(CELLS // len(COUNTS))], "count": COUNTS}
SECONDS = 0.8 / CELLS


def swept(store, executor=None):
    """Eight tenths of a second, shared out to all points, and what a sweep adds."""
    return ss.sweep(slow, SETUP, GRID, store=store, executor=executor, seconds=SECONDS)


def main(store, kind, address=""):
    """Sweep, and say so."""
    jax.config.update("jax_enable_x64", True)  # as in all tests
    if kind == "serial":
        swept(store)
    elif kind == "processes":
        with ss.sweep.processes(2) as executor:
            swept(store, executor)
    else:
        from distributed import Client

        with Client(address) as client:
            swept(store, client.get_executor())
    print("finished")


if __name__ == "__main__":
    main(*sys.argv[1:])
