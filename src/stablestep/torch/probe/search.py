"""The algorithm: one ramp, then ordinary runs until the edge is bracketed. It knows nothing of models: whoever runs gives it losses."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from stablestep.errors import InvalidInput
from stablestep.torch.probe.advice import Edge, Trial
from stablestep.torch.probe.bracket import Belief, Guess
from stablestep.torch.probe.calibration import EDGES, Row
from stablestep.torch.probe.ramp import Ramp, rate
from stablestep.torch.probe.reading import Run

MOST = 12  # runs
FRACTION = 0.45  # of the useful edge: no step to train with is larger
LEAN = 0.5  # of the interval's lower half that this edge is lowered by: where estimates were off they were too large
EARLY, BACK = 12, math.log(2**8)  # a ramp that is over within so many steps began too high: it begins again lower
REPEATS = 3
Losses = Callable[[Callable[[int], float], int], Iterable[float]]


class NoEdge(InvalidInput):
    """No edge was found, or it was never between two runs."""


@dataclass(frozen=True)
class Budget:
    """When to stop: after at least `runs` runs with a bracket of at most `ratio`, or before `gradients` would be passed."""

    runs: int
    ratio: float
    gradients: int | None = None


BUDGETS = {"quick": Budget(0, math.inf), "default": Budget(3, 1.7), "exact": Budget(3, 1.2)}


@dataclass
class Search:
    """What is known of one training, step by step.

    Attributes:
        row: of the table.
        horizon, noise, workers: T, s and N.
        known: guesses of edges that come from elsewhere.
        endless: what to do where no step of the ramp is too large.
    """

    row: Row
    horizon: int
    noise: float
    workers: int
    known: dict[str, Guess] = field(default_factory=dict)
    endless: str = "this loss has no edge, so choose the step by its fall"
    trials: list[Trial] = field(default_factory=list)
    beliefs: dict[str, Belief] = field(default_factory=dict)
    best: float = math.nan
    lowest: float = 1.0

    def ramp(self, losses: Losses, start: float) -> Ramp:
        """Make one, from log h = `start`, and believe it.

        Raises:
            NoEdge: if no step of it was too large.
        """
        for attempt in range(REPEATS):
            ramp = self._ramped(losses, start - attempt * BACK, attempt)
            if len(ramp.losses) > EARLY * max(1.0, self.horizon / 100):
                break
        if not ramp.fired:
            raise NoEdge(f"no step up to {math.exp(ramp.stop):.3g} raised the loss; {self.endless}.")
        self.believe(ramp)
        return ramp

    def _ramped(self, losses: Losses, start: float, number: int) -> Ramp:
        ramp, pace = Ramp(self.horizon, start), rate(self.horizon)
        for loss in losses(lambda t: math.exp(start + pace * t), number):
            if ramp.add(loss):
                break
        self.trials.append(Trial(math.exp(ramp.stop), len(ramp.losses), ramp.lowest, "ramp"))
        return ramp

    def believe(self, ramp: Ramp) -> None:
        """Guess the edges from a ramp, and from what was known."""
        features = ramp.features(self.noise, self.workers)
        guesses = {name: self.row.lines[name].guess(features, ramp.stop) for name in EDGES}
        for name in ("useful", "blow_up"):
            self.beliefs[name] = Belief(guesses[name])
            if name in self.known:
                self.beliefs[name].multiply(self.known[name])
        self.best, self.lowest = guesses["best"].centre, min(self.lowest, ramp.lowest)

    def narrow(self, losses: Losses, budget: Budget, spent: Callable[[], int]) -> None:
        """Make runs until the budget is content.

        Raises:
            NoEdge: if so many runs were made as are ever made, and the useful edge was never between two of them.
        """
        for number in range(MOST):
            if self.content(budget, number) or not self._affordable(budget, spent()):
                return
            self.learn(*self.run(losses, self.beliefs["useful"].next, REPEATS + number))
        if not self.bracketed:
            raise NoEdge(self._unbracketed())

    def content(self, budget: Budget, runs: int) -> bool:
        """Whether so many runs are enough."""
        return runs >= budget.runs and self.beliefs["useful"].ratio <= budget.ratio

    def _affordable(self, budget: Budget, spent: int) -> bool:
        return budget.gradients is None or spent + self.horizon <= budget.gradients

    def run(self, losses: Losses, log_step: float, number: int) -> tuple[float, Run]:
        """An ordinary run with this log h, which ends where it has spiked or is settled, and the log h that it had."""
        run, step = Run(self.horizon), math.exp(log_step)
        for loss in losses(lambda t: step, number):
            run.add(loss)
            if run.spiked or run.over or run.settled(self.lowest):
                break
        return log_step, run

    def learn(self, log_step: float, run: Run) -> None:
        """What a run says, which was stopped where it spiked or was settled."""
        above = run.too_hot(self.lowest)
        self.beliefs["useful"].add(log_step, above)
        if run.spiked:
            self.beliefs["blow_up"].add(log_step, True, share=self.row.share)
        else:
            self.beliefs["blow_up"].add(log_step, run.blown)
            self.lowest = min(self.lowest, run.tail)
        ended = "spiked" if run.spiked else "above" if above else "below"
        self.trials.append(Trial(math.exp(log_step), run.spike or len(run.losses), run.tail, ended))

    @property
    def runs(self) -> int:
        """How many were made."""
        useful = self.beliefs.get("useful")
        return 0 if useful is None else len(useful.ups) + len(useful.downs)

    @property
    def bracketed(self) -> bool:
        """Whether the useful edge was between two of them."""
        return bool(self.beliefs) and self.beliefs["useful"].bracketed

    def edge(self, name: str) -> Edge:
        """Of the belief, with an interval of 90 %; what blows up is above the useful edge, whatever the beliefs say."""
        belief, width = self.beliefs[name], self.row.widths[name]["runs" if self.bracketed else "ramp"]
        found = Edge.of(belief.median, width * belief.spread)
        return found.above(self.edge("useful")) if name == "blow_up" else found

    def best_edge(self) -> Edge:
        """The step with the lowest loss at the end, by the ramp alone."""
        return Edge.of(self.best, self.row.widths["best"]["ramp"] * self.row.lines["best"].spread)

    def step(self) -> float:
        """To train with."""
        useful = self.edge("useful")
        return min(math.exp(self.best), FRACTION * useful.step * (useful.low / useful.step) ** LEAN)

    def _unbracketed(self) -> str:
        useful = self.beliefs["useful"]
        if useful.ups:
            return (
                f"the loss does not fall enough at any step down to {math.exp(min(useful.ups)):.3g}: all {self.runs} runs of "
                f"{self.horizon} steps lost more than half of the attainable fall; look for a bug, or begin where training works."
            )
        return f"all {self.runs} runs up to a step of {math.exp(max(useful.downs)):.3g} ended well; choose the step by the loss's fall."
