"""What a user waits for: `python -m benchmarks.waits` writes benchmarks/waits.json, seconds of whole processes, medians.

Imports (`import stablestep` loads nothing until it is used), the help, and the commands on the example: "cold" with an empty cache of
compiled kernels, "warm" with what the first run left there. `--without dask` leaves a package out, since xarray loads Dask where it is
installed. Targets: an import at most 1.5 times that of jax and equinox, help within 0.5 s, commands within 3 s cold and 1.5 s warm.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.machine import load, machine
from stablestep.files import write_files

HERE = Path(__file__).parent
SPEC = str(HERE.parent / "examples" / "dcsgd.toml")
TARGETS = {"import over jax and equinox": 1.5, "help": 0.5, "cold": 3.0, "warm": 1.5}
COLD, WARM = 3, 3  # caches, and runs with each
USED = "import stablestep as ss; ss.Setup; ss.problem; ss.compressor; ss.simulate; ss.sde; ss.stability"
COMMAND = """import sys
for name in {left_out!r}:
    sys.modules[name] = None
from stablestep.cli import main
sys.argv = ["stablestep", *{arguments!r}]
main()"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", nargs="*", default=[], metavar="PACKAGE", help="as if these were not installed")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="where waits.json goes")
    options = parser.parse_args()
    seconds = {
        "import jax, equinox": median(run("import jax, equinox") for _ in range(5)),
        "import stablestep": median(run("import stablestep") for _ in range(5)),
        "import stablestep, used": median(run(USED) for _ in range(5)),
        "stablestep --help": median(run(command(["--help"], options.without)) for _ in range(5)),
        **waits("critical", [SPEC], options.without),
        **waits("simulate", [SPEC, "--out", "{folder}/out"], options.without),
    }
    record = {**machine(), "load": load(), "without": options.without, "targets": TARGETS, "seconds": seconds}
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    print(text)
    write_files({options.out / "waits.json": text.encode()})


def waits(name: str, arguments: list[str], left_out: list[str]) -> dict[str, float]:
    """Of one command, cold and warm."""
    cold, warm = [], []
    for _ in range(COLD):
        with TemporaryDirectory() as folder:
            program = command([name, *(each.format(folder=folder) for each in arguments)], left_out)
            cold.append(run(program, folder))
            warm += [run(program, folder) for _ in range(WARM)]
    return {f"stablestep {name}, cold": median(cold), f"stablestep {name}, warm": median(warm)}


def command(arguments: list[str], left_out: list[str]) -> str:
    """A program that does what the command line does."""
    return COMMAND.format(arguments=arguments, left_out=[*left_out, *(f"{name}.array" for name in left_out)])


def run(program: str, cache: str = "0") -> float:
    """Seconds of a process.

    Raises:
        RuntimeError: with its last words, if it fails.
    """
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "STABLESTEP_CACHE": cache}, capture_output=True, text=True
    )
    spent = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    return spent


if __name__ == "__main__":
    main()
