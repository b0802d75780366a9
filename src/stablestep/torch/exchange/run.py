"""What changes while a run of the hook goes on."""

import warnings

import torch
import torch.distributed as dist

from stablestep.torch.exchange.earlier import Earlier
from stablestep.torch.exchange.meter import Meter
from stablestep.torch.exchange.roster import Roster


class Run:
    """The workers, once they are known, the parameters in their order and their groups, and what the exchanges measured."""

    def __init__(self, process_group: dist.ProcessGroup | None):
        self.process_group = process_group
        self.workers = self.rank = 0
        self.roster, self.meter, self.earlier = Roster(), Meter(), Earlier()
        self.groups: list[
            list[torch.Tensor]
        ] = []  # of parameters that share a collective; known after the first backward

    def join(self) -> None:
        """Look at the process group, once."""
        if self.workers:
            return
        self.workers, self.rank = dist.get_world_size(self.process_group), dist.get_rank(self.process_group)
        if self.workers == 1:
            warnings.warn(
                "The process group has one worker, so compression saves nothing; training goes on.", stacklevel=2
            )
