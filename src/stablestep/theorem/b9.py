"""P Theorem B.9 (Eqs. 135-144), S2 Theorem 4.4: as 4.3, but as printed its denominators lack a factor dη."""

from dataclasses import dataclass, replace

from stablestep.theorem.t43 import New


@dataclass(frozen=True, kw_only=True)
class Appendix(New):
    """The step limit of 4.3, and as printed a bound with K where dηK belongs, K = L1/(2N) + (L0 + L1) M_ν/(σ_H √d)."""

    def terms(self, c, eta, chosen):
        terms = super().terms(c, eta, chosen)
        return (
            replace(terms, second=terms.second / (c.dim * eta)) if chosen.printed and chosen.radius is None else terms
        )

    def limit_terms(self, c, chosen):
        return super().terms(c, 1.0, chosen)


RESULT = Appendix(
    name="B.9",
    aliases=("S2 4.4", "S2 A.9"),
    reference="P Thm B.9, Eqs. 135-144; S2 Thm 4.4",
    sde="new",
)
