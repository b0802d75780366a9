"""A disk that is full and one that cannot be written, for real: a small file system that only the test sees."""

import subprocess
import sys

import pytest

from tests.fire.processes import ENVIRONMENT

ALLOWED = (
    subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0
)
SWEEP = f"{sys.executable} -m tests.fire.sweeping $0/store serial"
COUNT = "ls $0/store/cells/*/*.nc | wc -l; find $0/store -name '.*.nc*'"


def on(folder, *commands):
    """What commands print, and what they say, with a file system of their own at $0."""
    mount = "mount -t tmpfs -o size=56k,nr_inodes=10k none $0"
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", "; ".join([mount, *commands]), str(folder)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    return ran.stdout.split(), ran.stderr


@pytest.mark.skipif(not ALLOWED, reason="no mount namespaces here")
def test_a_full_disk(tmp_path):
    """Forty points of a page each do not fit; with more room the sweep goes on."""
    said, error = on(tmp_path, SWEEP, COUNT, "mount -o remount,size=1m $0", SWEEP, COUNT)
    assert len(said) == 3 and 1 <= int(said[0]) < 40 and said[1:] == ["finished", "40"], (said, error)
    assert (
        error.count("NotWritten: cannot write to the store") == 1
        and "No space left on device); make room there" in error
    )


@pytest.mark.skipif(not ALLOWED, reason="no mount namespaces here")
def test_a_store_that_is_read_only(tmp_path):
    """It is read all the same."""
    load = f'{sys.executable} -c "import stablestep as ss, sys; print(int(ss.sweep.load(sys.argv[1]).value.notnull().sum()))" $0/store'
    said, error = on(tmp_path, "mount -o remount,size=1m $0", SWEEP, "mount -o remount,ro $0", SWEEP, load)
    assert said == ["finished", "40"] and error.count("InvalidInput: cannot write to the store") == 1, (said, error)
    assert "Read-only file system); give a folder that can be written" in error
