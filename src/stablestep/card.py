"""A result as a person reads it: a title, a small table, sentences; as text for a terminal and as HTML for a notebook."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

WIDTH = 100


@dataclass(frozen=True)
class Card:
    """What fits a screen of a result.

    Attributes:
        title: the answer in one line.
        head, rows: a table, if there is one.
        lines: sentences below it.

    >>> print(Card("two steps", ("by", "step"), (("theorem", "0.1"), ("runs", "0.25")), ("Both are safe.",)).text())
    two steps
      by       step
      theorem  0.1
      runs     0.25
    Both are safe.
    """

    title: str
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    lines: tuple[str, ...] = ()

    def text(self, width: int = WIDTH) -> str:
        """In lines of at most this many letters; a table's last column is wrapped."""
        said = [line for sentence in self.lines for line in textwrap.wrap(sentence, width)]
        return "\n".join([*textwrap.wrap(self.title, width), *self._table(width), *said])

    def _table(self, width: int) -> list[str]:
        table = [row for row in (self.head, *self.rows) if row]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)][:-1]
        return [line for row in table for line in _row(row, widths, width)]

    def html(self) -> str:
        """The same for a notebook."""
        rows = [_html_row("th", self.head)] if self.head else []
        rows += [_html_row("td", row) for row in self.rows]
        table = f"<table>{''.join(rows)}</table>" if rows else ""
        lines = "".join(f"<div>{escape(line)}</div>" for line in self.lines)
        return f"<div><strong>{escape(self.title)}</strong></div>{table}{lines}"


class Shown:
    """What a dataclass with `repr=False` gets from its card: the answer at the prompt and in a notebook."""

    @property
    def _card(self) -> Card:
        raise NotImplementedError

    def __repr__(self) -> str:
        return self._card.text()

    def _repr_html_(self) -> str:
        return self._card.html()


def number(value: float | None) -> str:
    """A step or another number in four digits, "–" where there is none.

    >>> number(0.123456), number(None), number(float("inf"))
    ('0.1235', '–', '∞')
    """
    return "–" if value is None else f"{value:.4g}".replace("inf", "∞")


def _row(cells: Iterable[str], widths: list[int], width: int) -> list[str]:
    *first, last = cells
    start = "  " + "".join(f"{cell:<{wide}}  " for cell, wide in zip(first, widths, strict=True))
    wrapped = textwrap.wrap(last, max(width - len(start), 20)) or [""]
    return [(start + wrapped[0]).rstrip(), *(" " * len(start) + line for line in wrapped[1:])]


def _html_row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f'<{tag} style="text-align:left">{escape(cell)}</{tag}>' for cell in cells) + "</tr>"
