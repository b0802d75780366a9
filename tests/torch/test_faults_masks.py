"""Random subsets without a uniform for each element: the law is that of RandK, on every worker the same."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats

from stablestep import compressor as c
from stablestep.torch.wire import randomness
from stablestep.torch.wire.randomness import drawer, smallest
from stablestep.torch.wire.registry import codec
from tests.statistics import assert_fails, assert_mean

LIKE = torch.zeros(1)


@pytest.mark.parametrize(("count", "kept"), [(7, 2), (7, 3), (6, 4), (8, 1)])
def test_every_subset_is_as_likely_as_any_other(count, kept, seed, monkeypatch):
    """All subsets of a few things, drawn in the way of many."""
    monkeypatch.setattr(randomness, "_SMALL", 5)
    subsets = {chosen: number for number, chosen in enumerate(combinations(range(count), kept))}
    stream = drawer(LIKE, seed, 0, 0)
    drawn = [subsets[tuple(stream.subset(count, kept).tolist())] for _ in range(6000)]
    found = np.eye(len(subsets))[drawn]
    assert_mean(found, np.full(len(subsets), 1 / len(subsets)))
    with assert_fails("an element that is favoured three times"):
        weights = np.array([3.0 if 0 in chosen else 1.0 for chosen in subsets])
        assert_mean(found, weights / weights.sum())


@pytest.mark.parametrize(("count", "kept"), [(3000, 30), (3000, 900), (3000, 2600)])
def test_how_many_fall_into_a_part(count, kept, seed):
    """Hypergeometric: the mean is that of independent choices, the variance is smaller."""
    stream, part = drawer(LIKE, seed, 0, 0), 1000
    drawn = [stream.subset(count, kept) for _ in range(3000)]
    for chosen in drawn:
        assert len(chosen) == kept and (chosen.diff() > 0).all() and chosen[0] >= 0 and chosen[-1] < count
    within = np.array([(chosen < part).sum().item() for chosen in drawn], float)
    law = stats.hypergeom(count, part, kept)
    assert_mean(within, law.mean())
    assert_mean((within - law.mean()) ** 2, law.var())
    with assert_fails("an end that is kept more often"):
        assert_mean(within, 1.1 * law.mean())
    with assert_fails("a variance of 1.5 times"):
        assert_mean((within - law.mean()) ** 2, 1.5 * law.var())


@pytest.mark.parametrize("block", [None, 7])
def test_all_workers_draw_the_same(block, seed):
    chosen = codec(c.RandK(fraction=0.1, block=block))
    plans = [chosen.plan(drawer(LIKE, seed, 3, 2), 20_000) for _ in range(2)]
    assert torch.equal(*plans) and not torch.equal(plans[0], chosen.plan(drawer(LIKE, seed, 4, 2), 20_000))


@pytest.mark.parametrize("count", [1, 700, 9000, 100_000])
def test_the_smallest_of_many(count, seed):
    """Found among few candidates, with ties, and where the candidates are too many or too few."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(200_000, generator=generator)
    spiky = torch.where(torch.arange(200_000) % 16 == 0, -uniform, uniform)
    for values in (uniform, (uniform * 50).floor(), torch.zeros(200_000), spiky, -spiky):
        assert torch.equal(smallest(values, count), values.argsort(stable=True)[:count].sort().values)
