"""Several torch optimizers of one model, as one."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.optim import LBFGS, Optimizer

from stablestep.errors import InvalidInput, require


class ChainedOptimizer(Optimizer):
    """`optimizers`, each with its own parameters, as the one optimizer that schedulers, checkpoints, `StableStep` and `LocalSteps` take.

    torch's Muon takes matrices alone, so that every training with it has an AdamW for the rest. Groups and state are shared: what a
    scheduler sets here counts in the optimizers, and one `state_dict` holds all.

    Args:
        optimizers: at least one, of different parameters, none that needs a closure.

    Raises:
        InvalidInput: if one is no optimizer, or two hold the same parameter.

    >>> model = torch.nn.Linear(3, 2)
    >>> muon = torch.optim.Muon([model.weight], lr=0.02, adjust_lr_fn="match_rms_adamw")
    >>> optimizer = ChainedOptimizer(muon, torch.optim.AdamW([model.bias], lr=0.02))
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.02, 0.02]
    """

    def __init__(self, *optimizers: Optimizer):
        require(optimizers, "optimizers is empty, but must hold at least one torch optimizer.")
        for one in optimizers:
            require(
                isinstance(one, Optimizer), f"optimizers holds a {type(one).__name__}, but must hold torch optimizers."
            )
            require(not isinstance(one, LBFGS), "LBFGS chooses its own steps; chain optimizers without a closure.")
        seen = [id(parameter) for one in optimizers for group in one.param_groups for parameter in group["params"]]
        twice = len(seen) - len(set(seen))
        require(not twice, f"{twice} parameters are in more than one optimizer, but each must be moved by one.")
        self.optimizers, self._groups = optimizers, [len(one.param_groups) for one in optimizers]
        super().__init__([group for one in optimizers for group in one.param_groups], {})
        for one in optimizers:
            self.state.update(one.state)
        self._share()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "optimizers": self.optimizers, "_groups": self._groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # also what load_state_dict calls, with new groups and a new state
        self._share()

    def _share(self) -> None:
        groups: Iterator[dict[str, Any]] = iter(self.param_groups)
        for one, count in zip(self.optimizers, self._groups):
            one.param_groups = [next(groups) for _ in range(count)]
            one.state = self.state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Only while this is made: a group belongs to one of the optimizers.

        Raises:
            InvalidInput: later.
        """
        if len(self.param_groups) == sum(self._groups):
            raise InvalidInput("a group belongs to one of the chained optimizers; add it there, then chain them again.")
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of each, in their order; a closure is evaluated once, before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for one in self.optimizers:
            one.step()
        return loss
