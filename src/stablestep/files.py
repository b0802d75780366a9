"""Files: written whole or not at all, and read as arrays of numbers."""

import errno
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from stablestep.errors import InvalidInput, require

# What another folder may not mend, because nothing is wrong with the folder.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class NotWritten(OSError):
    """The machine could not write files that it should have, as on a full disk; the message says it in one sentence."""


def write_files(files: Mapping[Path, bytes]) -> None:
    """Put new files in the places of old ones: all are written beside them first, so that whatever fails leaves no part of one.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_files({Path(folder) / "a": b"1", Path(folder) / "b": b"2"})
    ...     sorted(os.listdir(folder))
    ['a', 'b']
    """
    drafts = {path.with_name(f".{path.name}.{os.getpid()}"): path for path in files}
    try:
        for draft, path in drafts.items():
            draft.write_bytes(files[path])
        for draft, path in drafts.items():
            os.replace(draft, path)
    finally:
        for draft in drafts:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def make_folders(*folders: Path) -> None:
    """Make folders and see that files can be written there, before anything long is computed."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        write_files({folder / ".writable": b""})
        (folder / ".writable").unlink()


def require_files(*paths: Path) -> None:
    """See that files can be written in folders that exist, before anything long is computed.

    Raises:
        InvalidInput, NotWritten: as `writable`, or where something stands there that is no file.
    """
    for path in paths:
        with writable(path.parent):
            plain = path.is_file() or not path.exists()
            require(plain, f'"{path}" is a folder or a device, but must be a file; choose another with --out.')
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.touch()
            draft.unlink()


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """Say in one sentence that the folder `out` cannot be written.

    Raises:
        InvalidInput: if the folder is the wrong one.
        NotWritten: if the disk is full or broken.
    """
    try:
        yield
    except OSError as error:
        what = f'cannot write to the folder "{out}" ({error.strerror or error})'
        if error.errno in FULL:
            raise NotWritten(f"{what}; make room there, or choose another with --out.") from error
        raise InvalidInput(f"{what}; choose another with --out.") from error


def read_array(path: Path) -> np.ndarray:
    """The array in a .npy file, or in a table of numbers with commas.

    Raises:
        InvalidInput: if the file cannot be read, holds no numbers, or more than fit into the memory.
    """
    try:
        array = _loaded(path)
    except OSError as error:
        raise InvalidInput(f'the file "{path}" cannot be read ({error.strerror or error}).') from error
    except (ValueError, EOFError) as error:
        raise InvalidInput(f'the file "{path}" does not hold an array of numbers ({error}).') from error
    except MemoryError as error:
        raise InvalidInput(f'the array in the file "{path}" does not fit into the memory.') from error
    require(array.size > 0, f'the file "{path}" does not hold an array of numbers.')
    return array


def _loaded(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an empty file, which is refused
        return np.loadtxt(path, delimiter=",", dtype=np.float64, encoding="utf-8-sig")
