"""Which step to train with: `probe` looks at a copy of the model, with the user's own optimizer, compressor and number of workers."""

import time
from collections.abc import Iterable

import torch

from stablestep.compressor import Compressor, Identity
from stablestep.errors import InvalidInput, named, nearest, positive, shown, whole
from stablestep.torch.exchange.settings import Settings
from stablestep.torch.probe.advice import Interrupted, ProbeAdvice
from stablestep.torch.probe.predictors import PREDICTORS, Prediction, Question, Stopped
from stablestep.torch.probe.search import BUDGETS, Budget
from stablestep.torch.probe.trainer import SHORTEST, MakeOptimizer, Trainer, checked_rule, plain
from stablestep.torch.step.rule import Rule
from stablestep.torch.survey.landscape import Batch, Landscape, Loss
from stablestep.torch.survey.workers import Workers, needed
from stablestep.torch.wire.randomness import mixed

MOST_BATCHES = 1024


def probe(
    model: torch.nn.Module,
    loss: Loss,
    batches: Iterable[Batch],
    agents: int = 4,
    compressor: Compressor | None = None,
    optimizer: MakeOptimizer = plain,
    horizon: int = 200,
    budget: str | int = "default",
    known: float | None = None,
    mask: str = "shared",
    seed: int = 0,
    vote: str = "mean",
    min_numel: int = 0,
    rule: Rule | None = None,
    predictor: str = "ramp",
) -> ProbeAdvice:
    """How large the step may be, and one to train with, from where the model stands.

    A copy is trained as `agents` workers would train it, with your optimizer, compressor and memory (your model, its buffers and torch's
    global random state stay as they are). First a ramp: one run whose step doubles every few steps until the loss goes up. What its losses
    looked like says where the edge is, by a table of small trainings. Then ordinary runs of `horizon` steps, each where the answer is
    still open, until some ended on both sides of the edge.

    Args:
        model: a module, or one wrapped in DistributedDataParallel.
        loss: loss(model, batch), the mean loss on a batch; positive.
        batches: each as large as one worker's in one step, at least 8 and agents · horizon/16 of them; that many or 1024 are kept.
        agents: N.
        compressor, mask, seed, vote, min_numel: as of `HookState`; no compression by default.
        optimizer: makes one of a list of parameters, such as `lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1)`. The first
            group's learning rate is the step; other groups stay in proportion to it. Plain SGD by default.
        horizon: T, the steps that the advice is for.
        budget: "quick" (the ramp alone), "default" (at least three runs, and a bracket of 1.7), "exact" (a bracket of 1.2), or how many
            gradients each worker may compute (the ramp is always made; where they end before runs were on both sides of the edge, the
            status is "ramp only").
        known: a step with which the same optimizer trains well without compression, if you know one.
        rule: of `stablestep.torch.rule`, multiplies every learning rate; the advice is then for what it multiplies.
        predictor: "ramp", or how it is done elsewhere: "rollouts" (any optimizer; many short runs), "one-step-log", "loss-model",
            "theorem" (plain SGD).

    Raises:
        InvalidInput: if an argument cannot be right, the loss is not finite, or no edge was found or bracketed.
        Interrupted: on Ctrl-C; it says what is known so far.

    >>> torch.manual_seed(0)
    <torch._C.Generator object at ...>
    >>> model, inputs = torch.nn.Linear(5, 1), torch.randn(64, 16, 5)
    >>> advice = probe(model, lambda model, x: (model(x) - x.sum(1, keepdim=True)).square().mean(), inputs, agents=2, horizon=50)
    >>> advice.status, 0 < advice.step < advice.useful.step < 2
    ('bracketed', True)
    """
    question = Question(_budget(budget, horizon), None if known is None else positive("known", known))
    named("predictor", predictor, PREDICTORS)
    settings = Settings(Identity() if compressor is None else compressor, mask, seed, vote, min_numel)
    begun = time.perf_counter()
    with torch.enable_grad(), torch.random.fork_rng():
        torch.manual_seed(mixed(settings.seed))
        most = max(MOST_BATCHES, needed(whole("agents", agents), whole("horizon", horizon, least=SHORTEST)))
        workers = Workers(Landscape(model, loss, batches, most), settings, agents)
        trainer = Trainer(workers, optimizer, horizon, checked_rule(rule))
        try:
            return _advice(trainer, PREDICTORS[predictor](trainer, question), begun)
        except Stopped as stopped:
            found = stopped.prediction
            raise Interrupted(None if found is None else _advice(trainer, found, begun), trainer.spent) from None


def _budget(budget: str | int, horizon: int) -> Budget:
    if isinstance(budget, str):
        if budget not in BUDGETS:
            raise InvalidInput(f"there is no budget {shown(budget)}. {nearest(budget, BUDGETS)}")
        return BUDGETS[budget]
    least = whole("horizon", horizon)
    gradients = whole("budget", budget, least=least, hint=" gradients, the horizon")
    return Budget(BUDGETS["exact"].runs, BUDGETS["exact"].ratio, gradients)


def _advice(trainer: Trainer, found: Prediction, begun: float) -> ProbeAdvice:
    return ProbeAdvice(
        step=found.step,
        useful=found.useful,
        blow_up=found.blow_up,
        best=found.best,
        cost=trainer.spent,
        status=found.status,
        horizon=trainer.horizon,
        family=trainer.family,
        noise=trainer.noise,
        trials=found.trials,
        seconds=time.perf_counter() - begun,
    )
