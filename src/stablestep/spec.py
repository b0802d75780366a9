"""A setup, a schedule and a run from a TOML file, checked before anything is computed."""

import inspect
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stablestep import compressor, noise, problem, schedule, server
from stablestep.errors import InvalidInput, nearest, numbers, require, seed_of
from stablestep.files import read_array
from stablestep.setup import Agents, Setup

# A table with a `type` describes an object of a public class of one of these.
MODULES = (problem, noise, compressor, schedule, server)

# What a table cannot describe, and what to write instead.
ELSEWHERE = {
    "Function": "a function is Python code: use Setup(problem.Function(f, dim), ...) in Python",
    "FiniteSum": "a function is Python code: use Setup(problem.FiniteSum(f, data, dim), ...) in Python",
    "Custom": "a function is Python code: use schedule.Custom(eta, function) in Python",
    "Limited": 'it is what a StepLimit becomes for a setup: use type = "StepLimit"',
    "Mixture": "give each group in [[agents]] a problem of its own, and f is their mixture",
}


@dataclass(frozen=True)
class Spec:
    """What a file describes: `simulate(spec.setup, schedule=spec.schedule, **spec.run)` runs it."""

    setup: Setup
    schedule: Any
    run: dict[str, Any]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


_Part = dict[str, Any]  # a table that names a class as its `type`; its other keys are the arguments of the class


class _Agents(_Table):
    count: int = 1
    noise: _Part | None = None
    compressor: _Part | None = None
    problem: _Part | None = None
    mask: Literal["own", "shared", "common"] = "own"


class _Run(_Table):
    steps: int | None = None
    x0: float | list[float] | str
    runs: int = 100
    seed: int = 0
    record: int | list[int] | str | None = None
    sampling: Literal["auto", "law", "agents"] = "auto"
    radius: float | None = None
    final: bool = False
    dtype: Literal["float32", "float64"] = "float32"


class _File(_Table):
    problem: _Part | None = None
    agents: list[_Agents] = Field(min_length=1)
    schedule: _Part | None = None
    server: _Part | None = None
    run: _Run
    grid: dict[str, list[int | float]] = Field(default_factory=dict)


EXAMPLES = {"grid": "omega = [1, 8]", "run": "x0 = 0.5, steps = 100"}  # of tables without a type
WORDS = {  # for what pydantic calls by Python's names
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "string_type": "a text",
}
KEYS: dict[Any, type[BaseModel]] = {"agents": _Agents, "run": _Run}


def load(path: str | Path, to_run: bool = True) -> Spec:
    """The setup, schedule and run that the TOML file at `path` describes; without `to_run` it needs no [schedule] and no steps.

    Tables: [problem], [[agents]] (one for each group), [schedule], [run], and, if wanted, [server] and [grid]. A table with a `type`
    takes the arguments of that class as keys; where an argument is a part itself, its value is such a table again. The name of a
    .npy or .csv file beside the spec stands for its array. The keys of [grid] are those of `simulate`: names, or paths such as
    agents.2.omega, with or without quotes.

    Raises:
        InvalidInput: if the file cannot be read, is not TOML, or describes something unknown or impossible.

    >>> from tempfile import TemporaryDirectory
    >>> text = '''
    ... problem = { type = "Quartic", dim = 3 }
    ... agents = [{ count = 2, compressor = { type = "EF21", inner = { type = "TopK", k = 1 } } }]
    ... schedule = { type = "Constant", eta = 0.1 }
    ... run = { steps = 20, x0 = 0.5 }
    ... '''
    >>> with TemporaryDirectory() as folder:
    ...     _ = (path := Path(folder) / "spec.toml").write_text(text)
    ...     spec = load(path)
    >>> spec.setup.count, spec.run
    (2, {'steps': 20, 'x0': 0.5})
    """
    path = Path(path)
    try:
        return _read(path, to_run)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
    except RecursionError as error:
        raise InvalidInput(f"{path}: tables or lists lie too deep in each other.") from error


def _read(path: Path, to_run: bool) -> Spec:
    file = _parsed(_text(path))
    require(file.schedule is not None or not to_run, 'the spec lacks "schedule"; add it.')
    require(file.run.steps is not None or not to_run, '[run] lacks "steps"; add it.')
    folder = path.parent
    base = _build("[problem]", problem, file.problem, folder)
    groups = [_group(index, agents, folder) for index, agents in enumerate(file.agents, start=1)]
    require(
        file.problem is not None or all(agents.problem for agents in file.agents),
        "there is no [problem], and not every group in [[agents]] has a problem of its own; add one or the other.",
    )
    run = file.run.model_dump(exclude_unset=True) | ({"grid": file.grid} if file.grid else {})
    seed_of(run.get("seed", 0), "[run] seed")
    run["x0"] = _value("[run] x0", run["x0"], folder)
    setup = Setup(base, *groups, server=_build("[server]", server, file.server, folder))
    return Spec(setup, _build("[schedule]", schedule, file.schedule, folder), run)


def _parsed(text: str) -> _File:
    try:
        tables = tomllib.loads(text)
    except ValueError as error:  # also a number of thousands of digits
        raise InvalidInput(f"this is not valid TOML: {error}.") from error
    if isinstance(tables.get("grid"), dict):
        tables["grid"] = _flat(tables["grid"])
    try:
        return _File.model_validate(tables)
    except ValidationError as error:
        raise InvalidInput(_explanation(error.errors()[0])) from error


def _flat(table: dict[str, Any], path: str = "") -> dict[str, Any]:
    """A table of tables as one table of paths: what TOML makes of keys with dots."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        below = _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
        twice = sorted(flat.keys() & below)
        require(
            not twice, f'"{twice[0] if twice else ""}" stands twice in [grid], with quotes and without; leave one out.'
        )
        flat |= below
    return flat


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # with the mark that some editors write before the first letter
    except OSError as error:
        raise InvalidInput(f"the spec cannot be read ({error.strerror}); give the path of a TOML file.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput("the spec is not text in UTF-8; give the path of a TOML file.") from error


def _group(index: int, agents: _Agents, folder: Path) -> Agents:
    table = f"[[agents]] {index}"
    kinds = {_noun(module): module for module in (noise, compressor, problem)}
    parts = {name: _build(f"{table} {name}", module, getattr(agents, name), folder) for name, module in kinds.items()}
    return _named(table, Agents, {"count": agents.count, "mask": agents.mask, **parts})


def _build(table: str, module: ModuleType, part: _Part | None, folder: Path) -> Any:
    """The object that a table with a `type` describes: a class of `module`, called with the table's other keys."""
    if part is None:
        return None
    kind = _kind(table, module, part)
    given = {name: value for name, value in part.items() if name != "type"}
    _check_arguments(table, kind, given)
    arguments = {name: _argument(table, kind, name, value, folder) for name, value in given.items()}
    return _named(table, kind, arguments)


def _kind(table: str, module: ModuleType, part: _Part) -> type:
    """The class that a table names."""
    require("type" in part, f'{table} lacks "type"; add it.')
    name = part["type"]
    require(isinstance(name, str), f"type = {_short(name)} in {table}: it must be a text, the name of a class.")
    require(name not in ELSEWHERE, f'{table}: a spec cannot hold "{name}"; {ELSEWHERE.get(name)}.')
    known = _classes(module)
    require(name in known, f'{table}: unknown type "{name}". {nearest(name, known)}')
    return known[name]


def _argument(table: str, kind: type, name: str, value: Any, folder: Path) -> Any:
    """An argument of `kind`: a part for a table, where the class takes one."""
    if not isinstance(value, dict):
        return _value(f"{table} {name}", value, folder)
    module = _module_of(kind, name)
    if module is None:
        raise InvalidInput(f"{table}: {name} of {kind.__name__} is a table, but no part belongs there; give a value.")
    return _build(f"{table} {name}", module, value, folder)


def _module_of(kind: type, name: str) -> ModuleType | None:
    """The module whose classes the argument `name` of `kind` may be of; None where it is no part."""
    hint = get_type_hints(kind).get(name)
    options = [option for option in (get_args(hint) or (hint,)) if inspect.isclass(option)]
    return next((module for module in MODULES if any(issubclass(option, _root(module)) for option in options)), None)


def _root(module: ModuleType) -> type:
    """`Problem`, `Noise`, …: what all parts of a module derive from."""
    return getattr(module, _noun(module).capitalize())


def _classes(module: ModuleType) -> dict[str, type]:
    """The public classes of `module` that a spec can name: those that derive from its `Problem`, `Noise`, ..."""
    public = {name: value for name, value in vars(module).items() if not name.startswith("_") and name not in ELSEWHERE}
    return {
        name: value
        for name, value in public.items()
        if inspect.isclass(value) and issubclass(value, _root(module)) and not inspect.isabstract(value)
    }


def _noun(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _check_arguments(table: str, kind: type, given: dict[str, Any]) -> None:
    parameters = inspect.signature(kind).parameters
    for name in given:
        known = nearest(name, parameters) if parameters else "It takes no arguments."
        require(name in parameters, f'{table}: {kind.__name__} has no argument "{name}". {known}')
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty and name not in given
        require(not needed, f'{table}: {kind.__name__} needs "{name}"; add {name} = ... to the table.')


def _named(table: str, kind: type, arguments: dict[str, Any]) -> Any:
    """Call `kind`; what it finds wrong is said with the name of the table."""
    try:
        return kind(**arguments)
    except InvalidInput as error:
        raise InvalidInput(f"{table}: {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        shown = ", ".join(f"{name} = {_short(value)}" for name, value in arguments.items())
        cure = "check the kind of each value (numbers stand without quotes)"
        raise InvalidInput(f"{table}: {kind.__name__} cannot be made of {shown}; {cure}.") from error


def _value(where: str, value: Any, folder: Path) -> Any:
    """An argument: an array for a list of numbers or the name of a .npy or .csv file, anything else as it is."""
    if isinstance(value, str) and value.endswith((".npy", ".csv")):
        return _array(where, folder / value)
    if not isinstance(value, list):
        return value
    # Yes and no are labels, and a problem that takes no labels refuses them itself.
    return np.array(value) if all(isinstance(entry, bool) for entry in value) and value else numbers(where, value)


def _array(where: str, path: Path) -> np.ndarray:
    try:
        return read_array(path)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error


def _explanation(error: Any) -> str:
    """What pydantic found wrong first, as one sentence."""
    *place, key = _place(error["loc"])
    table = _table(place)
    match error["type"]:
        case "extra_forbidden":
            model = KEYS.get(place[0] if place else None, _File)
            return f'unknown key "{key}" in {table}. {nearest(str(key), model.model_fields)}'
        case "missing":
            return f'{table} lacks "{key}"; add it.'
        case "list_type" if key == "agents":
            return "agents must be a list of tables; write [[agents]] with double brackets, once for each group."
        case "too_short":
            return (
                f"{key} = [] in {table}: there must be at least one group; write [[agents]], and count = ... below it."
            )
        case "model_type" | "model_attributes_type" | "dict_type":
            named = f'"{key}" in {table}' if isinstance(key, str) else f"[[agents]] {key + 1}"
            example = EXAMPLES.get(key, 'type = "..."') if isinstance(key, str) else "count = 4"
            return f"{named} must be a table, such as {{ {example} }}; it is {_short(error['input'])}."
    if place == ["grid"]:
        words = "it must be a list, such as [1, 8]" if error["type"] == "list_type" else "every value must be a number"
        return f"{key} = {_short(error['input'])} in [grid]: {words}."
    words = WORDS.get(error["type"], error["msg"].replace("Input should be ", ""))
    return f"{key} = {_short(error['input'])} in {table}: it must be {words}."


def _short(value: Any) -> str:
    """A value as Python writes it, in one line."""
    line = " ".join(repr(value).split())
    return line if len(line) <= 80 else line[:80] + "…"


def _place(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The location in the file, without the branches of a union that pydantic adds at its end."""
    depth = {"run": 2, "grid": 2, "agents": 4}.get(str(location[0]), 2)
    return location[:depth]


def _table(place: list[int | str]) -> str:
    match place:
        case []:
            return "the spec"
        case ["agents", int(index), *rest]:
            return " ".join([f"[[agents]] {index + 1}", *map(str, rest)])
    return f"[{'.'.join(map(str, place))}]"
