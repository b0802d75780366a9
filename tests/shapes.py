"""The check that the suite runs over every annotated function of the library: arrays have the shapes and types that are written down.

Only annotations of arrays are executed. What a user may give wrongly (a number for a Setup) is the library's own to refuse, in words.
"""

from collections.abc import Callable
from typing import Any, get_args, get_origin

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def typechecked(function):
    """The function with its annotations of arrays executed."""
    if isinstance(function, type):
        return function
    kept = {name: hint if _of_array(hint) else Any for name, hint in function.__annotations__.items()}
    function.__annotations__ = kept
    return _checked(function)


def _of_array(hint: Any) -> bool:
    if get_origin(hint) is Callable:
        return False
    own = isinstance(hint, type) and issubclass(hint, AbstractArray)
    return own or any(_of_array(part) for part in get_args(hint))
