"""Modules that take long to load and that most programs never use: loaded when something of them is first asked for.

What is written of them in annotations must be quoted.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


class Later:
    """Stands for a module.

    >>> Later("math").gcd(12, 18)
    6
    """

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, item: str) -> Any:
        return getattr(import_module(self._name), item)


if TYPE_CHECKING:
    import xarray
    from scipy import linalg, special
else:
    linalg, special, xarray = map(Later, ("scipy.linalg", "scipy.special", "xarray"))
