"""That all workers were told the same: what one encodes by its own settings, the others decode by theirs."""

from typing import Any

import torch.distributed as dist

from stablestep.errors import InvalidInput
from stablestep.torch.exchange.group import network


def agree(settings: dict[str, Any], workers: int, group: dist.ProcessGroup | None, what: str = "gradients") -> None:
    """Raise on all workers alike if their settings differ; a collective where there are several.

    Raises:
        InvalidInput: naming the first difference.
    """
    found: list[Any] = [settings] * workers
    if workers > 1:
        with network(what):
            dist.all_gather_object(found, settings, group=group)
    for worker, other in enumerate(found):
        for name, value in found[0].items():
            if other[name] != value:
                raise InvalidInput(
                    f"the workers differ: {name} is {_short(value)} on worker 0, but {_short(other[name])} on worker {worker}; "
                    "give all of them the same model and arguments."
                )


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:60] + "…"
