"""What a function found at a point, as a Dataset and as the bytes of a NetCDF file."""

import dataclasses
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from stablestep.errors import InvalidInput, is_number, shown
from stablestep.later import xarray as xr

VALUE = "value"  # a number that has no name
FAILED = "failed"  # the frame of a point that was refused
NARROW = np.iinfo(np.int32)


def as_dataset(found: Any) -> "xr.Dataset":
    """A result with names: a Dataset, a number or array, a mapping of those, or a dataclass such as `CriticalStep`.

    A dataclass is its fields, and the properties of the outermost. What lies deeper has dots in its name ("details.step10"), lists of
    anything but numbers become JSON, and what is None is left out. The numbers among a Dataset's attributes become variables.

    Raises:
        TypeError: for anything else.

    >>> as_dataset({"edge": 2.0, "at": {"x0": 1}}).to_dict(data="list")["data_vars"].keys()
    dict_keys(['edge', 'at.x0'])
    """
    if isinstance(found, xr.DataArray):
        found = found.to_dataset(name=found.name or VALUE)
    if isinstance(found, xr.Dataset):
        numbers = {str(name): value for name, value in found.attrs.items() if is_number(value) and name not in found}
        return found.assign({name: ((), value) for name, value in numbers.items()})
    variables = {}
    for name, value in _flat("", found):
        array = np.asarray(value)
        variables[name or VALUE] = tuple(f"{name or VALUE}_{axis}" for axis in range(array.ndim)), array
    return xr.Dataset(variables)


def _flat(name: str, value: Any):
    """The numbers, texts and arrays in a value, by name."""
    if value is None and name:
        return
    if isinstance(value, bool | str) or is_number(value) or isinstance(value, np.ndarray | jax.Array):
        yield name, value
    elif dataclasses.is_dataclass(value) or (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        for key, inner in (_fields(value, name == "") if dataclasses.is_dataclass(value) else value).items():
            yield from _flat(f"{name}.{key}" if name else key, inner)
    elif isinstance(value, list | tuple) and value and all(map(is_number, value)):
        yield name, np.array(value)
    elif name and isinstance(value, list | tuple | Mapping):
        yield name, json.dumps(_plain(value))
    else:
        raise TypeError(
            f"the function returned {shown(value)}, but must return a number, an array, a mapping of those, a dataclass, or a Dataset."
        )


def _fields(value: Any, properties: bool = False) -> dict[str, Any]:
    """The fields and perhaps the properties of a dataclass; what one of these refuses is left out."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for name in dir(type(value)) if properties else ():
        if isinstance(getattr(type(value), name), property) and not name.startswith("_"):
            try:
                fields[name] = getattr(value, name)
            except InvalidInput:
                continue
    return fields


def _plain(value: Any) -> Any:
    """As JSON takes it."""
    if dataclasses.is_dataclass(value):
        value = _fields(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def encode(found: "xr.Dataset") -> tuple[bytes, str]:
    """The bytes of a NetCDF file (the classic format, which is written in a tenth of the time), and the digest of its frame.

    A frame is all that Datasets of other numbers share: names, dimensions, sizes, kinds, and the values of coordinates.
    """
    kept = xr.Dataset(
        {_written(name): _narrow(str(name), variable) for name, variable in found.data_vars.items()},
        {_written(name): _narrow(str(name), variable) for name, variable in found.coords.items()},
        # When it was computed is no part of it.
        {_written(name): _attribute(value) for name, value in found.attrs.items() if name != "created"},
    )
    frame = [[name, *_shape(variable), name in kept.coords] for name, variable in kept.variables.items()]
    values = [np.asarray(kept[name]).tobytes() for name in sorted(map(str, kept.coords))]
    digest = hashlib.blake2b(json.dumps(sorted(frame)).encode() + b"".join(values), digest_size=6).hexdigest()
    encoding = {name: {"_FillValue": None} for name in kept.variables}
    return bytes(kept.to_netcdf(engine="scipy", encoding=encoding)), digest


def failure(words: str) -> tuple[bytes, str]:
    """As `encode`, for a point that was refused."""
    return encode(xr.Dataset({FAILED: ((), words)}))[0], FAILED


def _narrow(name: str, variable: "xr.DataArray") -> "xr.Variable":
    """With whole numbers as the format has them, or as floats."""
    values = np.asarray(variable)
    if values.dtype.kind in "iu" and values.dtype.itemsize > 2:
        fits = values.size == 0 or (values.min() >= NARROW.min and values.max() <= NARROW.max)
        values = values.astype(np.int32 if fits else np.float64)
    elif values.dtype.kind == "O":
        values = np.vectorize(str, otypes=[str])(values)
    elif values.dtype.kind not in "biufU" or (values.dtype.itemsize < 4 and values.dtype.kind == "f"):
        raise TypeError(f'"{name}" holds {values.dtype}, but numbers and texts can be kept; convert it.')
    attributes = {_written(key): _attribute(value) for key, value in variable.attrs.items()}
    return xr.Variable([_written(dim) for dim in variable.dims], values, attributes)


def _written(name: Any) -> str:
    """A name that the format takes: what SciPy writes as Latin-1 is UTF-8, as it should be."""
    return re.sub("[/'\\x00-\\x1f]", "_", str(name)).encode().decode("latin-1")


def _read(name: Any) -> str:
    return str(name).encode("latin-1").decode()


def _shape(variable: "xr.Variable") -> tuple[list[str], list[int], str]:
    kind = "U" if variable.dtype.kind == "U" else variable.dtype.str
    return [str(dim) for dim in variable.dims], list(variable.shape), kind


def _attribute(value: Any) -> Any:
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else str(value)


def whole(content: bytes) -> "xr.Dataset":
    """The Dataset in the bytes that `encode` made."""
    with xr.open_dataset(io.BytesIO(content), engine="scipy") as found:
        names = {name: _read(name) for name in (*found.variables, *found.dims)}
        return (
            found.load()
            .map(_wide, keep_attrs=True)
            .assign_coords({name: _wide(found[name]) for name in found.coords})
            .rename(names)
        )


def one(content: bytes, name: str) -> np.ndarray | None:
    """One variable in those bytes, a tenth as long as `whole` takes; None where there is none."""
    from scipy.io import netcdf_file  # slow to load

    with netcdf_file(io.BytesIO(content), mmap=False) as file:
        variable = file.variables.get(_written(name))
        if variable is None:
            return None
        values = np.array(variable.data)
        if values.dtype.kind in "Sc":
            return _texts(values)
        native = values.astype(values.dtype.newbyteorder("="))
        return native.astype(bool) if getattr(variable, "dtype", b"") == b"bool" else _wide(native)


def _wide(values: Any) -> Any:
    """Whole numbers as Python's arrays have them."""
    return values.astype(np.int64) if values.dtype.kind in "iu" else values


def _texts(letters: np.ndarray) -> np.ndarray:
    """Texts from their letters, along the last axis."""
    flat = letters.reshape(-1, letters.shape[-1]) if letters.size else np.zeros((0, 1), "S1")
    texts = [b"".join(row).rstrip(b"\0").decode() for row in flat.tolist()]
    return np.array(texts or [""], object).reshape(letters.shape[:-1])
