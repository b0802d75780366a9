"""What commands print where letters are missing, where nobody reads, and where nothing fits; and what they leave on a full disk."""

import codecs
import errno
import json
import os
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stablestep import cli
from stablestep.cli.screen import named

RUN = "run = {", 'schedule = { type = "Constant", eta = 0.1 }\nrun = { steps = 5, runs = 4,'
COMMANDS = {
    "help": ["--help"],
    "help of a command": ["limits", "--help"],
    "version": ["--version"],
    "table": ["limits", "SPEC"],
    "JSON": ["limits", "SPEC", "--json"],
    "sentences": ["critical", "SPEC", "--method", "theorem"],
    "JSON of an edge": ["critical", "SPEC", "--method", "theorem", "--json"],
    "simulation": ["simulate", "SPEC", "--out", "OUT"],
}


@pytest.fixture
def arguments(write, tmp_path):
    path = write(RUN)
    return lambda name: [{"SPEC": str(path), "OUT": str(tmp_path / "out")}.get(word, word) for word in COMMANDS[name]]


@pytest.mark.parametrize("charset", ["ascii", "cp1252", "iso8859_7", "utf-8"])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_encoding_will_do(arguments, name, charset):
    outcome = CliRunner(charset=charset).invoke(cli.app, arguments(name))
    assert outcome.exit_code == 0, outcome.output
    assert "?" not in outcome.stdout.replace("the landscape is rough?", "")
    if "JSON" in name:
        assert outcome.stdout.isascii() and json.loads(outcome.stdout)


@pytest.mark.parametrize("charset", ["ascii", "cp1252"])
def test_a_refusal_in_every_encoding(write, charset):
    outcome = CliRunner(charset=charset).invoke(cli.app, ["limits", str(write(("omega = 4.0", "ω = 4.0")))])
    assert outcome.exit_code == 2 and len(outcome.stderr.splitlines()) == 1
    assert "Traceback" not in outcome.output and ("omega" in outcome.stderr or "not valid TOML" in outcome.stderr)


def test_columns_stay_columns_where_names_are_longer_than_letters(arguments):
    lines = CliRunner(charset="ascii").invoke(cli.app, arguments("simulation")).stdout.splitlines()
    assert "t = keta" in lines[0]
    assert len({len(line.rstrip()) for line in lines[:7]}) == 1, lines


@pytest.mark.parametrize(
    ("text", "ascii", "cp1252"),
    [
        ("ηη_t ≤ Σω", "etaeta_t <= Sigmaomega", "etaeta_t <= Sigmaomega"),
        ("‖∇f‖² = 10⁻⁷", "||grad f||^2 = 10^-7", "||grad f||² = 10^-7"),
        ("½ ± 1 × 2…", "1/2 +/- 1 x 2...", "½ ± 1 × 2…"),
        ("naïve ς Ώ", "naive sigma Omega", "naïve sigma Omega"),
        ("雪 \udc80", "? ?", "? ?"),
    ],
)
def test_names(text, ascii, cp1252):
    codecs.register_error("named", named)
    assert text.encode("ascii", "named").decode() == ascii
    assert text.encode("cp1252", "named").decode("cp1252") == cp1252


def ended(arguments, where, monkeypatch):
    """The exit status of a command whose stdout is this file or descriptor."""
    stream = open(where, "w", encoding="utf-8")  # noqa: SIM115
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as end:
            cli.app(arguments)
        sys.stdout.flush()  # as Python does at its end; nothing may be left that raises
    with suppress(BrokenPipeError):
        stream.close()
    return end.value.code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_device_is_one_sentence(arguments, name, monkeypatch, capsys, tmp_path):
    assert ended(arguments(name), "/dev/full", monkeypatch) == 1
    said = capsys.readouterr().err
    assert "cannot be used (No space left on device)" in said and len(said.splitlines()) == 1
    assert name != "simulation" or len(os.listdir(tmp_path / "out")) == 3, "what was asked for is there all the same"


@pytest.mark.parametrize("name", COMMANDS)
def test_who_closes_a_pipe_is_told_nothing(arguments, name, monkeypatch, capsys, tmp_path):
    read, write = os.pipe()
    os.close(read)
    assert ended(arguments(name), write, monkeypatch) == 1
    assert capsys.readouterr().err == ""
    assert name != "simulation" or len(os.listdir(tmp_path / "out")) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_process_on_a_full_device():
    """To its very end, where Python itself writes what is left."""
    with open("/dev/full", "w") as nowhere:
        command = [sys.executable, "-m", "stablestep.cli", "--version"]
        done = subprocess.run(command, stdout=nowhere, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "The output cannot be used (No space left on device).\n"


def full(monkeypatch, after, number=errno.ENOSPC):
    """Files of which only a half can be written, from the one after so many on."""
    write, written = Path.write_bytes, []

    def half(path, content):
        if content:
            written.append(path)
        if len(written) <= after or not content:
            return write(path, content)
        write(path, content[: len(content) // 2])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", half)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_full_disk_leaves_the_old_files(arguments, invoke, monkeypatch, tmp_path, after):
    out = tmp_path / "out"
    assert invoke(*arguments("simulation")).exit_code == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    full(monkeypatch, after)
    outcome = invoke(*arguments("simulation"))
    assert outcome.exit_code == 1 and outcome.stdout == ""
    assert (
        len(outcome.stderr.splitlines()) == 1 and f'cannot write to the folder "{out}" (No space left' in outcome.stderr
    )
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_the_wrong_folder_is_the_users_and_a_broken_disk_is_not(arguments, invoke, monkeypatch, tmp_path):
    for number, status in ((errno.EACCES, 2), (errno.EROFS, 2), (errno.EIO, 1), (errno.EDQUOT, 1)):
        with monkeypatch.context() as patch:
            full(patch, 0, number)
            outcome = invoke(*arguments("simulation"))
        assert outcome.exit_code == status and "--out" in outcome.stderr and len(outcome.stderr.splitlines()) == 1
        assert os.listdir(tmp_path / "out") == []


def test_a_limit_on_files_is_no_crash(arguments, tmp_path):
    """The real thing: HDF5, writing by itself, dies of a segmentation fault here."""
    command = shlex.join([sys.executable, "-m", "stablestep.cli", *arguments("simulation")])
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONDONTWRITEBYTECODE": "1"}
    limited = ["/bin/sh", "-c", f"ulimit -f 16; exec {command}"]  # 16 blocks of 512 bytes
    done = subprocess.run(limited, env=environment, capture_output=True, text=True)
    assert (done.returncode, os.listdir(tmp_path / "out")) == (1, []), done.stderr
    assert "Traceback" not in done.stderr and "cannot write to the folder" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 3 bytes.")],
    ids=["NumPy", "JAX"],
)
def test_too_little_memory_is_one_sentence(arguments, invoke, monkeypatch, error):
    def run(*_, **__):
        raise error

    monkeypatch.setattr(sys.modules["stablestep.simulate"], "simulate", run)
    outcome = invoke(*arguments("simulation"))
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert outcome.stderr == "This does not fit into the memory; use fewer runs, agents or coordinates.\n"


@pytest.mark.parametrize("runs", [10**14, 2**32 - 1])
def test_runs_that_do_not_fit(write, refusal, tmp_path, runs):
    path = write(("run = {", f'schedule = {{ type = "Constant", eta = 0.1 }}\nrun = {{ steps = 5, runs = {runs},'))
    said = refusal("simulate", path, "--out", tmp_path / "out")
    assert str(runs) in said and ("at most 4294967295" in said or "bytes" in said)
