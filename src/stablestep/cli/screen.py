"""What a terminal, a file or a pipe can take: names for letters that its encoding lacks, and one sentence where it takes nothing."""

import codecs
import os
import sys
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

HANDLER = "stablestep"
NAMES = {
    "‖": "||",
    "∇": "grad ",
    "∞": "inf",
    "≤": "<=",
    "≥": ">=",
    "±": "+/-",
    "×": "x",
    "·": "*",
    "√": "sqrt ",
    "∈": "in",
    "→": "->",
    "←": "<-",
    "–": "-",
    "−": "-",
    "’": "'",
    "“": '"',
    "”": '"',
    "½": "1/2",
}


def named(error: UnicodeError) -> tuple[str, int]:
    """Names for letters that an encoding lacks, as a handler of `codecs`.

    >>> named(UnicodeEncodeError("ascii", "ηη_t ≤ 10⁻⁷", 9, 11, "out of range"))
    ('^-7', 11)
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object
    return "".join(_name(text[i], text[i - 1 : i]) for i in range(error.start, error.end)), error.end


def _name(letter: str, before: str) -> str:
    if letter in NAMES:
        return NAMES[letter]
    full = unicodedata.name(letter, "")
    if full.startswith("GREEK "):
        name = full.split(" WITH ")[0].rpartition(" ")[2]
        return name.capitalize() if "CAPITAL" in full else name.lower()
    alike = "".join(part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part))
    alike = alike.translate({ord("−"): "-"})
    if not alike.isascii():
        return "?"
    return "^" + alike if _is_power(letter) and not _is_power(before) else alike


def _is_power(letter: str) -> bool:
    return letter != "" and unicodedata.decomposition(letter).startswith("<super>")


def adapt() -> None:
    """Let stdout and stderr take every text."""
    codecs.register_error(HANDLER, named)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=HANDLER)


def console(**settings: Any) -> "Console":
    """A console that lays out what will be read: names for letters are longer than the letters."""
    from rich.console import Console

    class Named(Console):
        def render_str(self, text, **style):
            return super().render_str(text.encode(self.encoding, HANDLER).decode(self.encoding), **style)

    return Named(**settings)


def flush() -> None:
    """Write what is left in stdout, so that what is wrong with it is known before the program ends."""
    if sys.stdout is not None:
        sys.stdout.flush()


def say(message: str) -> None:
    """One sentence on stderr; if that takes nothing either, the exit status has to do."""
    try:
        print(message, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _silence(sys.stderr)


def refused(error: OSError) -> None:
    """Say that stdout (or a file) takes nothing; nothing is said to whoever closed a pipe, as `head` does, when he had enough."""
    if error.filename is None:
        _silence(sys.stdout)
    what = "the output" if error.filename is None else f'"{error.filename}"'
    if not isinstance(error, BrokenPipeError):
        say(f"{what[0].upper()}{what[1:]} cannot be used ({error.strerror or error}).")


def _silence(stream: TextIO) -> None:
    """Send what is left in a stream to nowhere, or Python complains about it at the very end."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
