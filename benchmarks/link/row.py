"""One hook at one rate, and the table of them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from benchmarks.link.options import TITLES

HEADERS = 14 + 20 + 32  # bytes of a packet: Ethernet, IPv4, TCP with timestamps

HEADINGS = ("rate", "hook", "ms", "range", "telemetry", "interface", "ratio", "without\nheaders", "wire")


@dataclass(frozen=True)
class Row:
    """Bytes are those of one step, sent by one worker (the mean over workers).

    Args:
        ms: of a step, the median; `fastest` and `slowest` are of the same steps.
        telemetry: `bytes_sent`; None for hooks that are not ours.
        interface: the interface's tx_bytes, where each of its `packets` has one set of headers.
        wire: tbf's count, by which it shapes: with the headers of every segment of 1448 bytes.
    """

    rate: str
    hook: str
    ms: float
    fastest: float
    slowest: float
    telemetry: float | None
    interface: float
    packets: float
    wire: float
    drops: float

    @property
    def title(self) -> str:
        return TITLES[self.hook]

    @property
    def data(self) -> float:
        """What the interface sent without headers."""
        return self.interface - HEADERS * self.packets

    @property
    def counted(self) -> float | None:
        """The interface's bytes, headers included, over the telemetry's."""
        return self.interface / self.telemetry if self.telemetry else None

    @property
    def agreement(self) -> float | None:
        """The interface's bytes without headers over the telemetry's."""
        return self.data / self.telemetry if self.telemetry else None


def of(rate: str, hook: str, results: Sequence[dict[str, Any]]) -> Row:
    """From the workers' results. A step takes as long as its slowest worker."""
    times = [1000 * max(each) for each in zip(*(result["seconds"] for result in results))]
    names = ("interface", "packets", "wire", "drops")
    sent = {name: statistics.fmean(result[name] for result in results) for name in names}
    told = [result["telemetry"] for result in results if "telemetry" in result]
    telemetry = statistics.fmean(told) if told else None
    return Row(rate, hook, statistics.median(times), min(times), max(times), telemetry, **sent)


def table(rows: Sequence[Row]) -> Table:
    shown = Table(title="One training step over a shaped link; MB that each worker sends in it")
    for heading in HEADINGS:
        shown.add_column(heading, justify="left" if heading in HEADINGS[:2] else "right", no_wrap=True)
    for index, row in enumerate(rows):
        first = index == 0 or rows[index - 1].rate != row.rate
        last = index + 1 == len(rows) or rows[index + 1].rate != row.rate
        shown.add_row(row.rate if first else "", *cells(row), end_section=last)
    return shown


def cells(row: Row) -> list[str]:
    times = [f"{row.ms:.0f}", f"{row.fastest:.0f}–{row.slowest:.0f}"]
    ratios = [_ratio(row.counted), _ratio(row.agreement)]
    return [row.title, *times, _mega(row.telemetry), _mega(row.interface), *ratios, _mega(row.wire)]


def _mega(value: float | None) -> str:
    return "" if value is None else f"{value / 1e6:.3f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
