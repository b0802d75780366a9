"""The steps ηη_t that an optimizer takes: K equal ones, or a list."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stablestep.errors import InvalidInput, numbers, positive, require, shown, whole


@dataclass(frozen=True)
class Taken:
    """`each` [m] are steps, the first taken `repeated` times if it is the only one."""

    each: np.ndarray
    repeated: int = 1

    @property
    def count(self) -> int:
        """K."""
        return len(self.each) * self.repeated

    @property
    def constant(self) -> bool:
        """Whether all are equal."""
        return bool(np.all(self.each == self.each[0]))

    @property
    def largest(self) -> float:
        """The largest one."""
        return float(np.max(self.each))

    def total(self, of: Callable[[np.ndarray], np.ndarray]) -> float:
        """Σ of(h_k)."""
        return float(np.sum(of(self.each))) * self.repeated


def taken(name: str, eta, steps) -> Taken:
    """K = `steps` steps of length η = `eta`, or the list `steps` itself.

    Raises:
        InvalidInput: where it is neither, or a step is not finite and greater than 0.

    >>> taken("a result", 0.1, 1000).count, taken("a result", None, [0.1, 0.05]).constant
    (1000, False)
    """
    if steps is None:
        raise InvalidInput(f"{name} is about discrete steps; give eta and steps=K, their number, or steps=[h_0, …] alone.")
    if eta is not None:
        return Taken(np.array([positive("eta", eta)]), whole("steps", steps, most=10**18))
    each = numbers("steps", steps)
    fits = each.ndim == 1 and len(each) > 0 and bool(np.all((each > 0) & np.isfinite(each)))
    require(fits, f"steps is {shown(steps)}, but must be a list of finite steps greater than 0, or a number beside eta.")
    return Taken(each)
