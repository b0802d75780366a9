"""Whether a saved state belongs to this run of local steps."""

from collections.abc import Iterable, Mapping
from typing import Any

from stablestep.errors import InvalidInput, instance, require, shown

NAMES = ("every", "total", "compressor", "outer", "exchange", "seed")


def require_same_run(
    saved: Mapping[str, Any], keys: Iterable[str], settings: Mapping[str, Any], workers: int, rank: int
) -> None:
    """Raise, before anything is changed, unless `saved` was made by the same worker of a run with the same settings.

    Raises:
        InvalidInput: in one sentence, with both values.
    """
    instance("state", saved, Mapping, "local.state_dict()")
    missing = set(keys) - set(saved)
    require(not missing, f"the saved state lacks {', '.join(sorted(missing))}; it is not one of LocalSteps.")
    require(
        saved["workers"] == workers,
        f"there are {workers} workers, but the saved run has {saved['workers']}; resume with as many.",
    )
    require(
        saved["rank"] == rank,
        f"this is worker {rank}, but the saved state is that of worker {saved['rank']}; each worker saves and loads its own.",
    )
    before = saved["settings"]
    for name in NAMES:
        require(
            before.get(name) == settings[name],
            f"{name} is {shown(settings[name])}, but the saved run has {shown(before.get(name))}; resume with that one.",
        )
    if before["sizes"] != settings["sizes"] or before["dtype"] != settings["dtype"]:
        raise InvalidInput(
            f"the saved state belongs to other parameters: {_parameters(before)}, but the model has {_parameters(settings)}; "
            "resume with the model that was saved."
        )


def _parameters(settings: Mapping[str, Any]) -> str:
    return f"{len(settings['sizes'])} with {sum(settings['sizes'])} entries as {settings['dtype']}"
