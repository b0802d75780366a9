"""What shows itself as the call that made it: `RandK(k=2)`, with the arguments that a user writes and without those left out."""

import inspect
from functools import cache
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
import wadler_lindig as wl

SHORT = 8  # numbers that are written out
GROUPS = 6  # parts of a list that are
_ABSENT = object()
_PLAIN = (bool, int, float, str)


class Described(eqx.Module):
    """A part of a setup: its constructor's arguments give it again, and are what it shows.

    Attributes:
        stored: arguments kept under another name.
        usual: what an argument is where it is None.
    """

    stored: ClassVar[dict[str, str]] = {}
    usual: ClassVar[dict[str, Any]] = {}

    def __pdoc__(self, **settings: Any) -> wl.AbstractDoc | None:
        written = inspect.signature(type(self)).parameters
        held = parameters(self)
        if held.keys() != written.keys():
            return None  # and what it keeps is shown
        arguments, bare = [], True
        for name, value in held.items():
            if not self._usual(name, value):
                bare = bare and _bare(written[name], value)
                arguments += _argument(written[name], value, bare, settings)
        return _bracketed(self, arguments, settings)

    def _usual(self, name: str, value: Any) -> bool:
        """Whether the call says the same without this argument."""
        default = inspect.signature(type(self)).parameters[name].default
        default = self.usual.get(name, default) if default is None else default
        if isinstance(value, _PLAIN) and isinstance(default, _PLAIN):
            return value == default and isinstance(value, bool) == isinstance(default, bool)
        return value is default or (isinstance(value, eqx.Module) and repr(value) == repr(default))


def parameters(part: eqx.Module) -> dict[str, Any]:
    """The constructor arguments that give `part` again.

    >>> from stablestep.noise import Gaussian
    >>> parameters(Gaussian(sigma0=1.0))
    {'sigma0': 1.0, 'sigma1': 0.0}
    """
    held = ((name, getattr(part, attribute, _ABSENT)) for name, attribute in _attributes(type(part)))
    return {name: value for name, value in held if value is not _ABSENT}


@cache
def _attributes(kind: type) -> list[tuple[str, str]]:
    """The constructor's arguments of a class, and under which attributes it keeps them."""
    stored = getattr(kind, "stored", {})
    return [(name, stored.get(name, name)) for name in inspect.signature(kind).parameters]


def describe(part: Any) -> str:
    """A part in one line, with all that it is made of, for provenance.

    >>> from stablestep import noise
    >>> describe(noise.StudentT(df=3, scale=[1.0, 2.0]))
    'StudentT(df=3.0, scale=[1.0, 2.0])'
    """
    return wl.pformat(part, width=10_000, every=True)


def call(made: Any, arguments: dict[str, Any], settings: dict[str, Any]) -> wl.AbstractDoc:
    """The call that made an object, with all arguments by name."""
    return _bracketed(
        made, [wl.TextDoc(f"{name}=") + _value(value, settings) for name, value in arguments.items()], settings
    )


def _bracketed(made: Any, arguments: list[wl.AbstractDoc], settings: dict[str, Any]) -> wl.AbstractDoc:
    return wl.bracketed(wl.TextDoc(f"{type(made).__name__}("), arguments, wl.comma, wl.TextDoc(")"), settings["indent"])


def _bare(parameter: inspect.Parameter, value: Any) -> bool:
    """Whether an argument stands without its name: parts, arrays and functions that must be given do, numbers do not."""
    given = parameter.kind is parameter.VAR_POSITIONAL or parameter.default is parameter.empty
    return given and (value is None or callable(value) or isinstance(value, eqx.Module | tuple) or np.ndim(value) > 0)


def _argument(parameter: inspect.Parameter, value: Any, bare: bool, settings: dict[str, Any]) -> list[wl.AbstractDoc]:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return _listed(value, settings)
    doc = _value(value, settings)
    return [doc if bare else wl.TextDoc(f"{parameter.name}=") + doc]


def _listed(values: Any, settings: dict[str, Any]) -> list[wl.AbstractDoc]:
    """Each of several parts; of many the first."""
    written = values if settings.get("every") or len(values) <= GROUPS + 2 else values[:GROUPS]
    left = len(values) - len(written)
    return [_value(value, settings) for value in written] + ([wl.TextDoc(f"… {left} more")] if left else [])


def _value(value: Any, settings: dict[str, Any]) -> wl.AbstractDoc:
    if isinstance(value, np.ndarray) and 0 < value.size <= SHORT and value.ndim > 0:
        return wl.TextDoc(repr(value.tolist()))
    return wl.pdoc(value, **settings)
