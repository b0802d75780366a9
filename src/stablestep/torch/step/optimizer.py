"""A torch optimizer whose learning rates are scaled by a rule, for one step at a time."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import LBFGS, Optimizer

from stablestep.errors import InvalidInput, require
from stablestep.torch.exchange.meter import Arrival
from stablestep.torch.exchange.state import HookState
from stablestep.torch.step.rule import Rule, Seen
from stablestep.torch.wire.codec import squared_norm

_KEY = "stablestep"


class StableStep(Optimizer):
    """`optimizer`, with every learning rate multiplied by the rule's scalar for the step at hand and restored after it.

    It is a torch Optimizer itself: schedulers, GradScaler and checkpoints take it in place of `optimizer`, whose parameter groups
    and state it shares. A step whose gradient is not finite on any worker is skipped on all of them.

    What the scalar scales, with h = lr · scalar:

    * SGD: x ← x − h M.
    * momentum, v ← μv + M, x ← x − hv: the whole velocity's contribution to this step, past messages included; the velocity itself is
      not scaled, so a large step now does not echo later. With `dampening` and `nesterov` the same.
    * weight decay inside the gradient (SGD, Adam): M + λx, so also the decay; Ĝ does not see the decay.
    * Adam: the preconditioned step; its moments take M unscaled. Adam's step hardly depends on the size of M, so 1/(1 + Ĝ) comes on top
      of a normalization that is there already.
    * AdamW: the step and the decoupled decay, x ← (1 − hλ) x − h (…).

    Args:
        optimizer: any torch optimizer that needs no closure.
        state: of the hook that the model's gradients go through.
        rule: of `stablestep.torch.step.rule`.

    Raises:
        InvalidInput: if an argument is of the wrong kind; in `step`, if no gradient went through the hook since the last step.
    """

    def __init__(self, optimizer: Optimizer, state: HookState, rule: Rule):
        require(
            isinstance(optimizer, Optimizer),
            f"optimizer is a {type(optimizer).__name__}, but must be a torch optimizer.",
        )
        require(
            not isinstance(optimizer, StableStep), "optimizer is a StableStep already; give it the inner optimizer."
        )
        require(not isinstance(optimizer, LBFGS), "LBFGS chooses its own steps; use an optimizer without a closure.")
        require(isinstance(state, HookState), f"state is a {type(state).__name__}, but must be the hook's HookState.")
        require(isinstance(rule, Rule), f"rule is {rule!r}, but must be a rule such as rule.LocalNorms(eta0=0.5).")
        self.inner, self.hook_state, self.rule = optimizer, state, rule
        first = optimizer.param_groups[0]
        self.initial_lr = float(first.get("initial_lr", first["lr"]))
        self._used = state.serial
        # Without Optimizer.__init__, which would copy the groups: this only makes the tables of step hooks.
        super().__setstate__({"defaults": dict(optimizer.defaults)})

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Those of the inner optimizer."""
        return self.inner.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """That of the inner optimizer."""
        return self.inner.state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; a closure is evaluated once, before the step size is known.

        Raises:
            InvalidInput: if no gradient went through the hook since the last step.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        arrived = self.hook_state.arrival()
        self._check_fresh(arrived.serial)
        if not arrived.finite:
            return loss
        seen = self._seen(arrived)
        if arrived.message_square is not None:
            self._check_scale(seen, arrived.message_square)
        if not self.rule.admits(seen):
            return loss
        factor = self.rule.factor(seen)
        self.hook_state.stepped(factor * float(self.param_groups[0]["lr"]))
        with _scaled(self.param_groups, factor):
            self.inner.step()
        self.rule.moved(seen)
        return loss

    def _check_fresh(self, serial: int) -> None:
        if serial == self._used:
            raise InvalidInput(
                "no gradient went through the hook since the last step: register the hook on the DDP model, "
                "and do the last backward before a step outside no_sync."
            )
        self._used = serial

    def _check_scale(self, seen: Seen, before: float) -> None:
        """Once: nobody divided the gradients by a power of two, as a GradScaler does, after the hook had measured their norms."""
        after = float(sum(map(squared_norm, map(torch.flatten, seen.messages))))
        if self.hook_state.scaler is None and 0 < after < before:
            halvings = math.log2(before / after) / 2
            require(
                round(halvings) == 0 or abs(halvings - round(halvings)) > 1e-6,
                f"the gradients were divided by {2 ** round(halvings)} after the hook, as a GradScaler does, so their norms "
                "are wrong; give it to the hook: HookState(…, scaler=scaler).",
            )
        self.hook_state.watch(after == 0)

    def _seen(self, arrived: Arrival) -> Seen:
        return Seen(
            mean_norm=arrived.mean_norm,
            lr=max(float(group["lr"]) for group in self.param_groups),
            initial_lr=self.initial_lr,
            parameters=[parameter for group in self.param_groups for parameter in group["params"]],
            process_group=self.hook_state.process_group,
            norms=arrived.norms,
            loss=arrived.loss,
            forget=self.inner.state.clear,
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As the inner optimizer."""
        self.inner.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As the inner optimizer."""
        self.inner.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """That of the inner optimizer, and the rule's; loadable with `weights_only=True`."""
        return {**self.inner.state_dict(), _KEY: {"initial_lr": self.initial_lr, "rule": self.rule.state_dict()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # type: ignore[override]
        """From a `state_dict` of this class, or of the inner optimizer alone."""
        own = state_dict.get(_KEY)
        self.inner.load_state_dict({key: value for key, value in state_dict.items() if key != _KEY})
        if own is not None:
            self.initial_lr = float(own["initial_lr"])
            self.rule.load_state_dict(own["rule"])

    def __repr__(self) -> str:
        return f"StableStep({self.inner!r}, rule={type(self.rule).__name__})"


@contextmanager
def _scaled(groups: list[dict[str, Any]], factor: float) -> Iterator[None]:
    """The groups with their learning rates multiplied by `factor`."""
    rates = [group["lr"] for group in groups]
    try:
        for group in groups:
            group["lr"] = group["lr"] * factor
        yield
    finally:
        for group, rate in zip(groups, rates):
            group["lr"] = rate
