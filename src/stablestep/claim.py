"""A claim of a paper beside what was measured, and the verdict that follows."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from stablestep.errors import is_number, one_of, require, shown

Outcome = Literal["holds", "fails", "undecided"]
Verdict = Literal["holds", "misprint", "false", "undecided"]
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

# In standard errors. Beyond 5 an equality is false once in a million by chance, so a report of hundreds may rely on it;
# between 3.5 and 5 nothing is said.
REFUTED = {"=": 5.0, "<=": 3.5, ">=": 3.5}
CONFIRMED = {"=": 3.5, "<=": -3.5, ">=": -3.5}


@dataclass(frozen=True)
class Check:
    """One comparison: `measured` ± `stderr` against `predicted`, which may itself be off by `model_error`.

    With gap = |measured - predicted|, measured - predicted or predicted - measured for "=", "<=" and ">=":
    "=" fails for gap > model_error + 5 stderr and holds for gap ≤ model_error + 3.5 stderr, provided the measurement is
    fine enough to see a relative difference of `margin` (an absolute one where predicted is 0);
    "<=" and ">=" fail for gap > model_error + 3.5 stderr and hold for gap ≤ model_error - 3.5 stderr.
    Whatever is neither is undecided, and so is a measurement that is not a number.

    Raises `InvalidInput` for an unknown relation or a negative stderr, model_error or margin.

    >>> Check(measured=1.02, stderr=0.01, predicted=1.0, relation="=").outcome
    'holds'
    >>> Check(measured=float("inf"), stderr=0.0, predicted=1.0, relation="<=").outcome
    'fails'
    """

    measured: float
    stderr: float
    predicted: float
    relation: Literal["=", "<=", ">="]
    model_error: float = 0.0
    margin: float = 0.1
    label: str = ""

    def __post_init__(self):
        one_of("relation", self.relation, REFUTED)
        for name in ("measured", "stderr", "predicted", "model_error", "margin"):
            value = getattr(self, name)
            require(is_number(value), f"{name} is {shown(value)}, but must be a number.")
            least = -math.inf if name in ("measured", "predicted") else 0
            require(not value < least, f"{name} is {shown(value)}, but must be at least 0.")
            object.__setattr__(self, name, float(value))

    @property
    def noise(self) -> float:
        """The standard error that counts: none for an infinite measurement."""
        return 0.0 if math.isinf(self.measured) else self.stderr

    @property
    def gap(self) -> float:
        """How far the measurement lies on the wrong side of the prediction."""
        difference = 0.0 if self.measured == self.predicted else self.measured - self.predicted
        return {"=": abs(difference), "<=": difference, ">=": -difference}[self.relation]

    @property
    def slack(self) -> float:
        """What is left, relative to the prediction, before the check no longer holds; it holds where this is ≥ 0."""
        size = abs(self.predicted) or 1.0
        room = self.model_error + CONFIRMED[self.relation] * self.noise - self.gap
        if self.relation == "=":
            room = min(room, self.margin * size - 3.5 * self.noise)
        return room / size if math.isfinite(size) else room

    @property
    def outcome(self) -> Outcome:
        """Whether the check "holds", "fails" or is "undecided"."""
        if math.isnan(self.gap) or math.isnan(self.noise):
            return "undecided"
        if self.gap > self.model_error + REFUTED[self.relation] * self.noise:
            return "fails"
        return "holds" if self.slack >= 0 else "undecided"

    def to_json(self, form: str) -> dict[str, Any]:
        """The check as an object of claims.json; `form` is "printed" or "corrected"."""
        numbers = ("measured", "stderr", "predicted", "model_error", "margin")
        words = {"form": form, "label": self.label, "relation": self.relation, "outcome": self.outcome}
        return words | {name: strict(getattr(self, name)) for name in numbers}


@dataclass(frozen=True)
class Claim:
    """A statement of a paper, the checks of it as printed and, where it is wrong, of its corrected form.

    It "holds" where all printed checks hold. Where one fails the verdict is `error` ("misprint" or "false"), provided
    that every corrected check holds. Everything else is "undecided".

    Raises `InvalidInput` without a printed check or for another `error`.

    >>> printed = Check(measured=2.0, stderr=0.01, predicted=20.0, relation="=", label="sigma1² = omega")
    >>> corrected = Check(measured=2.0, stderr=0.01, predicted=2.0, relation="=", label="sigma1² = omega/d")
    >>> Claim("equivalence", "S2 4.2", "DCSGD acts as DSGD", (printed,), (corrected,), error="misprint").verdict
    'misprint'
    """

    id: str
    where: str
    claim: str
    printed: tuple[Check, ...]
    corrected: tuple[Check, ...] = ()
    error: Literal["misprint", "false"] = "false"
    detail: str = ""

    def __post_init__(self):
        require(len(self.printed) > 0, f'claim "{self.id}" has no check of the printed statement; give at least one.')
        one_of("error", self.error, ("misprint", "false"))

    @property
    def verdict(self) -> Verdict:
        """The verdict: "holds", "misprint", "false" or "undecided"."""
        outcomes = [check.outcome for check in self.printed]
        if "fails" in outcomes:
            return self.error if all(check.outcome == "holds" for check in self.corrected) else "undecided"
        return "undecided" if "undecided" in outcomes else "holds"

    @property
    def decisive(self) -> Check:
        """The printed check that decides: the first that fails, else the one with the least slack."""
        failing = [check for check in self.printed if check.outcome == "fails"]
        return failing[0] if failing else min(self.printed, key=_closeness)

    @property
    def measured(self) -> float:
        """What the decisive check measured."""
        return self.decisive.measured

    @property
    def stderr(self) -> float:
        """The standard error of `measured`."""
        return self.decisive.stderr

    @property
    def predicted(self) -> float:
        """What the decisive check predicted."""
        return self.decisive.predicted

    def to_json(self) -> dict[str, Any]:
        """The claim as one object of claims.json: strict JSON, infinities as "inf" and "-inf", not-a-number as null."""
        words = {"id": self.id, "where": self.where, "claim": self.claim, "verdict": self.verdict}
        numbers = {name: strict(getattr(self, name)) for name in ("measured", "stderr", "predicted")}
        checks = [check.to_json("printed") for check in self.printed]
        checks += [check.to_json("corrected") for check in self.corrected]
        return words | numbers | {"relation": self.decisive.relation, "detail": self.detail, "checks": checks}


def strict(value: float) -> float | str | None:
    """A number that strict JSON accepts.

    >>> strict(float("inf")), strict(float("nan")), strict(0.5)
    ('inf', None, 0.5)
    """
    if math.isfinite(value):
        return float(value)
    return None if math.isnan(value) else str(float(value))


def _closeness(check: Check) -> float:
    return -math.inf if check.outcome == "undecided" else check.slack


def plain(value: Any) -> Any:
    """Numbers, texts, lists and arrays as strict JSON takes them: keys are texts, and what is not finite is null.

    >>> plain({1: (2.0, math.inf)})
    {'1': [2.0, None]}
    """
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: Any) -> str:
    """A value as a person writes it: five significant digits, powers of ten where they help.

    >>> number(0.10000001), number(1234567.0), number("inf"), number(None), number(10_000)
    ('0.1', '1.2346×10⁶', '∞', '–', '10\\u202f000')
    """
    if value is None or isinstance(value, bool):
        return "–" if value is None else ("yes" if value else "no")
    if isinstance(value, int) or value in ("inf", "-inf"):
        return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else str(value).replace("inf", "∞")
    if isinstance(value, str):
        return value
    value = float(value)
    if not math.isfinite(value):
        return "–" if math.isnan(value) else str(value).replace("inf", "∞")
    mantissa, _, exponent = f"{value:.5g}".partition("e")
    return mantissa + (_power(int(exponent)) if exponent else "")


def measurement(value: Any, stderr: Any) -> str:
    """A value with its standard error, both to the second digit of the error.

    >>> measurement(0.123456, 0.00123), measurement(2.5e-7, 1e-9), measurement("inf", 0.0), measurement(2.0, 0.0)
    ('0.1235 ± 0.0012', '(2.500 ± 0.010)×10⁻⁷', '∞', '2')
    """
    known = isinstance(value, int | float) and isinstance(stderr, int | float)
    if not known or not math.isfinite(value) or not 0 < stderr < math.inf:
        return number(value) + (" ± ∞" if stderr in ("inf", math.inf) else "")
    size = math.floor(math.log10(max(abs(value), stderr)))
    digits = 1 - math.floor(math.log10(stderr))
    if digits + size > 9:
        return f"{number(value)} ± {number(float(f'{stderr:.2g}'))}"
    if -4 <= size < 5:
        places = max(digits, 0)
        return f"{round(value, digits):.{places}f} ± {round(stderr, digits):.{places}f}"
    scale, places = 10.0**size, max(digits + size, 0)
    return f"({value / scale:.{places}f} ± {stderr / scale:.{places}f}){_power(size)}"


def _power(exponent: int) -> str:
    return f"×10{str(exponent).translate(SUPERSCRIPTS)}"
