"""What changes while a run of the hook goes on."""

import warnings

import torch
import torch.distributed as dist

from stablestep.torch.exchange.earlier import Earlier
from stablestep.torch.exchange.memories import Memories
from stablestep.torch.exchange.meter import Meter
from stablestep.torch.exchange.roster import Roster
from stablestep.torch.wire.randomness import mixed


class Run:
    """The workers, once they are known, the parameters in their order and their groups, what is remembered of them and measured."""

    def __init__(self, process_group: dist.ProcessGroup | None):
        self.process_group = process_group
        self.workers = self.rank = 0
        # How many parts of the model one worker's gradient is spread over, and which is here.
        self.shards, self.shard = 1, 0
        self.roster, self.meter, self.memories, self.earlier = Roster(), Meter(), Memories(), Earlier()
        # Of parameters that share a collective; known after the first backward.
        self.groups: list[list[torch.Tensor]] = []

    def seed(self, seed: int) -> int:
        """Of this worker's randomness, made of the run's: each shard of a model has its own."""
        return seed if self.shards == 1 else mixed(seed, self.shard)

    @property
    def owner(self) -> tuple[int, int]:
        """Whose memory this is: (rank, workers), among all shards; of 0 workers before they are known."""
        return self.rank * self.shards + self.shard, self.workers * self.shards

    def join(self) -> None:
        """Look at the process group, once.

        Raises:
            InvalidInput: if a restored memory is that of another worker.
        """
        if self.workers:
            return
        self.workers, self.rank = dist.get_world_size(self.process_group), dist.get_rank(self.process_group)
        if self.workers == 1:
            warnings.warn(
                "The process group has one worker, so compression saves nothing; training goes on.", stacklevel=2
            )
        self.memories.check(self.owner)
