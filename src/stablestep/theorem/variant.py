"""Which form of a result is meant: corrected or as printed, and the sharper variants."""

from dataclasses import dataclass

from stablestep.errors import FORMS, InvalidInput, instance, nearest, one_of, positive
from stablestep.theorem.constants import Constants


@dataclass(frozen=True)
class Variant:
    """The keyword arguments that all results share.

    Args:
        form: "corrected", or "printed" for the paper's own formula, right or wrong.
        unit: the gradient norm c at which the proofs change phase, 1 in the papers: L1‖g‖ ≤ c L1 + (L1/c)‖g‖².
        young: use Young's inequality instead, L1‖g‖ ≤ c L1/2 + (L1/2c)‖g‖², better at every c.
        radius: (signs) R such that |∂_j f(X_t)| ≤ R σ_max,i on the whole path; then the bound is on E‖∇f‖², with ℓ_ν(R) = 2Ξ_ν(R)/R.

    Raises:
        InvalidInput: for an unknown form, or a unit or radius that is not positive.

    >>> Variant(unit=2.0, young=True).split(Constants(L0=1, L1=4, dim=1))
    (5.0, 1.0)
    """

    form: str = "corrected"
    unit: float = 1.0
    young: bool = False
    radius: float | None = None

    def __post_init__(self):
        one_of("form", self.form, FORMS)
        positive("unit", self.unit)
        instance("young", self.young, bool, "True")
        if self.radius is not None:
            positive("radius", self.radius)

    @property
    def printed(self) -> bool:
        return self.form == "printed"

    @property
    def plain(self) -> bool:
        """Whether the phases are those of the papers."""
        return self.unit == 1 and not self.young

    def split(self, c: Constants) -> tuple[float, float]:
        """(a, b) with L0 + L1‖g‖ ≤ a + b‖g‖²: what the two phases of every proof amount to."""
        share = 0.5 if self.young else 1.0
        L0, L1 = c.smoothness
        return L0 + share * self.unit * L1, share * L1 / self.unit


def variant(options: dict) -> Variant:
    """The `Variant` that keyword arguments describe; an unknown one is named with its nearest neighbour."""
    known = tuple(Variant.__dataclass_fields__)
    for name in options:
        if name not in known:
            raise InvalidInput(f'there is no option "{name}". {nearest(name, known)}')
    return Variant(**options)
