"""A setup, a schedule and a run from a TOML file, checked before anything is computed."""

import inspect
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stablestep import compressor, noise, problem, schedule
from stablestep.errors import InvalidInput, nearest, require
from stablestep.setup import Agents, Setup

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


class _Part(BaseModel):
    """A table that names a class; its other keys are the arguments of the class."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: str


class _Agents(_Table):
    count: int = 1
    noise: _Part | None = None
    compressor: _Part | None = None
    problem: _Part | None = None
    mask: Literal["own", "shared"] = "own"


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
    run: _Run
    grid: dict[str, list[int | float]] = Field(default_factory=dict)


KEYS: dict[Any, type[BaseModel]] = {"agents": _Agents, "run": _Run}


def load(path: str | Path, to_run: bool = True) -> Spec:
    """The setup, schedule and run that the TOML file at `path` describes; without `to_run` it needs no [schedule] and no steps.

    Tables: [problem], [[agents]] (one for each group), [schedule], [run], and an optional [grid]. A table with a `type`
    takes the arguments of that class as keys. The name of a .npy or .csv file beside the spec stands for its array.

    Raises:
        InvalidInput: if the file cannot be read, is not TOML, or describes something unknown or impossible.

    >>> from tempfile import TemporaryDirectory
    >>> text = '''
    ... problem = { type = "Quartic", dim = 3 }
    ... agents = [{ count = 2, compressor = { type = "RandomSparsification", omega = 8 } }]
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


def _read(path: Path, to_run: bool) -> Spec:
    try:
        file = _File.model_validate(tomllib.loads(_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"this is not valid TOML: {error}.") from error
    except ValidationError as error:
        raise InvalidInput(_explanation(error.errors()[0])) from error
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
    run["x0"] = _value("[run] x0", run["x0"], folder)
    return Spec(Setup(base, *groups), _build("[schedule]", schedule, file.schedule, folder), run)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
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
    require(part.type not in ELSEWHERE, f'{table}: a spec cannot hold "{part.type}"; {ELSEWHERE.get(part.type)}.')
    known = _classes(module)
    require(part.type in known, f'{table}: unknown type "{part.type}". {nearest(part.type, known)}')
    given = part.model_extra or {}
    _check_arguments(table, known[part.type], given)
    arguments = {name: _value(f"{table} {name}", value, folder) for name, value in given.items()}
    return _named(table, known[part.type], arguments)


def _classes(module: ModuleType) -> dict[str, type]:
    """The public classes of `module` that a spec can name: those that derive from its `Problem`, `Noise`, ..."""
    root = getattr(module, _noun(module).capitalize())
    public = {name: value for name, value in vars(module).items() if not name.startswith("_") and name not in ELSEWHERE}
    return {
        name: value
        for name, value in public.items()
        if inspect.isclass(value) and issubclass(value, root) and not inspect.isabstract(value)
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
    except (TypeError, ValueError) as error:
        shown = ", ".join(f"{name} = {value!r}" for name, value in arguments.items())
        cure = "check the kind of each value (numbers stand without quotes)"
        raise InvalidInput(f"{table}: {kind.__name__} cannot be made of {shown}; {cure}.") from error


def _value(where: str, value: Any, folder: Path) -> Any:
    """An argument: an array for a list of numbers or the name of a .npy or .csv file, anything else as it is."""
    if isinstance(value, str) and value.endswith((".npy", ".csv")):
        return _array(where, folder / value)
    if not isinstance(value, list):
        return value
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{where} must be a list of numbers, or of rows of equal length; it is {value!r}."
        ) from error


def _array(where: str, path: Path) -> np.ndarray:
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        return np.loadtxt(path, delimiter=",", dtype=np.float64)
    except OSError as error:
        raise InvalidInput(f'{where}: the file "{path}" cannot be read ({error.strerror or error}).') from error
    except ValueError as error:
        raise InvalidInput(f'{where}: the file "{path}" does not hold an array of numbers ({error}).') from error


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
        case "model_type" | "model_attributes_type" | "dict_type":
            return f'"{key}" in {table} must be a table, such as {{ type = "..." }}; it is {error["input"]!r}.'
    if place == ["grid"] and error["type"] != "list_type":
        return f"{key} = {error['input']!r} in [grid]: every value must be a number."
    return f"{key} = {error['input']!r} in {table}: {error['msg'].replace('Input should', 'it must')}."


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
