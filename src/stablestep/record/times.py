"""Which iterations are recorded."""

import numpy as np
from jaxtyping import Int

from stablestep.errors import numbers, one_of, require, whole

LIMIT = 200


def recorded(steps: int, record=None) -> Int[np.ndarray, " times"]:
    """The recorded iterations, first (0) and last (`steps`) included, at most 201 unless listed one by one.

    Args:
        record: None for linear spacing (every iteration if steps ≤ 200), "log" for logarithmic, a number of times, or the
            iterations themselves.

    Raises:
        InvalidInput: if steps < 1, or an iteration lies outside [0, steps].

    >>> recorded(5).tolist(), recorded(1000, "log")[:4].tolist(), recorded(100, 3).tolist()
    ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3], [0, 50, 100])
    """
    steps = whole("steps", steps)
    if isinstance(record, str):
        one_of("record", record, ("linear", "log"))
    if isinstance(record, str) and record == "log":
        chosen = np.concatenate([[0], np.geomspace(1, steps, min(LIMIT, steps))])
    elif record is None or isinstance(record, str):
        chosen = np.linspace(0, steps, min(LIMIT, steps) + 1)
    elif np.ndim(record) == 0:
        times = whole("record", record, least=2, most=LIMIT + 1, hint=" times; or list the iterations")
        chosen = np.linspace(0, steps, min(times, steps + 1))
    else:
        chosen = numbers("record", record)
        require(
            chosen.ndim == 1
            and chosen.size > 0
            and bool(np.all((chosen >= 0) & (chosen <= steps) & (chosen == np.round(chosen)))),
            f"record must list whole iterations between 0 and steps = {steps}.",
        )
        chosen = np.concatenate([[0], chosen, [steps]])
    return np.unique(np.round(chosen).astype(np.int32))
