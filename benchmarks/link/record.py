"""The JSON record of a run."""

import datetime
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks.link.options import WARM_UP, Options
from benchmarks.link.row import Row


def write(path: Path, arguments: Sequence[str], chosen: Options, rows: Sequence[Row]) -> None:
    found = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join(["python -m benchmarks.link", *_public(arguments)]),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("stablestep", "torch")},
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "cores": os.cpu_count(),
        "load_at_start": chosen.load,
        "workers": chosen.workers,
        "parameters": chosen.parameters,
        "warm_up": WARM_UP,
        "repetitions": chosen.repetitions,
        "rows": [{**asdict(row), "counted": row.counted, "agreement": row.agreement} for row in rows],
    }
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _public(arguments: Sequence[str]) -> list[str]:
    """Without the folders of this machine."""
    return [Path(argument).name if "/" in argument else argument for argument in arguments]
