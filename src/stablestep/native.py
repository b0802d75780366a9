"""The optional package stablestep-native: laws of the mean message, and normal numbers, in C++ where it is installed."""

import os
import warnings
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt32

from stablestep.errors import InvalidInput

VARIABLE = "STABLESTEP_NATIVE"
BUILD = "build it with `make native`, or pip install 'stablestep[native]'"

Vector = Float[Array, " d"]
Word = UInt32[Array, ""]


def build() -> str | None:
    """Which build of the kernels serves, "v4" (AVX-512), "v3" (AVX2) or "portable"; None where XLA does all.

    The environment variable STABLESTEP_NATIVE says otherwise: "0" switches them off, "1" makes their absence an error, and the name of a
    build chooses it. A package that is installed but cannot run is one warning.

    Raises:
        InvalidInput: for "1" or the name of a build, where it cannot run.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "0" or jax.default_backend() != "cpu":
        return None
    kind = wanted if wanted not in ("", "1") else None
    if not wanted and not _installed():
        return None
    try:
        return _loaded(kind)
    except RuntimeError as error:
        if wanted:
            raise InvalidInput(f"{VARIABLE} is {wanted}, but {error}; {BUILD}.") from error
        _warn(f"{error}: XLA does its work, more slowly; {BUILD} again, or set {VARIABLE}=0.")
        return None


@lru_cache(maxsize=1)
def _installed() -> bool:
    return find_spec("stablestep_native") is not None


@lru_cache(maxsize=8)
def _loaded(kind: str | None) -> str:
    try:
        package = import_module("stablestep_native")
    except ImportError as error:
        raise RuntimeError("stablestep-native is not installed") from error
    return package.load(kind)


@lru_cache(maxsize=8)
def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=4)


def _call(kind: str, name: str, shape: tuple[int, ...], *operands, **attributes) -> Array:
    """A kernel; what a grid varies are operands, so that nothing is compiled again."""
    call = jax.ffi.ffi_call(
        f"stablestep_{name}_{kind}", jax.ShapeDtypeStruct(shape, jnp.float32), vmap_method="broadcast_all"
    )
    return call(*operands, **attributes)


def sparse(kind: str, gradient: Vector, keys: tuple[Word, Word], scale, omega, stretch) -> Vector:
    """stretch · (g + scale · z) where a coordinate is kept, with probability 1/(1+ω), and 0 elsewhere; z is normal."""
    return _call(kind, "sparse", gradient.shape, gradient, *keys, *map(_single, (scale, omega, stretch)))


def many(kind: str, gradient: Vector, keys: tuple[Word, Word], scale, weight, table, first) -> Vector:
    """weight · (K g + scale √K z) with K of an alias table [2^bits] whose smallest value is `first`."""
    row = jnp.asarray(table, jnp.uint32)
    return _call(kind, "many", gradient.shape, gradient, *keys, *map(_single, (scale, weight)), row, _single(first))


def flips(kind: str, probability: Vector, keys: tuple[Word, Word], count: int) -> Vector:
    """Binomial(count, q) for each coordinate's q ≤ ½, NaN for NaN."""
    return _call(kind, "flips", probability.shape, probability, *keys, agents=count)


def normal(kind: str, keys: tuple[Word, Word], count: int, slot: int) -> Vector:
    """Standard normal numbers."""
    return _call(kind, "normal", (count,), *keys, slot=slot)


_single = partial(jnp.asarray, dtype=jnp.float32)
