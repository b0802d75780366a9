"""The typer application, and what every command needs: all cores, and errors as one sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from stablestep.errors import InvalidInput

MOST_DEVICES = 8

app = typer.Typer(
    name="stablestep",
    help="Which step size holds when gradients are noisy, compressed and the landscape is rough?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"stablestep {version('stablestep')}")
        raise typer.Exit


@app.callback(
    epilog="Examples:\n\n"
    "  stablestep reproduce --quick\n\n"
    "  stablestep reproduce --only fig1.dcsgd --out report\n\n"
    "  stablestep simulate spec.toml --out out\n\n"
    "  stablestep limits spec.toml\n\n"
    "  stablestep critical spec.toml"
)
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def use_all_cores() -> None:
    """Let runs be spread over the processor's cores, which JAX counts as one device unless it is told otherwise."""
    import jax

    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = jax.config.jax_num_cpu_devices > 0  # pyright: ignore[reportAttributeAccessIssue]
    if chosen or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    try:
        jax.config.update("jax_num_cpu_devices", min(available, MOST_DEVICES))
    except RuntimeError:
        # JAX has computed something already, so its devices are settled.
        return


@contextmanager
def plain_errors() -> Iterator[None]:
    try:
        yield
    except InvalidInput as error:
        fail(str(error), 2)
    except KeyboardInterrupt:
        fail("Interrupted: nothing was written.", 130)


def fail(message: str, status: int) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(status)
