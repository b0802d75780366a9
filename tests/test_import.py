"""`import stablestep` is quick, and leaves JAX as it was: what takes long to load waits until something of it is asked for."""

import json
import subprocess
import sys

SCRIPT = """
import json, sys, jax
before = dict(jax.config.values)
import stablestep
names = [name for name in stablestep.__all__ if name != "plot" and getattr(stablestep, name)]
changed = [name for name, value in jax.config.values.items() if name not in before or value is not before[name]]
print(json.dumps({"changed": changed, "loaded": list(sys.modules)}))
"""
HEAVY = {
    "xarray",
    "pandas",
    "scipy",
    "matplotlib",
    "diffrax",
    "sympy",
    "dask",
    "distributed",
    "rich",
    "pydantic",
    "torch",
}


def test_nothing_heavy_is_loaded_and_nothing_is_set():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert "stablestep.simulate" in found["loaded"] and "jax" in found["loaded"]
    assert HEAVY.isdisjoint(name.partition(".")[0] for name in found["loaded"])
    assert found["changed"] == []
