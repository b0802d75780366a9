"""A setup (and a schedule) with parameters changed, found by their names or by paths to them."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import numpy as np

from stablestep.described import describe, parameters
from stablestep.errors import InvalidInput, instance, is_number, nearest, require, shown
from stablestep.setup import Setup

ALL = "agents.all"


def vary(setup: Setup, name: str, value: Any) -> Setup:
    """The setup with the parameter `name` set to `value`: an argument of agents, noise, compressor, server or problem, however deep.

    Args:
        name: the argument alone, where it has one value in the whole setup; or a path: "agents.2.omega" is that of the second group,
            "agents.all.omega" that of every group, "server.beta" and "problem.dim" those of one part; where a part has several of one
            name, "agents.2.compressor.inner.beta" is that of one part in it.

    Raises:
        InvalidInput: if no part of the setup has such a parameter, or several have it with different values and no path says which.

    >>> from stablestep.problem import Quartic
    >>> from stablestep.setup import Agents
    >>> vary(Setup(Quartic(dim=4), Agents(3)), "count", 5).count
    5
    >>> vary(Setup(Quartic(dim=4), Agents(3), Agents(1)), "agents.2.count", 5).count
    8
    """
    instance("setup", setup, Setup, "Setup(problem, Agents(4))")
    return _assembled(_varied(_parts(setup), name, value))


def vary_all(setup: Setup, schedule: eqx.Module | None, point: Mapping[str, Any]) -> tuple[Setup, Any]:
    """As `vary`, several parameters one after another, with a schedule beside the setup; the path of its parameters begins with "schedule".

    Raises:
        InvalidInput: as `vary`, and if one name would undo what another one says.

    >>> from stablestep.problem import Quartic
    >>> from stablestep.schedule import Constant
    >>> from stablestep.setup import Agents
    >>> setup, schedule = vary_all(Setup(Quartic(dim=4), Agents(3)), Constant(0.1), {"eta": 0.2, "count": 5})
    >>> setup.count, schedule.eta
    (5, 0.2)
    """
    parts, said = _parts(setup) | {"schedule": schedule}, {}
    for name, value in point.items():
        sites = [f"{place}.{_last(name)}" for place in _places(parts, name)]
        _require_apart(name, sites, said)
        said |= dict.fromkeys(sites, name)
        parts = _varied(parts, name, value)
    changed = parts.pop("schedule")
    return _assembled(parts), changed


def values_of(name: Any, values: Any) -> list:
    """What a grid says of a parameter: a list of values, of any kind.

    >>> values_of("omega", range(2))
    [0, 1]
    """
    fits = isinstance(values, Sequence) or (hasattr(values, "shape") and np.ndim(values) > 0)
    require(
        isinstance(name, str) and fits and not isinstance(values, (str, bytes)),
        f"the grid has {shown(name)}: {shown(values)}, but must map names of parameters to lists of values.",
    )
    require(len(values) > 0, f'the grid has no values of "{name}"; give at least one.')
    return list(values)


def label(value: Any) -> Any:
    """A value of a grid as a number or a text.

    >>> label(np.float64(2)), label(np.ones(2)), label(None)
    (2.0, '[1.0, 1.0]', 'None')
    """
    if isinstance(value, bool | str) or is_number(value):
        return np.asarray(value).item()
    return shown(value.tolist()) if isinstance(value, np.ndarray) else describe(value)


def _require_apart(name: str, sites: list[str], said: dict[str, str]) -> None:
    """Where one value takes the place of another, a result would carry one that was never used."""
    for before, other in said.items():
        require(before not in sites, f'"{other}" and "{name}" are both {before}; leave one of them out.')
        replaced = any(before.startswith(f"{site}.") for site in sites)
        require(not replaced, f'"{name}" would replace what "{other}" says; give "{name}" first.')


def _parts(setup: Setup) -> dict[str, Any]:
    groups = {f"agents.{number}": group for number, group in enumerate(setup.groups, start=1)}
    return {"problem": setup.base, **groups, "server": setup.server}


def _assembled(parts: dict[str, Any]) -> Setup:
    groups = [part for path, part in parts.items() if path.startswith("agents.")]
    return Setup(parts["problem"], *groups, server=parts["server"])


def _varied(parts: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    for place in sorted(_places(parts, name), key=len, reverse=True):  # the innermost first
        parts = _replaced(parts, place, _last(name), value)
    return parts


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _places(parts: dict[str, Any], name: str) -> list[str]:
    """The paths of the parts that have the parameter."""
    path, _, last = name.rpartition(".")
    chosen = _chosen(parts, path, name)
    sites = {place: part for start, part in chosen.items() for place, part in _sites(start, part, last, bool(path))}
    if not sites:
        known = {known for part in chosen.values() for known in _names(part)}
        where = f'"{path}"' if path else "nothing in the setup"
        raise InvalidInput(f'{where} has {"no" if path else "a"} parameter "{last}". {nearest(last, known)}')
    if path != ALL:
        _require_alike({place: parameters(part)[last] for place, part in sites.items()}, last)
    return list(sites)


def _chosen(parts: dict[str, Any], path: str, name: str) -> dict[str, Any]:
    """The parts to look into, by their paths."""
    if path == ALL or not path:
        return {place: part for place, part in parts.items() if part is not None and (not path or _is_group(place))}
    known = {place: part for start, part in parts.items() for place, part in _tree(start, part)}
    require(path in known, f'nothing is called "{name}". {nearest(path, [*known, ALL])}')
    return {path: known[path]}


def _is_group(place: str) -> bool:
    return place.startswith("agents.")


def _tree(place: str, part: Any):
    """Every part in a part, by its path, from the outside in."""
    if part is not None:
        yield place, part
        for name, inner in _inside(part).items():
            yield from _tree(f"{place}.{name}", inner)


def _sites(place: str, part: Any, name: str, exact: bool):
    """Where the parameter is; with `exact`, of the part itself if it has one."""
    if exact and name in parameters(part):
        return [(place, part)]
    found = [(inside, inner) for inside, inner in _tree(place, part) if name in parameters(inner)]
    # What stands in a part that is replaced goes with it.
    return [site for site in found if not any(f"{site[0]}.".startswith(f"{outer}.{name}.") for outer, _ in found)]


def _require_alike(found: dict[str, Any], last: str) -> None:
    """One name for several parameters that are unlike would change more than is meant, without a word."""
    values = list(found.values())
    if not all(_equal(values[0], value) for value in values[1:]):
        one = ", ".join(f"{place}.{last} = {shown(value)}" for place, value in found.items())
        more = (
            f', or all groups by "{ALL}.{last}"'
            if len({place.split(".")[1] for place in found if _is_group(place)}) > 1
            else ""
        )
        raise InvalidInput(f'"{last}" is several unlike parameters here ({one}); name one of them by its path{more}.')


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, eqx.Module) or isinstance(other, eqx.Module):
        return bool(eqx.tree_equal(one, other))
    return bool(np.array_equal(one, other)) if one is not None and other is not None else one is other


def _inside(part: Any) -> dict[str, Any]:
    """The parts among the arguments of a part."""
    return {name: value for name, value in parameters(part).items() if isinstance(value, eqx.Module)}


def _names(part: Any) -> set[str]:
    return set(parameters(part)).union(*(_names(inner) for inner in _inside(part).values()))


def _replaced(parts: dict[str, Any], place: str, name: str, value: Any) -> dict[str, Any]:
    """The parts with one argument of the part at `place` changed."""
    start = next(start for start in parts if f"{place}.".startswith(f"{start}."))
    steps = place[len(start) + 1 :].split(".") if place != start else []
    return {**parts, start: _rebuilt(parts[start], [*steps, name], value)}


def _rebuilt(part: Any, steps: list[str], value: Any):
    """Through constructors, so that every check applies to the new value."""
    arguments, (name, *more) = parameters(part), steps
    return type(part)(**{**arguments, name: _rebuilt(arguments[name], more, value) if more else value})
