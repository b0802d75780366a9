"""All finished points of a sweep as one Dataset, whose numbers are read when somebody asks for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from stablestep.errors import InvalidInput
from stablestep.sweep.result import FAILED, one, whole
from stablestep.sweep.store import Store

T = TypeVar("T")
FAILURE = "failure"


@dataclass(frozen=True)
class Cells:
    """The points of a sweep in a store: their keys in order, the dimensions that they make, and the frames of those that are finished."""

    store: Store
    keys: list[str]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    frames: dict[str, str]

    @property
    def some(self) -> dict[str, xr.Dataset]:
        """One finished point of each frame, by the frame, in the order of the points."""
        firsts: dict[str, str] = {}
        for key in self.keys:
            if key in self.frames:
                firsts.setdefault(self.frames[key], key)
        return {frame: self.read(key, whole) for frame, key in firsts.items() if frame != FAILED}

    @property
    def complete(self) -> bool:
        """Whether every point has a result."""
        return all(map(self.found, self.keys))

    def read(self, key: str, parse: Callable[..., T], *arguments: Any) -> T:
        """A finished point, or something of it.

        Raises:
            InvalidInput: if its file cannot be read.
        """
        frame = self.frames[key]
        content = self.store.read(key, frame)
        try:
            return parse(content, *arguments)
        except Exception as error:  # whatever SciPy raises of a file that is cut
            where = self.store.where(key, frame)
            raise InvalidInput(f'"{where}" is spoilt; delete it, and run the sweep again.') from error

    def found(self, key: str) -> bool:
        """Whether a point has a result."""
        return self.frames.get(key, FAILED) != FAILED


def merged(cells: Cells, labels: Mapping[str, list], attributes: Mapping[str, Any]) -> xr.Dataset:
    """What was found at all points, along the dimensions that they make.

    Where a point is not finished, or was refused, numbers are NaN and texts are empty; `failure` says why points were refused. What
    differs between points in size is padded in the same way. A coordinate of results that differs between points (t = kη where η is
    varied) becomes a variable with "_of_point" at the end of its name.
    """
    found = cells.some
    taken = {*labels, *cells.dims}
    coordinates = {name: (cells.dims if cells.dims == ("point",) else name, values) for name, values in labels.items()}
    common, differing = _coordinates(found)
    variables = {_free(str(name), taken): _renamed(variable, taken) for name, variable in common.items()}
    data = {}
    for name in dict.fromkeys(str(name) for each in found.values() for name in each.variables if name not in common):
        called = f"{name}_of_point" if name in differing else name
        data[_free(called, taken)] = _variable(cells, name, list(found.values()), taken)
    if FAILED in cells.frames.values():
        refused = {key for key in cells.keys if cells.frames.get(key) == FAILED}
        data[FAILURE] = cells.dims, _reasons(cells, refused)
    return xr.Dataset(data, {**coordinates, **variables}, dict(attributes))


def _free(name: str, taken: set[str]) -> str:
    """A name that no dimension of the points has."""
    return f"result.{name}" if name in taken else name


def _renamed(variable: xr.Variable, taken: set[str]) -> xr.Variable:
    return xr.Variable([_free(str(dim), taken) for dim in variable.dims], variable.values, variable.attrs)


def _coordinates(found: Mapping[str, xr.Dataset]) -> tuple[dict[Any, xr.Variable], set[Any]]:
    """Those that all points share, and the names of the others."""
    each = list(found.values())
    every = {name for one in each for name in one.coords}
    common = {
        name: each[0].variables[name]
        for one in each[:1]
        for name in one.coords
        if all(name in other.coords and other.variables[name].identical(one.variables[name]) for other in each)
    }
    return common, every - common.keys()


def _variable(cells: Cells, name: str, found: list[xr.Dataset], taken: set[str]) -> xr.Variable:
    each = [one.variables[name] for one in found if name in one.variables]
    dims = max((one.dims for one in each), key=len)
    shape = tuple(max(one.shape[axis] for one in each if len(one.dims) == len(dims)) for axis in range(len(dims)))
    padded = not cells.complete or len(each) < len(found) or any(one.shape != shape for one in each)
    values = _Lazy(cells, name, shape, _kind({one.dtype for one in each}, padded))
    lazy = indexing.MemoryCachedArray(indexing.CopyOnWriteArray(indexing.LazilyIndexedArray(values)))  # pyright: ignore
    return xr.Variable([*cells.dims, *(_free(str(dim), taken) for dim in dims)], lazy, each[0].attrs)


def _kind(kinds: set[np.dtype], padded: bool) -> np.dtype:
    """The type of numbers that holds those of all points, and NaN if it must; text is an object."""
    if any(kind.kind in "OUS" for kind in kinds):
        return np.dtype(object)
    if padded and any(kind.kind != "f" for kind in kinds):
        return np.dtype(np.float64)
    return np.result_type(*kinds)


def _reasons(cells: Cells, refused: set[str]) -> np.ndarray:
    words = [str(cells.read(key, one, FAILED)) if key in refused else "" for key in cells.keys]
    return np.array(words, object).reshape(cells.shape)


@dataclass
class _Lazy(BackendArray):
    """One variable over all points: what is indexed is read."""

    cells: Cells
    name: str
    inner: tuple[int, ...]
    dtype: np.dtype
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self):
        self.shape = (*self.cells.shape, *self.inner)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple) -> np.ndarray:
        own, inner = key[: len(self.cells.shape)], key[len(self.cells.shape) :]
        numbers = _outer(np.arange(len(self.cells.keys)).reshape(self.cells.shape), own)
        found = np.empty((numbers.size, *_outer(np.empty(self.inner, bool), inner).shape), self.dtype)
        for place, number in enumerate(numbers.ravel()):
            found[place, ...] = self._one(self.cells.keys[number], inner)
        return found.reshape((*numbers.shape, *found.shape[1:]))

    def _one(self, key: str, inner: tuple) -> np.ndarray:
        values = np.full(
            self.inner, "" if self.dtype == object else np.nan if self.dtype.kind == "f" else 0, self.dtype
        )
        found = self.cells.read(key, one, self.name) if self.cells.found(key) else None
        if found is not None:
            values[(*map(slice, found.shape), ...)] = found
        return _outer(values, inner)


def _outer(values: np.ndarray, key: tuple) -> np.ndarray:
    """Each axis indexed by itself."""
    for axis in reversed(range(len(key))):
        values = values[(*(slice(None),) * axis, key[axis])]
    return values
