"""The command line."""

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

RECORD = Path(__file__).parents[1] / "link.json"
WARM_UP = 3  # DDP rebuilds its buckets after the first step, the optimizer checks the gradients' scale in the first one
# In the order of the table; `hooks.py` says what each is.
TITLES = {
    "noop": "no exchange (head-room)",
    "none": "DDP's own all-reduce, fp32",
    "fp16": "torch's fp16_compress_hook",
    "identity": "Identity",
    "randk-shared": "RandK 1 %, shared mask",
    "randk-own": "RandK 1 %, own masks",
    "sign": "Sign, 1 bit, mean",
    "qsgd": "QSGD, 7 levels",
    "topk": "TopK 1 %",
    "ef-topk": "EF-TopK 1 %",
    "low-rank": "LowRank, rank 2",
    "local": "local steps, H 16, 2 bit",
}
_UNITS = {"kbit": 10**3, "mbit": 10**6, "gbit": 10**9}


@dataclass(frozen=True)
class Rate:
    """Speed of a link in bit/s.

    >>> print(Rate.parse("2.5gbit"), Rate.parse("100mbit").bits)
    2.5 Gbit/s 100000000
    """

    bits: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]bit)", text.strip().lower())
        bits = round(float(found[1]) * _UNITS[found[2]]) if found else 0
        if bits < 1000:
            raise argparse.ArgumentTypeError(f'"{text}" is no rate; write it like 100mbit, 2.5gbit.')
        return cls(bits)

    def __str__(self) -> str:
        unit, size = next((unit, size) for unit, size in reversed(_UNITS.items()) if self.bits >= size)
        return f"{self.bits / size:g} {unit.capitalize()}/s"


@dataclass(frozen=True)
class Options:
    rates: list[Rate]
    workers: int
    parameters: int
    repetitions: int
    hooks: list[str]
    json: Path
    load: float = field(default_factory=lambda: os.getloadavg()[0])  # of the machine, before the run

    def limit(self, rate: Rate) -> float:
        """Seconds that one hook may take before a worker counts as stuck: several times what the slowest one needs."""
        dense = 2 * (self.workers - 1) * 4 * self.parameters * 8 / rate.bits
        return 120 + 3 * (WARM_UP + self.repetitions) * (dense + 1e-6 * self.parameters)


def parse(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.link", description="Training steps over a slow link.")
    rates = [Rate.parse(text) for text in ("100mbit", "1gbit", "10gbit")]
    parser.add_argument("--rates", type=Rate.parse, nargs="+", default=rates, help="default: 100mbit 1gbit 10gbit")
    parser.add_argument("--workers", type=_whole(2, 250), default=2, help="processes (default: 2)")
    parser.add_argument("--parameters", type=_whole(20_000), default=25_600_000, help="default: 25600000")
    parser.add_argument("--repetitions", type=_whole(1), default=5, help="steps timed for each hook (default: 5)")
    parser.add_argument("--hooks", nargs="+", choices=TITLES, default=list(TITLES), help="default: all")
    parser.add_argument("--json", type=_file, default=RECORD, help="record (default: benchmarks/link.json)")
    return Options(**vars(parser.parse_args(arguments)))


def _whole(least: int, most: int = 10**10) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from {least} to {most}.')
        return int(text)

    return number


def _file(text: str) -> Path:
    if not Path(text).absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f'the folder of "{text}" does not exist.')
    return Path(text)
