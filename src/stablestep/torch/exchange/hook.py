"""The communication hook, and adapters that prove that it runs."""

from collections.abc import Iterable

import torch
from torch.nn.parallel import DistributedDataParallel

from stablestep.errors import InvalidInput, instance, require
from stablestep.torch.exchange.backward import Bucket
from stablestep.torch.exchange.sharded import register_sharded
from stablestep.torch.exchange.state import HookState


def hook(state: HookState, bucket: Bucket) -> torch.futures.Future[torch.Tensor]:
    """Communication hook for `DistributedDataParallel`: `ddp.register_comm_hook(state, hook)`.

    The gradients become the mean over workers of their messages C(g_i). Works with any number of buckets, `no_sync` (the sum of the
    accumulated gradients is sent), `static_graph`, `find_unused_parameters` and GradScaler.

    Raises:
        InvalidInput: if `state` is not a `HookState` or differs between workers, gradients are sparse or complex, k is larger than a
            tensor, or a resumed state belongs to other parameters.
        RuntimeError: if a worker is gone.
    """
    require(
        isinstance(state, HookState),
        f"the hook's state is a {type(state).__name__}, but must be a HookState: register_comm_hook(HookState(…), hook).",
    )
    require_dense(bucket.buffer())
    require_real(bucket.parameters())
    return state.receive(bucket)


def require_dense(gradient: torch.Tensor) -> None:
    """Raise for sparse gradients."""
    require(
        gradient.layout == torch.strided,
        "gradients are sparse, but are sent as dense tensors; use sparse=False in the embedding.",
    )


def require_real(parameters: Iterable[torch.Tensor]) -> None:
    """Raise for complex parameters."""
    require(
        not any(parameter.is_complex() for parameter in parameters),
        "parameters are complex, but compressors act on real numbers; use torch.view_as_real.",
    )


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether the model is one of FSDP."""
    return any(kind.__name__ in ("FSDPModule", "FullyShardedDataParallel") for kind in type(model).__mro__)


def register(
    model: torch.nn.Module, state: HookState, replicas: torch.distributed.ProcessGroup | None = None
) -> HookState:
    """`model.register_comm_hook(state, hook)`, with every check that can be made before the first backward.

    It also takes the model's process group, and looks once whether all workers have the same settings, seed and number of exchanges.
    With Accelerate: `register(accelerator.prepare(model), state)`. With Lightning: call it on `trainer.strategy.model` in
    `on_train_start`, since `DDPStrategy(ddp_comm_hook=…)` drops hooks silently on the CPU. Where a framework registers the hook itself,
    `verify(state)` after a backward, or the first `StableStep.step`, shows whether it runs. ZeroRedundancyOptimizer goes inside
    `StableStep`, without `overlap_with_ddp`.

    FSDP2: with a mesh of replicas and shards, `fully_shard(model, mesh=mesh["shard"])` and `register(model, state,
    replicas=mesh.get_group("rep"))`. FSDP then reduces and scatters gradients inside each replica as ever, and what goes across replicas is
    compressed, every shard by itself and with a memory of its own. A worker is a replica: norms are those of its whole gradient, and bytes
    those across replicas. The message of a parameter that was not used is applied like every other one, so its memory takes part.
    Save `state.state_dict()` on every worker.

    Args:
        model: a DDP model, or one around it, as torch.compile(ddp) or Fabric make it.
        state: for this model alone.
        replicas: the workers with the same shard as this one, of a model of `fully_shard`; else none.

    Raises:
        InvalidInput: if the model is not wrapped in DistributedDataParallel or sharded as above, it has a hook already, the state serves
            another model or differs between workers, k is larger than a tensor, parameters were frozen when the model was wrapped, or a
            resumed state belongs to other ones.

    >>> register(torch.nn.Linear(1, 1), None)
    Traceback (most recent call last):
    stablestep.errors.InvalidInput: The model is a Linear, but must be wrapped: DistributedDataParallel(model).
    """
    instance("model", model, torch.nn.Module, "DistributedDataParallel(model)")
    if _is_fully_sharded(model):
        _check_new(state)
        register_sharded(model, state, replicas)
        state.registered = True
        return state
    ddp = _wrapped(model)
    require(
        replicas is None, "replicas are those of a model of fully_shard, but the model is one of DDP; leave them out."
    )
    _forget_copies(ddp)
    _check_free(ddp)
    _check_new(state)
    trained = _reduced(ddp)
    for parameter in trained:
        state.settings.codec_for(parameter)
    state.run.roster.check(trained, ddp._module_parameters)
    state.run.process_group = ddp.process_group
    state.join()
    ddp.register_comm_hook(state, hook)
    return state


def verify(state: HookState) -> None:
    """Raise unless gradients have gone through the hook; for frameworks that may drop it, after the first backward.

    Raises:
        InvalidInput: if the hook was never called.
    """
    require(
        state.run.roster.sizes,
        "no gradient has passed through the hook, so training was not compressed: call register(ddp, state) on the "
        "DistributedDataParallel model itself (Lightning on CPU drops hooks silently), then a backward outside no_sync.",
    )


def _reduced(ddp: DistributedDataParallel) -> list[torch.Tensor]:
    """The parameters that get gradients and that DDP does not ignore.

    Raises:
        InvalidInput: if DDP cannot exchange one of them.
    """
    trained = [parameter for parameter in ddp._module_parameters if parameter.requires_grad]
    late = len(trained) - _wrapped_count(ddp)
    require(
        late <= 0,
        f"{late} parameters were frozen when DistributedDataParallel wrapped the model, so it never exchanges them; "
        "wrap the model after requires_grad_(True).",
    )
    return trained


def _wrapped_count(ddp: DistributedDataParallel) -> int:
    """How many parameters DDP has taken when it wrapped the model."""
    assert ddp.logger is not None
    return ddp.logger._get_ddp_logging_data().ints_map["num_parameter_tensors"]


def _check_new(state: HookState) -> None:
    instance("state", state, HookState, "HookState(compressor)")
    require(
        not (state.registered or state.run.roster.sizes),
        "the state serves another model already; use one HookState for each model.",
    )


def _is_fully_sharded(model: torch.nn.Module) -> bool:
    return any(hasattr(each, "_get_fsdp_state") for each in model.modules())


def _forget_copies(ddp: DistributedDataParallel) -> None:
    """A copied or loaded DDP model lists the hooks of the first one, but its gradients go through none."""
    ddp._comm_hooks = [(each, state) for each, state in ddp._comm_hooks if not getattr(state, "copied", False)]


def _check_free(ddp: DistributedDataParallel) -> None:
    require(
        ddp.mixed_precision is None,
        "the model was wrapped with mixed_precision=…, which brings a communication hook of its own, and DDP takes only one; "
        "wrap it without, and use torch.autocast.",
    )
    require(
        not ddp._comm_hooks,
        "the model has a communication hook already, and a DDP model takes only one; wrap the model anew.",
    )


def _wrapped(model: torch.nn.Module) -> DistributedDataParallel:
    """The DDP model itself, also inside torch.compile(ddp) or a framework's wrapper."""
    name, inside = type(model).__name__, [each for each in model.modules() if isinstance(each, DistributedDataParallel)]
    if len(inside) == 1:
        return inside[0]
    if inside:
        raise InvalidInput(
            f"The model is a {name} with {len(inside)} DistributedDataParallel models inside; register each with a HookState of its own."
        )
    if is_sharded(model):
        raise InvalidInput(
            f"The model is a {name}, which shards gradients by reduce-scatter, where no hook can carry compressed messages; "
            "use DistributedDataParallel, or fully_shard and replicas=…."
        )
    raise InvalidInput(f"The model is a {name}, but must be wrapped: DistributedDataParallel(model).")
