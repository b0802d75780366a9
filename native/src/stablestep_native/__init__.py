"""Kernels of stablestep in C++: `load` registers them with JAX; see `stablestep.native` for what they are."""

import ctypes
import json
import platform
from pathlib import Path

import jax.ffi

from stablestep_native.interface import interface

CALLS = ("sparse", "many", "flips", "normal")
NEEDS = {"v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, "v3": {"avx2", "fma", "bmi2", "f16c"}}
_HERE = Path(__file__).parent


def load(kind: str | None = None) -> str:
    """Register the kernels of one build ("v4", "v3" or "portable"; by default the best for this processor) and return its name.

    Raises:
        RuntimeError: in one sentence, if they cannot run here.
    """
    try:
        built = json.loads((_HERE / "builds.json").read_text())
    except (OSError, ValueError) as error:
        raise RuntimeError(f"stablestep-native holds no finished build ({error})") from error
    if built["interface"] != interface():
        raise RuntimeError(f"stablestep-native was built for another jaxlib than {jax.lib.__version__}")
    chosen = kind or _best(built["kinds"])
    try:
        library = ctypes.CDLL(str(_HERE / f"{chosen}.so"))
        calls = {call: getattr(library, f"stablestep_{call}") for call in CALLS}
    except (OSError, AttributeError) as error:
        raise RuntimeError(f"the build of stablestep-native is broken ({error})") from error
    for call, handler in calls.items():
        jax.ffi.register_ffi_target(f"stablestep_{call}_{chosen}", jax.ffi.pycapsule(handler), platform="cpu")
    return chosen


def _best(kinds: list[str]) -> str:
    if "v3" not in kinds:
        return "portable"  # no x86
    for kind, needed in NEEDS.items():
        if needed <= _features():
            return kind
    raise RuntimeError("this processor has no AVX2, without which stablestep-native is no faster than XLA")


def _features() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError as error:
        raise RuntimeError(f"stablestep-native cannot tell what this {platform.system()} processor has") from error
    return set(next((line for line in lines if line.startswith("flags")), "").split())
