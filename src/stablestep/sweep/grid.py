"""The points of a sweep: a grid or a list, by names of parameters of the setup, its schedule, or arguments of the function."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stablestep.errors import InvalidInput, instance, require, shown
from stablestep.schedule import Schedule
from stablestep.setup import Setup
from stablestep.vary import label, values_of, vary_all

POINT = "point"  # the dimension of a list


@dataclass(frozen=True)
class Points:
    """What is varied: `axes` of a grid, or the `rows` of a list with values of `names`.

    >>> points = Points(("omega", "count"), axes=([1.0, 2.0], [1, 4, 16]))
    >>> len(points), points.shape, points[4]
    (6, (2, 3), {'omega': 2.0, 'count': 4})
    """

    names: tuple[str, ...]
    axes: tuple[list, ...] = ()
    rows: tuple[tuple, ...] = ()

    @property
    def dims(self) -> tuple[str, ...]:
        """The dimensions of the result that the points make."""
        return (POINT,) if self.rows else self.names

    @property
    def shape(self) -> tuple[int, ...]:
        """How many there are along each."""
        return (len(self.rows),) if self.rows else tuple(map(len, self.axes))

    def __len__(self) -> int:
        return math.prod(self.shape)

    def __getitem__(self, number: int) -> dict[str, Any]:
        if self.rows:
            return dict(zip(self.names, self.rows[number]))
        places = np.unravel_index(number, self.shape)
        return {name: axis[place] for name, axis, place in zip(self.names, self.axes, places)}

    @property
    def labels(self) -> dict[str, list]:
        """What is varied as numbers and texts, by name."""
        columns = zip(*self.rows) if self.rows else self.axes
        return {name: [label(value) for value in column] for name, column in zip(self.names, columns)}

    def words(self, number: int) -> str:
        """A point in words."""
        return ", ".join(f"{name} = {label(value)}" for name, value in self[number].items()) or "the only point"


def points_of(grid: Any) -> Points:
    """A mapping of names to lists of values, or a list of mappings with the same names.

    Raises:
        InvalidInput: for anything else, or where there is no value.

    >>> points_of([{"omega": 1.0, "count": 4}, {"omega": 8.0, "count": 2}]).words(1)
    'omega = 8.0, count = 2'
    """
    if isinstance(grid, Mapping):
        return Points(tuple(grid), axes=tuple(values_of(name, grid[name]) for name in grid))
    rows: list[Any] = list(grid) if isinstance(grid, Sequence) and not isinstance(grid, str) else [grid]
    require(
        all(isinstance(row, Mapping) for row in rows),
        f"the points are {shown(grid)}, but must map names to lists of values, or be a list of points such as "
        '[{"omega": 3, "count": 4}].',
    )
    require(len(rows) > 0, "there are no points; give at least one.")
    names = tuple(rows[0])
    for row in rows:
        require(
            set(row) == set(names) and all(isinstance(name, str) for name in row),
            f"the points name {shown(list(names))} and {shown(list(row))}, but must all name the same parameters.",
        )
    return Points(names, rows=tuple(tuple(row[name] for name in names) for row in rows))


Case = tuple[Setup, dict[str, Any]]


def case(function: Callable, setup: Setup, arguments: Mapping[str, Any], point: Mapping[str, Any]) -> Case:
    """The setup and the arguments of the function at a point: its names are the function's own arguments, or parameters as for `vary`.

    Raises:
        InvalidInput: if nothing has a parameter of that name, or two names are of one.
    """
    own = _own(function)
    arguments = {**arguments, **{name: value for name, value in point.items() if name in own}}
    schedule = arguments.get("schedule")
    varied = {name: value for name, value in point.items() if name not in own}
    if not isinstance(schedule, Schedule):
        return vary_all(setup, None, varied)[0], arguments
    setup, arguments["schedule"] = vary_all(setup, schedule, varied)
    return setup, arguments


def _own(function: Callable) -> list[str]:
    return list(_signature(function).parameters)[1:]


def _signature(function: Callable) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the function is {shown(function)}, but must be one of a setup, such as stability.critical_step."
        ) from error


def check(function: Any, setup: Any, points: Points, arguments: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` unless the function takes the setup and these arguments."""
    require(
        callable(function),
        f"the function is {shown(function)}, but must be one of a setup, such as stability.critical_step.",
    )
    instance("setup", setup, Setup, "Setup(problem, Agents(4))")
    signature, own = _signature(function), _own(function)
    for name in points.names:
        require(name not in arguments, f'"{name}" is given twice, as an argument and in the grid; leave one out.')
    varied = dict.fromkeys((name for name in points.names if name in own), 0)
    try:
        signature.bind(setup, **arguments, **varied)
    except TypeError as error:
        raise InvalidInput(
            f"{called(function)} cannot be called so: {error}; it takes {', '.join(own) or 'a setup'}."
        ) from error


def called(function: Any) -> str:
    """What a function is called."""
    inner = getattr(function, "func", function)  # of functools.partial
    return getattr(inner, "__qualname__", type(inner).__name__)
