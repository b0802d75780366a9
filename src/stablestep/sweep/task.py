"""One point as a task: what travels to a worker, and what comes back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from threading import Lock
from typing import Any

import cloudpickle
import jax

from stablestep.errors import InvalidInput, first_line
from stablestep.record import provenance
from stablestep.setup import Setup
from stablestep.sweep.digest import digest
from stablestep.sweep.grid import Case, called, case
from stablestep.sweep.result import as_dataset, encode, failure
from stablestep.sweep.workers import end_with_parent

NAMED = ("stablestep", "jax", "numpy")


class Unlike(RuntimeError):
    """A worker that would compute something else, in one sentence."""


def versions() -> dict[str, str]:
    """Of what a result depends on beside the input."""
    found = provenance()
    return {name: found[f"version_{name}"] for name in NAMED}


@dataclass(frozen=True)
class Work:
    """What all points of a sweep share."""

    function: Callable
    setup: Setup
    arguments: Mapping[str, Any]
    wide: bool  # whether JAX's numbers have 64 bits, which is a setting of the process
    versions: dict[str, str]

    def at(self, point: Mapping[str, Any]) -> Case:
        """The setup and the arguments at a point."""
        return case(self.function, self.setup, self.arguments, point)

    @cached_property
    def identity(self) -> bytes:
        """The digest of all but setup and arguments."""
        return digest(self.function, self.wide, self.versions)

    @property
    def facts(self) -> dict[str, str]:
        """What a store is made for."""
        own = {"function": called(self.function), "code": digest(self.function).hex()}
        return {**self.versions, **own, "64-bit numbers": "on" if self.wide else "off"}

    def key(self, point: Mapping[str, Any]) -> str:
        """The digest of what is computed at a point."""
        setup, arguments = self.at(point)
        return digest(self.identity, setup, arguments).hex()

    def run(self, point: Mapping[str, Any]) -> tuple[bytes, str]:
        """The bytes and the frame of what the function finds at a point, or of the words in which it refuses the point."""
        with jax.enable_x64(self.wide):
            try:
                setup, arguments = self.at(point)
                return encode(as_dataset(self.function(setup, **arguments)))
            except InvalidInput as error:
                return failure(str(error))


def packed(work: Work) -> bytes:
    """What is sent to workers.

    Raises:
        InvalidInput: if it cannot be, because a function holds what belongs to this process.
    """
    try:
        return cloudpickle.dumps(work)
    except Exception as error:  # whatever an object's own __reduce__ raises
        raise InvalidInput(
            f"{called(work.function)} cannot be sent to other processes ({first_line(error)}); leave what it holds "
            "(locks, open files, generators) out, or leave executor out."
        ) from error


@lru_cache(maxsize=4)
def _unpacked(content: bytes) -> Work:
    """Once in each process, as the same functions must come again or everything is compiled anew."""
    work = cloudpickle.loads(content)
    found = versions()
    for name, version in work.versions.items():
        if found[name] != version:
            raise Unlike(f"a worker has {name} {found[name]}, and this process {name} {version}; give them the same.")
    return work


_unpacking = Lock()


def run_packed(work: bytes, point: bytes) -> tuple[bytes, str]:
    """A task in another process, or in a thread of one."""
    end_with_parent()
    with _unpacking:
        unpacked = _unpacked(work)
    return unpacked.run(cloudpickle.loads(point))
