"""Where all workers were when the round began, and the outer optimizer that moves it."""

import torch
from torch import nn
from torch.optim import SGD, Optimizer

from stablestep.errors import InvalidInput, require
from stablestep.torch.local.vector import Vector

Tensor = torch.Tensor


class Anchor:
    """The common point x [P] in full precision, as parameters of the outer optimizer.

    Args:
        vector: the model's parameters, whose values now are the first point.
        outer: an optimizer over the same parameters of the model, which is taken over; None: SGD, lr .7, Nesterov momentum .6.

    Raises:
        InvalidInput: if it is no optimizer, or one over other parameters.
    """

    def __init__(self, vector: Vector, outer: Optimizer | None):
        self.point = vector.read()
        self.parameters = [nn.Parameter(view) for view in vector.views(self.point)]
        if outer is None:
            self.outer: Optimizer = SGD(self.parameters, lr=0.7, momentum=0.6, nesterov=True)
        else:
            self.outer = _taken_over(outer, dict(zip(map(id, vector.parameters), self.parameters)))

    def described(self) -> list[dict[str, str]]:
        """The settings of the outer optimizer's groups, which must be the same on all workers."""
        groups = self.outer.param_groups
        return [{name: str(value) for name, value in group.items() if name != "params"} for group in groups]

    def move(self, difference: Tensor, vector: Vector) -> None:
        """One outer step, with the mean difference x − x_i [P] as the gradient."""
        for parameter, gradient in zip(self.parameters, vector.views(difference)):
            parameter.grad = gradient
        self.outer.step()
        self.outer.zero_grad()


def _taken_over(outer: Optimizer, anchors: dict[int, nn.Parameter]) -> Optimizer:
    require(isinstance(outer, Optimizer), f"outer is a {type(outer).__name__}, but must be a torch optimizer.")
    kept = [[anchors[id(p)] for p in group["params"] if id(p) in anchors] for group in outer.param_groups]
    if sum(map(len, kept)) != len(anchors):
        raise InvalidInput(
            f"outer holds {sum(map(len, kept))} of the {len(anchors)} parameters that the inner optimizer changes, but must hold all; "
            "make it from model.parameters()."
        )
    for group, parameters in zip(outer.param_groups, kept):
        group["params"] = parameters
    for parameter in list(outer.state):  # Adagrad has one before its first step
        state = outer.state.pop(parameter)
        if id(parameter) in anchors:
            outer.state[anchors[id(parameter)]] = state
    return outer
