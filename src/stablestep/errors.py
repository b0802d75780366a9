"""What a user is told when an input cannot be right, and the checks that say it: the words of every refusal, once."""

import math
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
Numbers = float | Sequence[float] | Sequence[Sequence[float]] | np.ndarray  # what a user gives for an array
FORMS = ("corrected", "printed")  # of every formula that the papers print differently
_MOST = 2**31 - 1  # of a count: what a 32-bit index can address
_SEEDS = 2**64  # a stream has a key of 64 bits


class InvalidInput(ValueError):
    """An input that cannot be right; the message names it, its value, and what to do."""


def require(condition: Any, message: str) -> None:
    """Raise `InvalidInput(message)` unless `condition` holds.

    >>> require(1 + 1 == 2, "never said")
    """
    if not condition:
        raise InvalidInput(message)


def shown(value: object) -> str:
    """A value in one line of an error message, texts in quotes.

    >>> shown("a"), len(shown(list(range(100))))
    ('"a"', 81)
    """
    line = f'"{value}"'.replace("\n", " ") if isinstance(value, str) else " ".join(_written(value).split())
    return line if len(line) <= 80 else line[:80] + "…"


def _written(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes no whole number of thousands of digits
        return f"a {type(value).__name__} too large to be written"


def nearest(name: str, options: Iterable[str]) -> str:
    """The hint that ends a message about an unknown name.

    >>> nearest("Gausian", ["Gaussian", "StudentT"])
    'Did you mean "Gaussian"? Known: Gaussian, StudentT.'
    """
    known = sorted(options)
    if not known:
        return "There is none."
    close = get_close_matches(name, known, n=1)
    return (f'Did you mean "{close[0]}"? ' if close else "") + f"Known: {', '.join(known)}."


def first_line(error: BaseException) -> str:
    """Of what an exception says, which may be nothing.

    >>> first_line(ValueError("one\\ntwo")), first_line(ValueError())
    ('one', '')
    """
    return next(iter(str(error).splitlines()), "")


def named(what: str, value: Any, options: Iterable[str]) -> str:
    """`value`, which must name one of many.

    >>> named("predictor", "ramps", ["ramp", "rollouts"])
    Traceback (most recent call last):
    stablestep.errors.InvalidInput: there is no predictor "ramps". Did you mean "ramp"? Known: ramp, rollouts.
    """
    names = list(options)
    fits = isinstance(value, str) and value in names
    require(fits, f"there is no {what} {shown(value)}. {nearest(str(value), names)}")
    return value


def one_of(name: str, value: Any, options: Iterable[str]) -> str:
    """`value`, which must be one of a few words.

    >>> one_of("mask", "own", ("own", "shared"))
    'own'
    """
    words = [f'"{option}"' for option in options]
    listed = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    require(isinstance(value, str) and f'"{value}"' in words, f"{name} is {shown(value)}, but must be {listed}.")
    return value


def is_number(value: object) -> bool:
    """Whether it is one real number that a float can hold: Python's, NumPy's or an array or tensor of no dimension; no bool and no text."""
    return _is_real(value) and not (isinstance(value, Real) and _beyond_floats(value))


def _is_real(value: object) -> bool:
    if isinstance(value, (bool, np.bool_, str, list, tuple, dict)):
        return False
    return isinstance(value, Real) or (np.ndim(value) == 0 and _kind(value) in "iuf")  # type: ignore[arg-type]


def _kind(value: Any) -> str:
    """NumPy's letter for what an array holds; torch's types have none, and show it in an entry."""
    kind = getattr(getattr(value, "dtype", np.dtype(object)), "kind", None)
    return kind or {int: "i", float: "f"}.get(type(getattr(value, "item", object)()), "O")


def _beyond_floats(value: Real) -> bool:
    try:
        float(value)
    except OverflowError:
        return True
    return False


def whole(name: str, value: Any, least: int = 1, most: int = _MOST, hint: str = "") -> int:
    """`value` as an int: a whole number (NumPy's and 3.0 are taken, True, "1" and None are not) in [least, most].

    >>> whole("count", np.int64(3)), whole("count", 3.0)
    (3, 3)
    """
    integral = isinstance(value, Integral)
    fits = _is_real(value) and (integral or (is_number(value) and math.isfinite(value) and int(value) == value))
    require(
        fits and int(value) >= least, f"{name} is {shown(value)}, but must be a whole number of at least {least}{hint}."
    )
    require(value <= most, f"{name} is {shown(value)}, but must be at most {most}{hint}.")
    return int(value)


def seed_of(value: Any, name: str = "seed") -> int:
    """`value` as a seed: a whole number in [0, 2⁶⁴), so that different seeds are different runs.

    >>> seed_of(np.uint64(7))
    7
    """
    integral = isinstance(value, Integral) and not isinstance(value, (bool, np.bool_))
    require(integral, f"{name} is {shown(value)}, but must be a whole number, such as 0.")
    require(0 <= int(value) < _SEEDS, f"{name} is {shown(value)}, but must be at least 0 and below 2**64.")
    return int(value)


def positive(name: str, value: Any) -> float:
    """`value` as a float, which must be finite and greater than 0.

    >>> positive("eta", 1)
    1.0
    """
    fits = is_number(value) and 0 < float(value) < math.inf
    require(fits, f"{name} is {shown(value)}, but must be a finite number greater than 0.")
    return float(value)


def at_least_zero(name: str, value: Any) -> float:
    """`value` as a float, which must be finite and at least 0.

    >>> at_least_zero("power", 0)
    0.0
    """
    fits = is_number(value) and 0 <= float(value) < math.inf
    require(fits, f"{name} is {shown(value)}, but must be a finite number of at least 0.")
    return float(value)


def within(name: str, value: Any, low: float, high: float, hint: str = "") -> float:
    """`value` as a float strictly between `low` and `high`.

    >>> within("epsilon", 0.5, 0, 1)
    0.5
    """
    fits = is_number(value) and low < float(value) < high
    require(fits, f"{name} is {shown(value)}, but must be between {low:g} and {high:g} (both excluded){hint}.")
    return float(value)


def numbers(name: str, value: Any) -> np.ndarray:
    """A float64 copy of `value`, which must be a number or an array of numbers: rows of unequal length, texts and booleans are refused.

    >>> numbers("weights", [1, 2.5]).tolist()
    [1.0, 2.5]
    """
    try:
        given = np.array(value)
        # Floats that NumPy does not know itself (bfloat16) have the kind "V".
        fits = given.dtype.kind in "iufV" or (given.dtype.kind == "O" and all(map(is_number, given.flat)))
        array = given.astype(np.float64) if fits else None
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last for a torch tensor that needs its gradient
        array = None
    if array is None:
        raise InvalidInput(f"{name} is {shown(value)}, but must be a number, or numbers in rows of equal length.")
    return array


def listed(name: str, value: Any, example: str) -> list[str]:
    """`value` as a list of words; one word alone would be taken letter by letter.

    >>> listed("models", ("first", "new"), "first")
    ['first', 'new']
    """
    fits = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
    require(fits, f'{name} is {shown(value)}, but must be a list, such as ["{example}"].')
    return list(value)


def flag(name: str, value: Any) -> bool:
    """`value` as a bool, which it must be: the text "no" is true to Python.

    >>> flag("warm", np.True_)
    True
    """
    require(isinstance(value, (bool, np.bool_)), f"{name} is {shown(value)}, but must be True or False.")
    return bool(value)


def instance(name: str, value: Any, kind: type[T], example: str) -> T:
    """`value`, which must be of the class `kind`; `example` shows one.

    >>> instance("setup", 3, int, "3")
    3
    """
    if not isinstance(value, kind):
        called = f"; call it: {value.__name__}(…)" if isinstance(value, type) and issubclass(value, kind) else ""
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise InvalidInput(
            f"{name} is {shown(value)}, but must be {article} {kind.__name__}, such as {example}{called}."
        )
    return value


def checked(check: Callable[..., T], name: str, **limits: Any) -> Callable[[Any], T]:
    """A field's converter that checks it.

    >>> checked(whole, "levels", least=2)(3)
    3
    """

    def convert(value):
        return check(name, value, **limits)

    # For the signature of the class: what comes out is what should go in.
    convert.__annotations__["value"] = limits.get("kind", check.__annotations__.get("return", Any))
    return convert
