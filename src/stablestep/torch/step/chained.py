"""Several torch optimizers of one model, as one."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from stablestep.errors import InvalidInput, instance, require, shown

# Why an optimizer cannot be a member, by the name of its class: two of them are in modules that not everybody has, or that come later.
_ALONE = {
    "LBFGS": "LBFGS chooses its own steps; chain optimizers without a closure.",
    "ChainedOptimizer": "optimizers holds a ChainedOptimizer; give all optimizers to one ChainedOptimizer.",
    "StableStep": "optimizers holds a StableStep, which scales all learning rates of a model; make StableStep of the chain.",
    "ZeroRedundancyOptimizer": "optimizers holds a ZeroRedundancyOptimizer, whose state is on other workers; chain plain optimizers.",
}


class ChainedOptimizer(Optimizer):
    """`optimizers`, each with its own parameters, as the one optimizer that schedulers, checkpoints, `StableStep` and `LocalSteps` take.

    torch's Muon takes matrices alone, so that every training with it has an AdamW for the rest. Groups and state are shared: what a
    scheduler sets here counts in the optimizers, and one `state_dict` holds all; the optimizers are saved and loaded with the chain alone.

    Args:
        optimizers: at least one, of different parameters, none that needs a closure, is a chain, or has its state on other workers.

    Raises:
        InvalidInput: if one is no such optimizer, or two hold the same parameter; later, if one has got another group, or is in a
            chain that was made after this one.

    >>> model = torch.nn.Linear(3, 2)
    >>> muon = torch.optim.Muon([model.weight], lr=0.02, adjust_lr_fn="match_rms_adamw")
    >>> optimizer = ChainedOptimizer(muon, torch.optim.AdamW([model.bias], lr=0.02))
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.02, 0.02]
    """

    def __init__(self, *optimizers: Optimizer):
        require(optimizers, "optimizers is empty, but must hold at least one torch optimizer.")
        for one in optimizers:
            _check(one)
        seen = [id(parameter) for one in optimizers for group in one.param_groups for parameter in group["params"]]
        twice = len(seen) - len(set(seen))
        require(not twice, f"{twice} parameters are in more than one optimizer, but each must be moved by one.")
        self.optimizers, self._groups = optimizers, [len(one.param_groups) for one in optimizers]
        super().__init__([group for one in optimizers for group in one.param_groups], {})
        for one in optimizers:
            self.state.update(one.state)
        self._take()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "optimizers": self.optimizers, "_groups": self._groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # also what load_state_dict calls, with new groups and a new state
        if "optimizers" in state:  # a copy, which has no hooks
            self._take()
        else:
            self._share()

    def _take(self) -> None:
        """The optimizers' groups and state are here from now on."""
        for one in self.optimizers:
            one.register_state_dict_pre_hook(_refuse)
            one.register_load_state_dict_pre_hook(_refuse)
        self.register_state_dict_pre_hook(lambda _: self._check_shared())
        self._share()

    def _check_shared(self) -> None:
        groups = [group for one in self.optimizers for group in one.param_groups]
        shared = len(groups) == len(self.param_groups) and all(one.state is self.state for one in self.optimizers)
        require(
            shared,
            "the chained optimizers have another group, or another state, than when they were chained; chain them again.",
        )

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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a `state_dict` of a chain of the same optimizers.

        Raises:
            InvalidInput: if it is none of an optimizer.
        """
        super().load_state_dict(saved(state_dict))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of each, in their order; a closure is evaluated once, before."""
        self._check_shared()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for one in self.optimizers:
            one.step()
        return loss


def saved(state_dict: Any) -> dict[str, Any]:
    """`state_dict`, which must be one of an optimizer.

    >>> sorted(saved(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]).state_dict()))
    ['param_groups', 'state']
    """
    found = dict(instance("state_dict", state_dict, Mapping, "optimizer.state_dict()"))
    missing = [name for name in ("param_groups", "state") if not isinstance(found.get(name), (Mapping, list))]
    require(not missing, f"the saved state lacks {', '.join(missing[:1])}; it is not one of an optimizer.")
    groups = found["param_groups"]
    fits = isinstance(groups, list) and groups and all(isinstance(one, Mapping) and "params" in one for one in groups)
    require(fits, f"param_groups of the saved state is {shown(groups)}, but must hold the groups of an optimizer.")
    return found


def _check(one: Any) -> None:
    """Raise unless it can be a member."""
    require(isinstance(one, Optimizer), f"optimizers holds a {type(one).__name__}, but must hold torch optimizers.")
    for kind in type(one).__mro__:
        require(kind.__name__ not in _ALONE, _ALONE.get(kind.__name__, ""))


def _refuse(one: Optimizer, *_: Any) -> None:
    raise InvalidInput(
        f"the {type(one).__name__} is in a ChainedOptimizer, which has its state; save and load the chain instead."
    )
