"""A torch optimizer whose learning rates are scaled by a rule, for one step at a time."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.optim import LBFGS, Optimizer

from stablestep.errors import InvalidInput, instance, require, whole
from stablestep.torch.exchange.meter import Arrival
from stablestep.torch.exchange.state import HookState
from stablestep.torch.step.base import Rule, Seen, warn
from stablestep.torch.step.chained import ChainedOptimizer, saved

_KEY = "stablestep"
_KEPT = ("inner", "hook_state", "rule", "max_consecutive_skips", "initial_lr", "_first", "defaults")
_Kind = TypeVar("_Kind")


class StableStep(Optimizer):
    """`optimizer`, with every learning rate multiplied by the rule's scalar for the step at hand and restored after it.

    It is a torch Optimizer itself: schedulers, GradScaler and checkpoints take it in place of `optimizer`, whose parameter groups
    and state it shares. A step whose gradient or mean message is not finite on any worker is skipped on all of them, with a warning at
    the first, tenth, hundredth, … time. (A GradScaler does not call `step` then, and lowers its scale instead.)

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
        max_consecutive_skips: that many skipped steps in a row raise, on all workers alike; None for never.

    Raises:
        InvalidInput: if an argument is of the wrong kind; in `step`, if no gradient went through the hook since the last step, too many
            steps were skipped, or a GradScaler is used that the hook does not know; in the inner optimizer's own `step`.
    """

    def __init__(self, optimizer: Optimizer, state: HookState, rule: Rule, max_consecutive_skips: int | None = 20):
        require(
            isinstance(optimizer, Optimizer),
            f"optimizer is a {type(optimizer).__name__}, but must be a torch optimizer.",
        )
        require(
            not isinstance(optimizer, StableStep), "optimizer is a StableStep already; give it the inner optimizer."
        )
        require(not isinstance(optimizer, LBFGS), "LBFGS chooses its own steps; use an optimizer without a closure.")
        require(isinstance(state, HookState), f"state is a {type(state).__name__}, but must be the hook's HookState.")
        instance("rule", rule, Rule, "rule.LocalNorms(eta0=0.5)")
        most = None if max_consecutive_skips is None else whole("max_consecutive_skips", max_consecutive_skips)
        rates = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
        # The proportion of all rates is that of the first group that moves.
        first = next((number for number, rate in enumerate(rates) if rate), 0)
        self.inner, self.hook_state, self.rule = optimizer, state, rule
        self.max_consecutive_skips, self.initial_lr, self._first = most, rates[first], first
        self._begin({"defaults": dict(optimizer.defaults)})

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in _KEPT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._begin(state)

    def _begin(self, attributes: dict[str, Any]) -> None:
        # Without Optimizer.__init__, which would copy the groups: this only makes the tables of hooks.
        super().__setstate__(attributes)
        members = self.inner.optimizers if isinstance(self.inner, ChainedOptimizer) else ()
        for one in (self.inner, *members):
            one.register_step_pre_hook(self._refuse_others)
        self._used, self._warn_at, self._moves = self.hook_state.serial, 1, False
        self.hook_state.run.memories.reversible = True
        self._note()

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
            InvalidInput: if no gradient went through the hook since the last step, too many steps were skipped, or a GradScaler is used
                that the hook does not know.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._only_makes_state():
            self.inner.step()
            return loss
        arrived = self.hook_state.arrival()
        self._check_fresh(arrived.serial)
        if not arrived.finite:
            self._skip(arrived)
            self.rule.spoilt(self._seen(arrived))
            return loss
        self._check_scaler()
        self._look_for_gradients()
        seen = self._seen(arrived)
        if not self.rule.admits(seen):
            self.hook_state.refused()
            return loss
        factor = self.rule.factor(seen)
        self.hook_state.stepped(float(self.param_groups[self._first]["lr"]) * factor)
        with _scaled(self.param_groups, factor):
            self.inner.step()
        self.rule.moved(seen)
        return loss

    def _refuse_others(self, inner: Optimizer, *_: Any) -> None:
        """Before every step of the inner optimizer, which only this one may make."""
        require(
            _caller(StableStep) is not None or self._only_makes_state(),
            f"step() of the {type(inner).__name__} inside StableStep was called, which knows neither the rule nor of steps to skip; "
            "call step() of the StableStep.",
        )

    def _only_makes_state(self) -> bool:
        """Whether this is no step of a training: a checkpoint makes one without gradient and rate, so that the state has its tensors."""
        if self.inner.state or any(float(group["lr"]) for group in self.param_groups):
            return False
        return not any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in self._parameters)

    @property
    def _parameters(self) -> list[torch.Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _check_fresh(self, serial: int) -> None:
        if serial != self._used:
            self._used = serial
            return
        trained = [parameter for parameter in self._parameters if parameter.requires_grad]
        missing = sum(parameter.grad is None for parameter in trained)
        if 0 < missing < len(trained):
            raise InvalidInput(
                f"the exchange of gradients has not come to its end, and {missing} of {len(trained)} parameters have no gradient: if the "
                "loss does not use them, wrap the model with find_unused_parameters=True; else register the hook on the DDP model."
            )
        raise InvalidInput(
            "no gradient went through the hook since the last step: register the hook on the DDP model, "
            "and do the last backward before a step outside no_sync."
        )

    def _skip(self, arrived: Arrival) -> None:
        many = f"{arrived.skipped} of {arrived.exchanges} steps"
        require(
            self.max_consecutive_skips is None or arrived.skipped_in_a_row < self.max_consecutive_skips,
            f"{arrived.skipped_in_a_row} steps in a row were skipped ({many} of this run), since gradients or messages were not finite; "
            "the parameters are those before: lower the learning rate, look at the data, or give a larger max_consecutive_skips.",
        )
        if arrived.skipped >= self._warn_at:
            self._warn_at = 10 ** len(str(arrived.skipped))
            warn(
                f"{many} skipped so far on all workers, since a gradient or message was not finite; if it goes on, lower the learning rate."
            )

    def _look_for_gradients(self) -> None:
        """At the first step: those that went through the hook may be those of another model."""
        if not self._moves and all(parameter.grad is None for parameter in self._parameters):
            warn(
                "gradients went through the hook, but no parameter of the optimizer has one, so it moves nothing: "
                "make it from the parameters of the model that is registered."
            )
        self._moves = True

    def _check_scaler(self) -> None:
        scaler = _caller(torch.amp.GradScaler)
        require(
            scaler is None or scaler is self.hook_state.scaler or scaler.get_scale() == 1,
            "a GradScaler divides the gradients by its scale after the hook has measured their norms, so these are wrong; "
            "give it to the hook: HookState(…, scaler=scaler).",
        )

    def _seen(self, arrived: Arrival) -> Seen:
        first = self.param_groups[self._first]
        return Seen(
            mean_norm=arrived.mean_norm,
            lr=max(float(group["lr"]) for group in self.param_groups),
            # A OneCycleLR starts at a small fraction of the rate that counts.
            initial_lr=float(first.get("max_lr", self.initial_lr)),
            first_lr=float(first["lr"]),
            parameters=self._parameters,
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

    def consolidate_state_dict(self, to: int = 0) -> None:
        """As a ZeroRedundancyOptimizer inside: bring its state to one worker, where `state_dict` is called then.

        Raises:
            InvalidInput: if the inner optimizer is no such one.
        """
        inner = getattr(self.inner, "consolidate_state_dict", None)
        if inner is None:
            raise InvalidInput(
                f"the inner optimizer is of type {type(self.inner).__name__}, whose state is whole on every worker; "
                "leave consolidate_state_dict out."
            )
        inner(to)

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """That of the inner optimizer, whose first group has the rule's too, so that every way of saving keeps it; loadable with
        `weights_only=True`."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        self._note()
        found = self.inner.state_dict()
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, found)
            found = found if changed is None else changed
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # type: ignore[override]
        """From a `state_dict` of this class, or of the inner optimizer alone.

        Raises:
            InvalidInput: if it is none of an optimizer, or was saved with another rule.
        """
        state_dict = saved(state_dict)
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        own = state_dict["param_groups"][0].get(_KEY)
        self._check_rule(own)
        self.inner.load_state_dict(state_dict)
        if own is not None:
            self.initial_lr = float(own["initial_lr"])
            self.rule.load_state_dict(own.get("state", {}))
        self._note()
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def _check_rule(self, own: dict[str, Any] | None) -> None:
        name = type(self.rule).__name__
        require(
            own is None or own["rule"] == name,
            f"the rule is {name}, but the saved run has {own and own['rule']}; resume with that one, or load the inner optimizer alone.",
        )

    def _note(self) -> None:
        """What is to be saved, where torch looks: `torch.distributed.checkpoint` keeps nothing but state and groups."""
        own = {"rule": type(self.rule).__name__, "initial_lr": self.initial_lr, "state": self.rule.state_dict()}
        self.param_groups[0][_KEY] = own

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


def _caller(kind: type[_Kind]) -> _Kind | None:
    """The object of this kind in whose method `step` we are, if we are in one.

    Gradients alone cannot tell a scaler from a clipping: both multiply all of them by one number.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("step", "_maybe_opt_step") and isinstance(frame.f_locals.get("self"), kind):
            return frame.f_locals["self"]
        frame = frame.f_back
    return None
