"""The typer application, and what every command has: its examples in the help, and errors as one sentence."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from stablestep import interrupt
from stablestep.cli import screen
from stablestep.errors import InvalidInput
from stablestep.files import NotWritten

F = TypeVar("F", bound=Callable[..., None])
first_examples: dict[str, str] = {}


class Commands(TyperGroup):
    """All commands; whatever is wrong with the input or the machine, they end with one sentence and never with a traceback."""

    def __init__(self, **settings: Any):
        settings["epilog"] = _epilog(*first_examples.values())
        super().__init__(**settings)

    def invoke(self, ctx: Any) -> Any:
        with plain_errors():
            return super().invoke(ctx)

    def main(self, *arguments: Any, **settings: Any) -> Any:
        screen.adapt()
        try:
            try:
                return super().main(*arguments, **settings)
            finally:
                screen.flush()
        except OSError as error:
            screen.refused(error)
            raise SystemExit(1) from error


app = typer.Typer(
    name="stablestep",
    cls=Commands,
    help="Which step size holds when gradients are noisy, compressed and the landscape is rough?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def command(*examples: str, more: str = "") -> Callable[[F], F]:
    """Make a function the command of its name: `examples` and `more` end its help, and the first example that of `stablestep` itself."""

    def register(function: F) -> F:
        first_examples[function.__name__] = examples[0]

        @wraps(function)
        def run(*arguments: Any, **settings: Any) -> None:
            _keep_kernels()
            function(*arguments, **settings)

        app.command(epilog=_epilog(*examples) + more)(run)
        return function

    return register


def _keep_kernels() -> None:
    from stablestep.cache import cache

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        cache()
    for warning in said:
        screen.say(str(warning.message))


def _epilog(*examples: str) -> str:
    return "Examples:" + "".join(f"\n\n  {example}" for example in examples)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"stablestep {version('stablestep')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@contextmanager
def plain_errors() -> Iterator[None]:
    """Say in one sentence what went wrong: exit status 2 for a wrong input, 1 for a machine that is too small, 130 after Ctrl-C."""
    try:
        with interrupt.unwinding():
            yield
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt) as error:
        fail(*_sentence(error))


def _sentence(error: BaseException) -> tuple[str, int]:
    """What went wrong in one sentence, and the exit status; what nobody foresaw is raised again."""
    match error:
        case _ if isinstance(error, KeyboardInterrupt) or interrupt.happened():
            return "Interrupted: nothing was written.", interrupt.STATUS
        case InvalidInput():
            return str(error), 2
        case NotWritten():
            return str(error), 1
        case MemoryError():
            return TOO_LARGE, 1
        case RuntimeError() if "RESOURCE_EXHAUSTED" in str(error):  # as JAX says it
            return TOO_LARGE, 1
    raise error


TOO_LARGE = "This does not fit into the memory; use fewer runs, agents or coordinates."


def fail(message: str, status: int) -> None:
    """End the command with one sentence."""
    screen.say(message)
    raise typer.Exit(status)
