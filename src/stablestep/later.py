"""Modules that take long to load and that most programs never use: loaded when something of them is first asked for."""

from importlib import import_module
from typing import Any


class Later:
    """Stands for a module, under `else` of an `if TYPE_CHECKING` that imports it; what is written in annotations must be quoted.

    >>> Later("math").gcd(12, 18)
    6
    """

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, item: str) -> Any:
        return getattr(import_module(self._name), item)
