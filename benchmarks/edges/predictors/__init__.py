"""Everything that is held against a sweep: a predictor is a function of a case, in a file of its own, and a line of `TABLE`."""

from benchmarks.edges.predictors import coarse, finders, points, ramps, rollouts
from benchmarks.edges.predictors.base import Answer, Case, Predictor

TABLE: dict[str, Predictor] = {
    "ramp, bracket 1.7": ramps.default,
    "ramp, bracket 1.2": ramps.exact,
    "ramp alone": ramps.quick,
    "transfer": ramps.transferred,
    "rollouts": rollouts.predict,
    "coarse sweep": coarse.predict,
    "fastai valley": finders.valley,
    "fastai steep": finders.steep,
    "fastai minimum/10": finders.minimum,
    "Lightning": finders.lightning,
    "finder, blow-up": finders.blow_up,
    **{name: points.reader(name) for name in points.NAMES},
}

__all__ = ["TABLE", "Answer", "Case", "Predictor"]
