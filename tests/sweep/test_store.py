"""The folder of a sweep: whose it is, what it holds while a sweep runs, and what spoils it."""

import errno
import os
from sys import modules as MODULES

import numpy as np
import pytest
import xarray as xr

import stablestep as ss
from stablestep import files
from stablestep.errors import InvalidInput
from stablestep.files import NotWritten
from stablestep.sweep.store import Folder
from tests.sweep.work import GRID, SETUP, numbers, picky, slow


def test_a_store_of_another_function_or_version_is_refused_and_unchanged(tmp_path, monkeypatch):
    ss.sweep(numbers, SETUP, GRID, store=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(
        InvalidInput, match="was made with function numbers, and this is function picky; give another folder"
    ):
        ss.sweep(picky, SETUP, GRID, store=tmp_path)
    monkeypatch.setattr(
        MODULES["stablestep.sweep.call"], "versions", lambda: {"stablestep": "0.1.0", "jax": "9", "numpy": "3"}
    )
    with pytest.raises(InvalidInput, match=r"made with jax .*, and this is jax 9; give another folder"):
        ss.sweep(numbers, SETUP, GRID, store=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_of_other_things_is_no_store(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InvalidInput, match=r"holds \['thesis.tex'\] and is no store"):
        ss.sweep(numbers, SETUP, GRID, store=tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]
    with pytest.raises(InvalidInput, match="there is no sweep in"):
        ss.sweep.load(tmp_path)
    with pytest.raises(InvalidInput, match="cannot write to the store"):
        ss.sweep(numbers, SETUP, GRID, store=tmp_path / "thesis.tex" / "sweep")


def test_it_is_read_while_a_sweep_runs(tmp_path):
    seen = []

    def look(done):
        found = ss.sweep.load(tmp_path)
        seen.append(
            (found.attrs["finished"], int(np.isfinite(found["product"]).sum()) if found.attrs["finished"] else 0)
        )

    ss.sweep(numbers, SETUP, GRID, store=tmp_path, progress=look)
    assert seen == [(n, n) for n in range(13)]


def test_several_sweeps_in_a_store(tmp_path):
    first = ss.sweep(numbers, SETUP, {"count": [1, 2]}, store=tmp_path).load()
    second = ss.sweep(numbers, SETUP, {"omega": [1.0, 5.0]}, store=tmp_path).load()
    with pytest.raises(InvalidInput, match=r"(numbers at 2 points of (count|omega).*){2}as sweep"):
        ss.sweep.load(tmp_path)
    names = [path.stem for path in (tmp_path / "sweeps").glob("*.json")]
    found = {ss.sweep.load(tmp_path, name)["product"].dims: ss.sweep.load(tmp_path, name) for name in names}
    xr.testing.assert_identical(found["count",].load(), first)
    xr.testing.assert_identical(found["omega",].load(), second)


def test_numbers_are_read_when_they_are_asked_for(tmp_path, monkeypatch):
    found = ss.sweep(slow, SETUP, GRID, store=tmp_path, seconds=0.0)
    read, reads = Folder.read, []
    monkeypatch.setattr(Folder, "read", lambda self, *key: reads.append(key) or read(self, *key))
    assert (
        found.noise.sel(omega=3.0, count=[4, 16])[:, [2, 0]].values.tolist() == [[8.0, 0.0], [32.0, 0.0]]
        and len(reads) == 2
    )
    assert found.noise.isel(omega=slice(1, 3), noise_0=-1).values.shape == (2, 3) and len(reads) == 8


def test_what_differs_in_size_is_padded(tmp_path):
    found = ss.sweep(
        lambda setup: {"x": np.arange(setup.count), "n": setup.count}, SETUP, {"count": [1, 3]}, store=tmp_path
    )
    np.testing.assert_array_equal(found.x, [[0, np.nan, np.nan], [0, 1, 2]])
    assert found.n.values.tolist() == [1, 3] and found.n.dtype == np.int64


def test_a_point_that_was_lost_is_computed_again(tmp_path):
    before = ss.sweep(numbers, SETUP, GRID, store=tmp_path).load()
    next((tmp_path / "cells").rglob("*.nc")).unlink()
    assert int(np.isnan(ss.sweep.load(tmp_path)["product"]).sum()) == 1
    xr.testing.assert_identical(ss.sweep(numbers, SETUP, GRID, store=tmp_path).load(), before)


def test_a_spoilt_point_is_named(tmp_path):
    ss.sweep(numbers, SETUP, GRID, store=tmp_path)
    path = next((tmp_path / "cells").rglob("*.nc"))
    path.write_bytes(b"CDF")
    with pytest.raises(InvalidInput, match=rf"{path.name}.*is spoilt; delete it"):
        ss.sweep.load(tmp_path).load()


RECORDS = {
    "store.json": lambda store: ss.sweep(numbers, SETUP, {"count": [1, 2]}, store=store),
    "sweeps/*.json": ss.sweep.load,
    "sweeps/*.keys": ss.sweep.load,
}


@pytest.mark.parametrize(("pattern", "reading"), RECORDS.items(), ids=RECORDS)
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"{", b"0123456789abcdef", b"\xff"])
def test_a_spoilt_record_is_named_and_once_deleted_made_again(tmp_path, pattern, reading, content):
    before = ss.sweep(numbers, SETUP, {"count": [1, 2]}, store=tmp_path).load()
    (path,) = tmp_path.glob(pattern)
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=rf"{path.name}.*is spoilt; delete it, and run the sweep again"):
        reading(tmp_path)
    path.unlink()
    ss.sweep(numbers, SETUP, {"count": [1, 2]}, store=tmp_path)
    xr.testing.assert_identical(ss.sweep.load(tmp_path).load(), before)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, NotWritten), (errno.EROFS, InvalidInput), (errno.EACCES, InvalidInput)]
)
@pytest.mark.parametrize("after", [0, 1, 5, 9])
def test_a_store_that_cannot_be_written(tmp_path, monkeypatch, number, kind, after):
    """From the file after so many on; what was finished before is there, and the next sweep goes on."""
    write, written = files.write_files, []

    def some(contents):
        if len(written) >= after:
            raise OSError(number, os.strerror(number))
        write(contents)
        written.extend(contents)

    with monkeypatch.context() as patch:
        patch.setattr(MODULES["stablestep.sweep.store"], "write_files", some)
        with pytest.raises(kind, match=r'cannot write to the store ".*"') as caught:
            ss.sweep(numbers, SETUP, GRID, store=tmp_path / "store")
        assert "\n" not in str(caught.value)
    assert len(list((tmp_path / "store").rglob("*.nc"))) == sum(path.suffix == ".nc" for path in written)
    expected = ss.sweep(numbers, SETUP, GRID, store=None).load()
    xr.testing.assert_identical(ss.sweep(numbers, SETUP, GRID, store=tmp_path / "store").load(), expected)


def test_drafts_of_dead_processes_are_removed_and_of_living_ones_not(tmp_path):
    ss.sweep(numbers, SETUP, GRID, store=tmp_path)
    folder = next((tmp_path / "cells").iterdir())
    dead, living = folder / ".a-b.nc.4194305", folder / f".a-b.nc.{os.getppid()}"
    dead.write_bytes(b"1"), living.write_bytes(b"1")
    ss.sweep.load(tmp_path).load()
    ss.sweep(numbers, SETUP, GRID, store=tmp_path)
    assert not dead.exists() and living.exists()
