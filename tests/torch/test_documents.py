"""The code of README.md and docs/torch.md, run as printed by one worker; what it leaves to the reader is defined here."""

import re
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

ROOT = Path(__file__).parents[2]


def blocks(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return [code for code in re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S) if "sst" in code or "torch" in code]


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """What a reader has: a process group, a model, data."""
    monkeypatch.chdir(tmp_path)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    model, generator = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 3)), torch.Generator().manual_seed(0)
    data = [(torch.randn(16, 8, generator=generator), torch.arange(16) % 3) for _ in range(20)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield {
            "torch": torch,
            "dist": dist,
            "DistributedDataParallel": DistributedDataParallel,
            "model": model,
            "ddp": DistributedDataParallel(model),
            "loss_fn": nn.functional.cross_entropy,
            "data": data,
            "x": data[0][0],
            "y": data[0][1],
            "rank": 0,
        }
    dist.destroy_process_group()


@pytest.mark.parametrize("name", ["README.md", "docs/torch.md"])
def test_the_code_runs_in_its_order(name, reader):
    found = [code for code in blocks(name) if "fully_shard" not in code]
    assert found
    before = [parameter.detach().clone() for parameter in reader["model"].parameters()]
    for code in found:
        exec(compile(code, name, "exec"), reader)
    assert {"state", "optimizer", "local"} <= reader.keys()
    assert any(not torch.equal(a, b) for a, b in zip(before, reader["model"].parameters(), strict=True))
