"""Which version of XLA's calling interface is in use."""

import re
from pathlib import Path

import jax.ffi


def interface() -> list[int]:
    """The two numbers of the interface that this jaxlib has, from the headers that ship with it."""
    text = (Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h").read_text()
    return [int(number) for number in re.findall(r"#define XLA_FFI_API_(?:MAJOR|MINOR) (\d+)", text)]
