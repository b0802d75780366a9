"""The benchmark on a slow link: its parts, and a small run where network namespaces are permitted."""

import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.link import hooks, network, options, record, row
from benchmarks.link.launch.processes import Lost, Processes
from benchmarks.link.options import Rate

ROOT = Path(__file__).parents[2]


def run(*arguments, limit=150, **environment):
    command = [sys.executable, "-m", "benchmarks.link", *arguments]
    environment = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=limit, cwd=ROOT, env=environment)


def result(seconds, **counts):
    return {"seconds": seconds, "interface": 0.0, "packets": 0.0, "wire": 0.0, "drops": 0.0, **counts}


@pytest.mark.parametrize(
    ("text", "bits", "shown"),
    [
        ("100mbit", 100_000_000, "100 Mbit/s"),
        ("2.5Gbit", 2_500_000_000, "2.5 Gbit/s"),
        ("64kbit", 64_000, "64 Kbit/s"),
    ],
)
def test_rates(text, bits, shown):
    assert Rate.parse(text).bits == bits and str(Rate.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "100", "fast", "-1gbit", "0mbit", "1 gbit per s", "1tbit"])
def test_no_rates(text):
    with pytest.raises(argparse.ArgumentTypeError, match="no rate; write it like"):
        Rate.parse(text)


@pytest.mark.parametrize(
    "arguments", [["--workers", "1"], ["--parameters", "many"], ["--hooks", "zip"], ["--json", "no/x"]]
)
def test_bad_options(arguments, capsys):
    with pytest.raises(SystemExit):
        options.parse(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_every_hook_has_a_title():
    assert set(hooks.HOOKS) == set(options.TITLES)


@pytest.mark.parametrize("rate", ["1mbit", "100mbit", "1gbit", "10gbit", "100gbit"])
def test_a_burst_holds_a_packet_but_hardly_more_than_a_millisecond(rate):
    packet, burst = network.sizes(Rate.parse(rate))
    segments = -(-packet // 1448)
    assert packet + 66 * segments <= burst <= max(Rate.parse(rate).bits / 8000 * 1.2, 18432)


def test_the_line_of_the_interface():
    text = "Inter-| Receive\n face |bytes\n    lo: 1 2 0 0 0 0 0 0 3 4 0\n  eth0:10 2 0 0 0 0 0 0 30 4 0\n"
    assert network.device_line(text)[8:10] == ["30", "4"]


def test_a_step_takes_as_long_as_its_slowest_worker():
    found = row.of("1 Gbit/s", "none", [result([1.0, 2.0, 3.0]), result([4.0, 1.0, 1.0])])
    assert (found.ms, found.fastest, found.slowest) == (3000, 2000, 4000)
    assert found.telemetry is None and found.counted is None and found.agreement is None


def test_headers_are_counted_and_taken_off():
    sent = [result([1.0], telemetry=1000.0, interface=1166.0, packets=1.0, wire=1200.0)] * 2
    found = row.of("1 Gbit/s", "sign", sent)
    assert found.data == 1100 and found.counted == 1.166 and found.agreement == 1.1


def test_the_table_fits(tmp_path):
    sizes = {"telemetry": 102.4e6, "interface": 102.5e6, "packets": 3000.0, "wire": 107.4e6}
    rows = [row.of("100 Mbit/s", name, [result([12.3], **sizes)]) for name in options.TITLES]
    with (tmp_path / "table.txt").open("w+") as file:
        Console(file=file, width=120).print(row.table(rows))
        file.seek(0)
        text = file.read()
    assert "…" not in text and all(title in text for title in options.TITLES.values())
    assert text.count("100 Mbit/s") == 1 and text.count("12300") == 3 * len(rows)


def test_the_record_names_no_folders(tmp_path):
    path = tmp_path / "link.json"
    arguments = ["--rates", "1gbit", "--json", str(path)]
    record.write(path, arguments, options.parse(arguments), [row.of("1 Gbit/s", "none", [result([1.0])])])
    found = json.loads(path.read_text())
    assert found["command"] == "python -m benchmarks.link --rates 1gbit --json link.json"
    assert str(tmp_path) not in path.read_text() and found["rows"][0]["ms"] == 1000


def test_without_the_tools_it_says_what_is_missing(tmp_path):
    done = run(PATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "") and len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith("The benchmark is skipped: it needs ip, tc, ")
    assert done.stdout.endswith("apt-get install iproute2 util-linux.\n")


def test_without_permission_it_says_so(tmp_path):
    for name in ("unshare", "nsenter", "setpriv", "mount", "ip", "tc"):
        tool = tmp_path / name
        tool.write_text("#!/bin/sh\necho unshare failed: Operation not permitted >&2\nexit 1\n")
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    done = run(PATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "") and len(done.stdout.splitlines()) == 1
    assert "unshare failed: Operation not permitted" in done.stdout and "run it as root" in done.stdout


def test_a_worker_that_ends_is_noticed(monkeypatch):
    monkeypatch.setattr(network, "in_namespace", lambda rank: ["sh", "-c", "echo no link >&2; exit 3"])
    with Processes(2, 60.0) as workers, pytest.raises(Lost, match=r'ended in the middle of "none": no link'):
        workers.ask({"hook": "none"}, 60.0)


def test_a_worker_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(network, "in_namespace", lambda rank: ["sh", "-c", "exec sleep 60"])
    begin = time.monotonic()
    with Processes(2, 60.0) as workers, pytest.raises(Lost, match="no answer from a worker"):
        workers.ask({"hook": "none"}, 0.3)
    assert time.monotonic() - begin < 20 and all(process.poll() is not None for process in workers.processes)


@pytest.mark.skipif(shutil.which("tc") is None, reason="iproute2 is not installed")
def test_telemetry_agrees_with_the_interface(tmp_path):
    path = tmp_path / "link.json"
    chosen = ["identity", "randk-shared", "sign", "topk"]
    small = ["--rates", "500mbit", "--parameters", "2000000", "--repetitions", "2", "--hooks", *chosen]
    done = run(*small, "--json", str(path))
    assert done.returncode == 0, done.stderr
    if "skipped" in done.stdout:
        pytest.skip(done.stdout)
    found = json.loads(path.read_text())["rows"]
    assert [each["hook"] for each in found] == chosen
    for each in found:
        assert each["agreement"] == pytest.approx(1, abs=0.02) and each["wire"] > each["interface"]
    identity = found[0]
    assert identity["ms"] > 1000 * identity["wire"] * 8 / 500e6 * 0.95  # the link was as slow as it should be
