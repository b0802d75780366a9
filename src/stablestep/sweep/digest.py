"""A digest of what is computed: the same in every process, and another for whatever could change the result."""

import dataclasses
import functools
import hashlib
import inspect
import sys
from collections.abc import Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import numpy as np

from stablestep.errors import InvalidInput, shown

OURS = {"stablestep", "jax", "jaxlib", "numpy", "scipy", "equinox", "builtins"} | sys.stdlib_module_names
SIZE = 16  # bytes of a digest


def digest(*values: Any) -> bytes:
    """16 bytes that stand for the contents of these values: numbers, arrays, parts, functions with their code and what they hold.

    A function of an installed package is known by its name; of one's own by its code, defaults, closure and the globals that it
    names, so that an edited function is another one.

    Raises:
        InvalidInput: for an object whose contents nobody can tell, such as a generator.

    >>> digest(1.0, "a") == digest(1.0, "a"), digest(lambda x: x + 1) == digest(lambda x: x + 2)
    (True, False)
    """
    return _Reading({}, ()).of(values)


class _Reading:
    """One value that is read: `known` are the digests of those that were, by their ids, `open` the ids of those that it is inside."""

    def __init__(self, known: dict[int, tuple[Any, bytes]], open: tuple[int, ...]):
        self.hash, self.known, self.open = hashlib.blake2b(digest_size=SIZE), known, open

    def of(self, values: Any) -> bytes:
        """The digest of several values."""
        self._all(values)
        return self.hash.digest()

    def put(self, *words: Any) -> None:
        """Words that no other words can be taken for."""
        for word in words:
            raw = word if isinstance(word, bytes) else str(word).encode(errors="surrogatepass")
            self.hash.update(len(raw).to_bytes(8, "little") + raw)

    def take(self, value: Any) -> None:
        """A value of any kind."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return self.put(type(value).__name__, value if isinstance(value, str | bytes) else repr(value))
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            return self._array(np.asarray(value))
        if id(value) in self.open:
            return self.put("inside itself", self.open.index(id(value)))
        if id(value) not in self.known:
            inner = _Reading(self.known, (*self.open, id(value)))
            inner._compound(value)
            self.known[id(value)] = value, inner.hash.digest()  # held, or another object might get its id
        return self.put(self.known[id(value)][1])

    def _array(self, array: np.ndarray) -> None:
        if array.dtype == object:
            self.put("objects", array.shape)
            return self._all(array.ravel().tolist())
        return self.put("array", array.dtype.str, array.shape, array.tobytes())

    def _all(self, values: Any) -> None:
        for value in values:
            self.take(value)

    def _compound(self, value: Any) -> None:
        for kinds, read in _READERS:
            if isinstance(value, kinds):
                return read(self, value)
        if hasattr(value, "__wrapped__"):  # what jit makes of a function
            self.put("wrapped", type(value).__name__)
            return self.take(value.__wrapped__)
        return self._object(value)

    def _sequence(self, value: Any) -> None:
        self.put(type(value).__name__, len(value))
        self._all(value)

    def _mapping(self, value: Mapping) -> None:
        self.put("mapping", len(value))
        for key in sorted(value, key=repr):
            self.take(key)
            self.take(value[key])

    def _set(self, value: Any) -> None:
        self.put("set", *sorted(map(repr, value)))

    def _named(self, value: Any) -> None:
        self.put(type(value).__name__, value.__name__)

    def _partial(self, value: functools.partial) -> None:
        self.put("partial")
        self._all((value.func, value.args, value.keywords))

    def _method(self, value: MethodType) -> None:
        self.put("method")
        self._all((value.__func__, value.__self__))

    def _function(self, function: FunctionType) -> None:
        if _installed(function.__module__) and "<" not in function.__qualname__:
            return self.put("installed", function.__module__, function.__qualname__)
        self.put("function", function.__qualname__)
        held = [_cell(cell) for cell in function.__closure__ or ()]
        self._all((function.__code__, function.__defaults__, function.__kwdefaults__, held))
        for name in sorted(_names(function.__code__) & function.__globals__.keys()):
            self.put(name)
            self._loosely(function.__globals__[name])
        return None

    def _loosely(self, value: Any) -> None:
        """A global, which may be anything: what nobody can read is known by its kind."""
        try:
            self.take(value)
        except InvalidInput:
            self.put(type(value).__qualname__)

    def _code(self, code: CodeType) -> None:
        self.put("code", code.co_code, *code.co_names, "", *code.co_varnames, "", *code.co_freevars)
        self._all(const for const in code.co_consts if not isinstance(const, frozenset))
        self.put(*sorted(repr(sorted(map(repr, const))) for const in code.co_consts if isinstance(const, frozenset)))

    def _class(self, kind: type) -> None:
        self.put("class", kind.__module__ if _installed(kind.__module__) else "", kind.__qualname__)
        if not _installed(kind.__module__):
            self._all(kind.__bases__)
            for name, value in sorted(vars(kind).items()):
                if isinstance(value, FunctionType | property | classmethod | staticmethod) and not _made(value):
                    self.put(name)
                    self._all([value] if isinstance(value, FunctionType) else filter(None, _inside(value)))

    def _object(self, value: Any) -> None:
        held = _held(value)
        if held is None:
            raise InvalidInput(
                f"nobody can tell what {shown(value)} holds, so its results cannot be kept; give numbers, arrays, parts or functions."
            )
        self.take(type(value))
        self._mapping(held)


_READERS: tuple[tuple[Any, Any], ...] = (
    ((list, tuple), _Reading._sequence),
    (Mapping, _Reading._mapping),
    ((set, frozenset), _Reading._set),
    (FunctionType, _Reading._function),
    (functools.partial, _Reading._partial),
    (MethodType, _Reading._method),
    (CodeType, _Reading._code),
    ((BuiltinFunctionType, ModuleType, np.ufunc), _Reading._named),
    (type, _Reading._class),
)


def _installed(module: str | None) -> bool:
    """Whether a module's version stands for its contents."""
    if not module or module == "__main__":
        return False
    if module.partition(".")[0] in OURS:
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


def _held(value: Any) -> dict[str, Any] | None:
    """What an object holds, by name; None where that cannot be told."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    return vars(value) if hasattr(value, "__dict__") and not inspect.ismodule(value) else None


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty yet
        return None


def _names(code: CodeType) -> set[str]:
    """The names that a function looks up, those of functions inside it too."""
    inner = (_names(const) for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*inner)


def _made(value: Any) -> bool:
    """Whether a decorator, such as that of a dataclass, wrote a method."""
    return isinstance(value, FunctionType) and value.__code__.co_filename.startswith("<string>")


def _inside(value: Any) -> tuple[Any, ...]:
    if isinstance(value, property):
        return value.fget, value.fset
    return (value.__func__,)
