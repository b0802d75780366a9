"""The workers of local steps: who they are, and that they begin at the same point."""

import warnings
from collections.abc import Sequence

import torch
import torch.distributed as dist

from stablestep.errors import require
from stablestep.torch.exchange.group import network
from stablestep.torch.local.shot import WHAT

Group = dist.ProcessGroup | None


def join(group: Group) -> tuple[int, int]:
    """N and this worker's number; a warning if it is alone.

    Raises:
        InvalidInput: without a process group.
    """
    require(dist.is_initialized(), "there is no process group yet; call torch.distributed.init_process_group first.")
    workers, rank = dist.get_world_size(group), dist.get_rank(group)
    require(rank >= 0, "process_group does not contain this worker; give each worker the group that it belongs to.")
    if workers == 1:
        warnings.warn(
            "The process group has one worker, so there is nobody to exchange with; training goes on.", stacklevel=3
        )
    return workers, rank


def require_same_steps(steps: Sequence[int]) -> None:
    """Raise on all workers alike if these numbers of steps of theirs differ."""
    require(
        len(set(steps)) == 1,
        f"the workers are at different steps, {', '.join(map(str, steps))}; resume all of them from the same step.",
    )


def spread(model: torch.nn.Module, group: Group) -> None:
    """All parameters and buffers become those of the group's first worker; a collective."""
    with torch.no_grad(), network(WHAT):
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.numel():
                copy = tensor.detach().clone(memory_format=torch.contiguous_format).view(-1).view(torch.uint8)
                dist.broadcast(copy, group=group, group_src=0)
                tensor.copy_(copy.view(tensor.dtype).view(tensor.shape))
