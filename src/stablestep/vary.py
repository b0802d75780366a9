"""A setup (and a schedule) with one of its parameters changed, found by its name or by a path to it."""

import inspect
from typing import Any

import equinox as eqx
import numpy as np

from stablestep.errors import InvalidInput, nearest, require, shown
from stablestep.setup import Setup

ALL = "agents.all"


def vary(setup: Setup, name: str, value: Any) -> Setup:
    """The setup with the parameter `name` set to `value`: an argument of agents, noise, compressor, server or problem, however deep.

    Args:
        name: the argument alone, where it has one value in the whole setup; or a path: "agents.2.omega" is that of the second group,
            "agents.all.omega" that of every group, "server.beta" and "problem.dim" those of one part.

    Raises:
        InvalidInput: if no part of the setup has such a parameter, or several have it with different values and no path says which.

    >>> from stablestep.problem import Quartic
    >>> from stablestep.setup import Agents
    >>> vary(Setup(Quartic(dim=4), Agents(3)), "count", 5).count
    5
    >>> vary(Setup(Quartic(dim=4), Agents(3), Agents(1)), "agents.2.count", 5).count
    8
    """
    return _assembled(_varied(_parts(setup), name, value))


def vary_with(setup: Setup, schedule: eqx.Module, name: str, value: Any) -> tuple[Setup, Any]:
    """As `vary`, with a schedule beside the setup; the path of its parameters begins with "schedule".

    >>> from stablestep.problem import Quartic
    >>> from stablestep.schedule import Constant
    >>> from stablestep.setup import Agents
    >>> vary_with(Setup(Quartic(dim=4), Agents(3)), Constant(0.1), "eta", 0.2)[1].eta
    0.2
    """
    parts = _varied(_parts(setup) | {"schedule": schedule}, name, value)
    changed = parts.pop("schedule")
    return _assembled(parts), changed


def parameters(part: eqx.Module) -> dict[str, Any]:
    """The constructor arguments that give `part` again.

    >>> from stablestep.noise import Gaussian
    >>> parameters(Gaussian(sigma0=1.0))
    {'sigma0': 1.0, 'sigma1': 0.0}
    """
    stored = getattr(type(part), "stored", {})
    names = inspect.signature(type(part)).parameters
    return {name: getattr(part, stored.get(name, name)) for name in names if hasattr(part, stored.get(name, name))}


def _parts(setup: Setup) -> dict[str, Any]:
    groups = {f"agents.{number}": group for number, group in enumerate(setup.groups, start=1)}
    return {"problem": setup.base, **groups, "server": setup.server}


def _assembled(parts: dict[str, Any]) -> Setup:
    groups = [part for path, part in parts.items() if path.startswith("agents.")]
    return Setup(parts["problem"], *groups, server=parts["server"])


def _varied(parts: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    path, _, last = name.rpartition(".")
    chosen = _chosen(parts, path, name)
    sites = {place: list(_values(part, last)) for place, part in chosen.items()}
    found = {place: values for place, values in sites.items() if values}
    if not found:
        known = {known for part in chosen.values() for known in _names(part)}
        where = f'"{path}"' if path else "nothing in the setup"
        raise InvalidInput(f'{where} has {"no" if path else "a"} parameter "{last}". {nearest(last, known)}')
    _require_alike(found, path, last)
    return {place: _replaced(part, last, value) if place in found else part for place, part in parts.items()}


def _chosen(parts: dict[str, Any], path: str, name: str) -> dict[str, Any]:
    if path == ALL:
        return {place: part for place, part in parts.items() if place.startswith("agents.")}
    require(not path or path in parts, f'nothing is called "{name}". {nearest(path, [*parts, ALL])}')
    present = {place: part for place, part in parts.items() if not path or place == path}
    return {place: part for place, part in present.items() if part is not None}


def _require_alike(found: dict[str, list], path: str, last: str) -> None:
    """One name for several parameters that are unlike would change more than is meant, without a word."""
    values = [value for some in found.values() for value in some]
    alike = path == ALL or all(_equal(values[0], value) for value in values[1:])
    if not alike:
        one = ", ".join(f"{place}.{last} = {shown(some[0])}" for place, some in found.items())
        more = f', or all groups by "{ALL}.{last}"' if sum(place.startswith("agents.") for place in found) > 1 else ""
        raise InvalidInput(f'"{last}" is several unlike parameters here ({one}); name one of them by its path{more}.')


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, eqx.Module) or isinstance(other, eqx.Module):
        return bool(eqx.tree_equal(one, other))
    return bool(np.array_equal(one, other)) if one is not None and other is not None else one is other


def _inside(part: Any) -> dict[str, Any]:
    """The parts among the arguments of a part."""
    return {name: value for name, value in parameters(part).items() if isinstance(value, eqx.Module)}


def _values(part: Any, name: str):
    arguments = parameters(part)
    if name in arguments:
        yield arguments[name]
    for key, inner in _inside(part).items():
        if key != name:
            yield from _values(inner, name)


def _names(part: Any) -> set[str]:
    return set(parameters(part)).union(*(_names(inner) for inner in _inside(part).values()))


def _replaced(part: Any, name: str, value: Any):
    """Rebuild `part` through its constructor, so that every check applies to the new value."""
    arguments = parameters(part)
    inner = {key: _replaced(old, name, value) for key, old in _inside(part).items() if key != name}
    own = {name: value} if name in arguments else {}
    return type(part)(**{**arguments, **inner, **own}) if own or inner else part
