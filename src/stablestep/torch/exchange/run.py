"""What changes while a run of the hook goes on."""

import warnings

import torch
import torch.distributed as dist

from stablestep.torch.exchange.memories import Memories
from stablestep.torch.exchange.meter import Meter
from stablestep.torch.exchange.roster import Roster


class Run:
    """The workers, once they are known, the parameters in their order and their groups, what is remembered of them, and what was measured."""

    def __init__(self, process_group: dist.ProcessGroup | None):
        self.process_group = process_group
        self.workers = self.rank = 0
        self.roster, self.meter, self.memories = Roster(), Meter(), Memories()
        self.groups: list[
            list[torch.Tensor]
        ] = []  # of parameters that share a collective; known after the first backward

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
        self.memories.check(self.rank, self.workers)
