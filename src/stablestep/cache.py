"""Compiled kernels, kept in a folder, so that the next process does not compile them again."""

import hashlib
import os
import platform
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryFile

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

VARIABLE = "STABLESTEP_CACHE"
OFF = ("0", "no", "off", "false")


def cache(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Keep compiled kernels in a folder from now on, in this process and in others that say the same. The command line does so by itself.

    What is kept belongs to this version of JAX and this kind of processor; nothing but time is lost with the folder. A folder that cannot
    be used is one warning, and nothing is kept.

    Args:
        folder: where; by default that of the environment variable STABLESTEP_CACHE ("0" switches the cache off), else the user's own folder
            for such things.

    Returns:
        The folder in use, or None.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as place:
    ...     print(cache(place).is_relative_to(place))
    True
    """
    if folder is None and os.environ.get(VARIABLE, "").lower() in OFF:
        return None
    place = Path(folder or os.environ.get(VARIABLE) or _users()).expanduser() / _kind()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        warnings.warn(f'The cache "{place}" cannot be used ({error.strerror or error}); nothing is kept.', stacklevel=2)
        return None
    reset_cache()  # or JAX stays with what it had at its first compilation
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return place


def _users() -> Path:
    """Where this system keeps what programs can make anew."""
    if sys.platform == "darwin":
        return Path("~/Library/Caches/stablestep")
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local", "stablestep", "Cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "stablestep")


def _kind() -> str:
    """What a kernel is compiled for: JAX's own key does not tell processors apart, which may share a folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        facts = platform.processor()
    return f"jax-{jax.__version__}-{hashlib.sha256(f'{platform.machine()} {facts}'.encode()).hexdigest()[:12]}"
