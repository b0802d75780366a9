"""Which parameters share a collective: a fixed rule, so that sums are rounded alike in every step and after a restart."""

from collections.abc import Sequence

import torch


def layout(parameters: Sequence[torch.Tensor], most_bytes: int) -> list[list[torch.Tensor]]:
    """Groups of parameters, the last ones first (backward reaches them first), of one type and at most about `most_bytes` each.

    DDP's own buckets change after the first step, and with them the order in which an all-reduce of three or more workers adds.

    >>> a, b, c = torch.zeros(2), torch.zeros(3), torch.zeros(1)
    >>> [[len(p) for p in group] for group in layout([a, b, c], most_bytes=16)]
    [[1, 3], [2]]
    """
    groups: list[list[torch.Tensor]] = []
    for parameter in reversed(parameters):
        if not groups or not _fits(groups[-1], parameter, most_bytes):
            groups.append([])
        groups[-1].append(parameter)
    return groups


def _fits(group: list[torch.Tensor], parameter: torch.Tensor, most_bytes: int) -> bool:
    alike = (group[0].dtype, group[0].device) == (parameter.dtype, parameter.device)
    return alike and sum(each.nbytes for each in group) + parameter.nbytes <= most_bytes
