"""What the gradients still hold of an earlier exchange when a backward adds to them: it was sent already, and is not sent again."""

import weakref

import torch
from torch.autograd.graph import get_gradient_edge

Tensor = torch.Tensor


class Earlier:
    """Mean messages that are still in the gradients, set aside while the new gradients are exchanged.

    Two backwards before one step (the two losses of a GAN's critic, accumulation without `no_sync`) make the gradient of the second one
    the first mean message plus this worker's new gradient. Only the new part may be compressed: else a compressed value is compressed
    again, and a sign taken of a sum. So each parameter is looked at just before its gradient is accumulated. What an exchange has left
    there goes aside, whatever clipping has made of it, and comes back when the new mean message is there.
    """

    def __init__(self):
        self._nodes: dict[Tensor, object] = {}  # kept alive, and with them their hooks
        self._exchanged = False
        self._seen: set[Tensor] = set()  # parameters whose accumulation we notice
        self._fresh: set[Tensor] = set()  # those that have got a gradient since the last exchange
        self._aside: dict[Tensor, Tensor] = {}
        self._given: list[tuple[Tensor, Tensor]] = []
        self.added_to = False  # whether this backward has accumulated onto something that was exchanged before

    def take(self, parameter: Tensor, flat: Tensor) -> None:
        """Leave in `flat`, the parameter's part of a bucket, only what is new; `give_back` adds the rest."""
        self._watch(parameter)
        if parameter in self._aside:
            self._given.append((flat, self._aside.pop(parameter).flatten()))
            self.added_to = True
        elif self._untouched(parameter):
            self._given.append((flat, flat.clone()))
            flat.zero_()

    def give_back(self) -> None:
        """The new mean messages have arrived."""
        for flat, earlier in self._given:
            flat.add_(earlier)
        self._fresh, self._aside, self._given = set(), {}, []
        self._exchanged, self.added_to = True, False

    def _watch(self, parameter: Tensor) -> None:
        if parameter not in self._nodes and parameter.requires_grad:
            self._nodes[parameter] = _before_accumulation(parameter, weakref.WeakMethod(self._accumulates))

    def _untouched(self, parameter: Tensor) -> bool:
        """Whether no backward since the last exchange has reached it, so that its gradient is what that one left."""
        reached = parameter in self._fresh or parameter not in self._seen
        return self._exchanged and not reached and parameter.grad is not None

    def _accumulates(self, parameter: Tensor) -> None:
        self._seen.add(parameter)
        if parameter in self._fresh:
            self._forget_zeros(parameter)
        elif self._exchanged and parameter.grad is not None and bool(parameter.grad.any()):
            self._aside[parameter] = parameter.grad.detach().clone()  # DDP may overwrite it in its bucket
            parameter.grad = None
        self._fresh.add(parameter)

    def _forget_zeros(self, parameter: Tensor) -> None:
        """Gradients that were set to zero after a part of them had been accumulated."""
        if parameter in self._aside and (parameter.grad is None or not bool(parameter.grad.any())):
            del self._aside[parameter]


def _before_accumulation(parameter: Tensor, call: weakref.WeakMethod) -> object:
    """Have `call(parameter)` before each accumulation into its gradient, as long as the returned node is kept.

    The hook is one of the graph's node, not of the tensor: those do not survive copies and warn when they are saved.
    """
    node = get_gradient_edge(parameter).node

    def before(gradients: tuple[Tensor, ...]) -> None:
        alive = call()
        if alive is not None:
            alive(parameter)

    node.register_prehook(before)
    return node
