"""FSDP2: models sharded inside a group of workers and replicated across groups; messages go across the replicas."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from stablestep.errors import InvalidInput, require, shown
from stablestep.torch.exchange import norms
from stablestep.torch.exchange.encode import Encoder
from stablestep.torch.exchange.group import network, send
from stablestep.torch.exchange.matrix import seconds
from stablestep.torch.exchange.parameter import SentParameter, zero_or_nan
from stablestep.torch.exchange.state import HookState

Tensor = torch.Tensor
_WRITE = 'fully_shard(model, mesh=mesh["shard"]) and register(model, state, replicas=mesh.get_group("rep")), mesh = init_device_mesh(…)'


@dataclass(frozen=True, eq=False)
class Unit:
    """Parameters whose gradients FSDP reduces and scatters together.

    Attributes:
        group: FSDP's own record of them.
        shards: for each of them a tensor without data, of the shape that is here.
    """

    group: Any
    shards: Sequence[Tensor]

    @property
    def trained(self) -> bool:
        """Whether one of them is."""
        return any(one.sharded_param.requires_grad for one in self.group.fsdp_params)

    @property
    def gradients(self) -> list[Tensor]:
        """The shards' gradients, once FSDP has written them."""
        found = [one.sharded_param.grad for one in self.group.fsdp_params]
        return [gradient.to_local() for gradient in found if gradient is not None]

    @property
    def is_going_on(self) -> bool:
        """Whether FSDP's backward is."""
        state = self.group.modules[0]._get_fsdp_state()
        return state._state_ctx.post_backward_final_callback_queued

    def pieces(self, flat: Tensor) -> dict[Tensor, Tensor]:
        """The shards' gradients [d] in what the hook is given, without what fills them up to equal lengths.

        Raises:
            InvalidInput: if FSDP will divide once more, the replicas are not to be reduced, or a gradient is missing.
        """
        require(
            flat.dtype != torch.float16 and not getattr(self.group, "force_sum_reduction_for_comms", False),
            "FSDP divides these gradients again after the hook (float16, or set_force_sum_reduction_for_comms), so their norms are wrong; "
            "use MixedPrecisionPolicy(reduce_dtype=torch.float32).",
        )
        require(
            self.group.all_reduce_grads,
            "set_requires_all_reduce(False) puts the exchange off, which no hook can; use set_requires_gradient_sync(False).",
        )
        both = [
            (shard, one) for shard, one in zip(self.shards, self.group.fsdp_params) if one.sharded_param.requires_grad
        ]
        lengths = [one.padded_sharded_param_size.numel() for _, one in both]
        require(
            sum(lengths) == len(flat),
            f"gradients of {len(flat)} entries came, but the trained parameters of this sharded module have {sum(lengths)} here, since "
            "some were not used; call model.set_reduce_scatter_unused_params(True).",
        )
        return {shard: piece[: shard.numel()] for (shard, _), piece in zip(both, flat.split(lengths))}


class ShardedBackward:
    """The exchange of one backward, unit by unit as FSDP reduces them; the workers of a replica hold shards of one gradient."""

    def __init__(self, state: HookState, shards: dist.ProcessGroup):
        self.run, self.shards = state.run, shards
        self.run.join()
        self.run.meter.begin(state.scale)
        self.run.memories.settle()
        self.encode = Encoder(state.settings, self.run, state.scale, self.run.meter.exchanges)
        self.remembers = state.settings.remembers
        self.sent: dict[int, SentParameter] = {}
        self.units: dict[Unit, int] = {}  # and the task of autograd in which each came
        self.tasks: set[int] = set()

    def broke_off(self, unit: Unit, task: int) -> bool:
        """Whether this one never came to its end, since a unit begins another one."""
        return self.units.get(unit, task) != task

    @property
    def last(self) -> Unit:
        """The unit that came last."""
        return list(self.units)[-1]

    def add(self, unit: Unit, flat: Tensor, task: int) -> None:
        """The gradients of a unit [d], which become mean messages.

        FSDP goes on with them as soon as this returns, so it waits, which on a GPU orders streams only.
        """
        require(
            unit not in self.units,
            "a sharded module was reduced twice in one backward, since it ran twice; shard a module around both runs instead.",
        )
        pieces = unit.pieces(flat)
        own = [self.encode(shard, piece) for shard, piece in pieces.items()]
        self.units[unit] = task
        self.sent |= {self.run.roster.number(shard): one for shard, one in zip(pieces, own)}
        self.run.meter.gradient([one.square for one in own])
        send(self.run, own, None).future.wait()
        if factors := seconds(own):
            send(self.run, factors, None).future.wait()

    def end(self, last: Sequence[Tensor]) -> None:
        """All units are through: the norms of the replicas' whole gradients, and what is remembered if they are finite.

        Where they are not, the `last` gradients become NaN on all workers, since a GradScaler looks at gradients.
        """
        run, sent = self.run, self.sent.values()
        spoiled = torch.stack([zero_or_nan(one.flat) for one in sent if len(one.flat)] or [run.meter.square * 0]).sum()
        square, loss = self._sum(
            torch.stack([run.meter.square + spoiled, run.meter.square.new_tensor(float(run.meter.noted))])
        )
        run.meter.whole(square)
        run.meter.noted = loss / run.shards
        going = send(run, [], norms.tail(run.meter.riders(run.meter.local_norm)))
        going.future.wait()
        tails = going.tails()
        found = norms.norms(tails)
        if self.remembers:
            counts = found.isfinite().all().expand(len(run.roster.sizes))
            run.memories.commit({number: one.sending for number, one in self.sent.items()}, counts)
        lost = [one.lost for one in sent if one.lost is not None]
        run.meter.end(found, norms.losses(tails), lost, [one.sending.square for one in sent])
        for gradient in last:
            gradient.add_(run.meter.poison.to(gradient))

    def _sum(self, values: Tensor) -> Tensor:
        """Over the shards of one replica."""
        with network():
            dist.all_reduce(values, group=self.shards)
        return values


class Sharding:
    """The hooks of one sharded model.

    An exchange is over when all units with something to train have come; where some have not, when FSDP's own backward is over.
    """

    def __init__(self, state: HookState, shards: dist.ProcessGroup, units: Sequence[Unit], order: Sequence[Tensor]):
        self.state, self.shards, self.units, self.order = state, shards, units, order
        self.backward: ShardedBackward | None = None

    def hook_of(self, unit: Unit) -> Callable[[Tensor], None]:
        """What FSDP calls with the unit's gradients, which are reduced and scattered inside the replica already."""
        return lambda flat: self._receive(unit, flat)

    @torch.no_grad()
    def _receive(self, unit: Unit, flat: Tensor) -> None:
        task = torch._C._current_graph_task_id()
        backward = self.backward
        if backward is None or backward.broke_off(unit, task):
            backward = self.backward = self._begun()
        # A reentrant checkpoint has a task of its own inside that of the backward.
        if task >= 0 and task not in backward.tasks:
            backward.tasks.add(task)
            torch.autograd.Variable._execution_engine.queue_callback(self._over)
        backward.add(unit, flat, task)
        if all(unit in backward.units for unit in self.units if unit.trained):
            self.backward = None
            backward.end([flat])

    def _begun(self) -> ShardedBackward:
        self.state.copied = False
        for shard in self.order:
            self.state.run.roster.number(shard)
        self.state.run.roster.complete()
        return ShardedBackward(self.state, self.shards)

    @torch.no_grad()
    def _over(self) -> None:
        backward = self.backward
        if backward is not None and not any(unit.is_going_on for unit in self.units):
            self.backward = None
            backward.end(backward.last.gradients)


def register_sharded(model: torch.nn.Module, state: HookState, replicas: dist.ProcessGroup | None) -> None:
    """Give every unit of a model of `fully_shard` its hook.

    Raises:
        InvalidInput: if there is nothing to compress, the replicas are not those of the model, a unit has a hook already, k is larger
            than a shard, or a resumed state belongs to other parameters.
    """
    groups = _groups(model)
    own = [group for group in groups if group._all_reduce_hook is not None]
    require(not own, "the sharded model has an all-reduce hook already, and FSDP takes only one; shard the model anew.")
    shards = groups[0]._reduce_scatter_process_group
    replicas = _replicas(replicas, shards, groups)
    units = [Unit(group, [_shard_of(one) for one in group.fsdp_params]) for group in groups]
    order = _in_order(model, units)
    for shard in order:
        state.settings.codec_for(shard)
    state.run.roster.check(order, order)
    state.run.process_group = replicas
    state.run.shards, state.run.shard = dist.get_world_size(shards), dist.get_rank(shards)
    state.join()
    sharding = Sharding(state, shards, units, order)
    for unit in units:
        unit.group.modules[0].set_all_reduce_hook(sharding.hook_of(unit))


def _groups(model: torch.nn.Module) -> list[Any]:
    states = [each._get_fsdp_state() for each in model.modules() if hasattr(each, "_get_fsdp_state")]  # type: ignore[operator]
    found = {id(state): _groups_of(state) for state in states}
    require(
        all(len(groups) <= 1 for groups in found.values()),
        "a sharded module has parameters on different meshes, which FSDP hooks do not know; shard it without shard_placement_fn.",
    )
    groups = [group for groups in found.values() for group in groups]
    require(groups, "the sharded model has no parameters to train; register it after fully_shard(model, …).")
    return groups


def _groups_of(state: Any) -> list[Any]:
    # Older versions of torch know one group for each module.
    groups = getattr(state, "_fsdp_param_groups", None)
    return [one for one in [state._fsdp_param_group] if one is not None] if groups is None else list(groups)


def _replicas(given: Any, shards: dist.ProcessGroup, groups: Sequence[Any]) -> dist.ProcessGroup:
    native = any(group._is_hsdp for group in groups)
    require(
        not native,
        "the model is sharded over a mesh of two dimensions, whose dense all-reduce across replicas comes before any hook; "
        f"use {_WRITE}.",
    )
    require(
        given is not None,
        f"the model is sharded over {dist.get_world_size(shards)} workers and no replicas are given, so nothing goes across them that "
        f"could be compressed; use {_WRITE}.",
    )
    if not isinstance(given, dist.ProcessGroup):
        raise InvalidInput(f'replicas is {shown(given)}, but must be a process group, such as mesh.get_group("rep").')
    common = set(dist.get_process_group_ranks(given)) & set(dist.get_process_group_ranks(shards))
    require(
        len(common) == 1,
        f"replicas and the workers that share the shards have {len(common)} workers in common, but must have one, this one; use {_WRITE}.",
    )
    return given


def _shard_of(parameter: Any) -> Tensor:
    return torch.empty(parameter.sharded_size, dtype=parameter.sharded_param.dtype, device="meta")


def _in_order(model: torch.nn.Module, units: Sequence[Unit]) -> list[Tensor]:
    """All shards by type, then as the model defines them: numbers of parameters are then those of a DDP model."""
    shards = {one.sharded_param: shard for unit in units for one, shard in zip(unit.group.fsdp_params, unit.shards)}
    found = [shards[parameter] for parameter in model.parameters() if parameter in shards]
    return sorted(found, key=lambda shard: str(shard.dtype))
