"""How far a long computation is: a bar in a terminal or a notebook, a function that is told, or nothing where nobody looks."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import parent_process
from threading import Lock, Timer, current_thread, main_thread
from typing import Any

from stablestep.errors import require, shown

Watched = bool | Callable[[float], None] | None
Tell = Callable[[float | None, str], None]  # the finished fraction, where it is known, and words

DELAY = 1.0  # seconds; what is quicker shows nothing
PERIOD = 0.2  # of a notebook's bar


class Watch:
    """What a computation tells how far it is; what runs inside it tells of its part of the whole."""

    def __init__(self, tell: Tell):
        self._tell, self._last, self._low, self._high = tell, 0.0, 0.0, 1.0

    def __call__(self, done: float) -> None:
        """The finished fraction, which never falls."""
        self._last = min(max(done, self._last), 1.0)
        self._tell(self._last, "")

    def part(self, low: float, high: float) -> None:
        """From now on what is watched inside takes the whole from `low` to `high`."""
        self._low, self._high = low, high

    def inside(self, done: float | None, words: str) -> None:
        """What a part tells."""
        if done is None:
            self._tell(None, words)
        else:
            self(self._low + (self._high - self._low) * done)

    def say(self, words: str) -> None:
        """Where it is, of a computation that does not know how much is left."""
        self._tell(None, words)

    def finish(self) -> None:
        if self._last < 1:
            self(1.0)


_active: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watched(title: str, progress: Watched = True) -> Iterator[Watch]:
    """Watch what is computed inside.

    Args:
        title: what it is, beside the bar.
        progress: True for a bar, where somebody sees it and it takes longer than a second; inside something that is watched already, its
            part of that; a function, which is called with the finished fraction; False or None for neither, also of what is inside.

    Raises:
        InvalidInput: if progress is none of these.

    >>> told = []
    >>> with watched("two halves", told.append) as whole:
    ...     whole.part(0.0, 0.5)
    ...     with watched("the first") as half:
    ...         half(0.5)
    >>> told
    [0.25, 0.5, 1.0]
    """
    fits = isinstance(progress, bool) or progress is None or callable(progress)
    require(fits, f"progress is {shown(progress)}, but must be True, False or a function of the finished fraction.")
    with _telling(title, progress) as tell:
        watch = Watch(tell)
        token = _active.set(watch)
        try:
            yield watch
            watch.finish()
        finally:
            _active.reset(token)


def say(words: str) -> None:
    """Where the computation is, to whoever watches it."""
    watch = _active.get()
    if watch is not None:
        watch.say(words)


@contextmanager
def _telling(title: str, progress: Watched) -> Iterator[Tell]:
    outer = _active.get()
    if callable(progress):
        yield lambda done, words: None if done is None else progress(done)
    elif progress and outer is not None:
        yield outer.inside
    elif progress and (kind := _place()) is not None:
        bar = kind(title)
        try:
            yield bar.tell
        finally:
            bar.close()
    else:
        yield _nothing


def _nothing(done: float | None, words: str) -> None:
    """Nobody looks."""


def _place() -> Any:
    """The kind of bar that somebody sees from here; no worker of an executor has one."""
    if parent_process() is not None or current_thread() is not main_thread():
        return None
    if _in_notebook():
        return NotebookBar
    return TerminalBar if _is_terminal(sys.stderr) else None


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # none at all, somebody's own, or one that is closed
        return False


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


class TerminalBar:
    """A bar on stderr, from `DELAY` on; it moves also while nothing is told."""

    def __init__(self, title: str):
        self.title, self.state, self.bars, self.closed = title, (None, ""), None, False
        self.lock, self.timer = Lock(), Timer(DELAY, self.open)
        self.timer.daemon = True
        self.timer.start()

    def open(self) -> None:
        """Begin to show."""
        from rich.console import Console
        from rich.errors import LiveError
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
        with self.lock:
            if self.closed:
                return
            bars = Progress(*columns, console=Console(stderr=True), transient=True)
            try:
                bars.start()
            except LiveError:  # something else moves there
                return
            self.bars, self.task = bars, bars.add_task(self.title, total=None)
            self._show()

    def tell(self, done: float | None, words: str) -> None:
        with self.lock:
            self.state = self.state[0] if done is None else done, words
            self._show()

    def _show(self) -> None:
        if self.bars is not None:
            done, words = self.state
            description = f"{self.title}: {words}" if words else self.title
            self.bars.update(
                self.task, description=description, completed=done or 0.0, total=None if done is None else 1.0
            )

    def close(self) -> None:
        """Leave nothing behind."""
        self.timer.cancel()
        with self.lock:
            self.closed = True
            if self.bars is not None:
                self.bars.stop()


class NotebookBar:
    """A bar below the cell, from what is told after `DELAY` on."""

    def __init__(self, title: str):
        self.title, self.handle, self.due, self.done = title, None, time.monotonic() + DELAY, None

    def tell(self, done: float | None, words: str) -> None:
        self.done = self.done if done is None else done
        if time.monotonic() >= self.due:
            self._show(words)
            self.due = time.monotonic() + PERIOD

    def _show(self, words: str) -> None:
        from html import escape

        from IPython.display import HTML, display  # pyright: ignore[reportMissingImports]

        value = "" if self.done is None else f' value="{self.done:.3f}"'
        shown = HTML(f"<div>{escape(self.title)} <progress max='1'{value}></progress> {escape(words)}</div>")
        if self.handle is None:
            self.handle = display(shown, display_id=True)
        else:
            self.handle.update(shown)

    def close(self) -> None:
        """Leave an empty line behind."""
        if self.handle is not None:
            from IPython.display import HTML  # pyright: ignore[reportMissingImports]

            self.handle.update(HTML(""))
