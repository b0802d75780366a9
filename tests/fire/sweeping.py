"""A sweep in a process of its own: `python -m tests.fire.sweeping STORE EXECUTOR [ADDRESS]`."""

import sys

import jax

import stablestep as ss
from tests.sweep.work import SETUP, slow

GRID = {"omega": [float(n) for n in range(10)], "count": [1, 2, 3, 4]}
SECONDS = 0.02


def swept(store, executor=None):
    """Forty points of a fiftieth of a second."""
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
