"""The step limits and bounds of DSGD and DCSGD held against simulation, P's Table 2, and the rule with E‖∇f‖."""

from stablestep.report import Section
from stablestep.reproduce.context import Context
from stablestep.reproduce.sections.limits.expectation import ensembles_of, expectation, figure_of
from stablestep.reproduce.sections.limits.families import ETA, STEPS, family, limit_of, table_of
from stablestep.reproduce.sections.limits.misprint import misprint
from stablestep.reproduce.sections.limits.sharp import recovers, sharp
from stablestep.reproduce.sections.limits.table_two import table_two, two

WORDS = [
    "Each theorem is run: on the left its weighted squared gradient norm along the paths, on the right its bound, with two "
    "different agents and the theorem's own pathwise step. The theorems are about the SDE; for the optimizer itself the "
    "bound is an observation. The last column, right over left, is how much a theorem leaves unsaid.",
    "The papers print the step rules with E‖∇f‖. Their proofs need the path's own norm, and the difference matters: on x⁴/4 with "
    "ω = 4 a few runs escape under the printed rule, after which the mean loss is astronomical, while under the pathwise "
    "rule every run converges.",
    "Table 2 of P puts the limits from the classic SDEs beside those from the new ones. They differ by exactly one term, the "
    "baseline that recovers the classical 2/L.",
]


def run(context: Context) -> Section:
    held = family(context)
    context.progress(0.5)
    ensembles = ensembles_of(context)
    context.progress(0.9)
    names = {
        "limit.dsgd": ("B.1", "B.2"),
        "limit.dcsgd-bounded": ("B.3", "B.5"),
        "limit.dcsgd-affine": ("4.1", "4.2"),
    }
    claims = [limit_of(id, [one for one in held if one.name in which]) for id, which in names.items()]
    return Section(
        id="limits",
        title="Step limits and bounds: DSGD and DCSGD",
        paragraphs=WORDS,
        figures=[figure_of(ensembles)],
        tables=[table_of(held), table_two()],
        claims=[*claims, expectation(ensembles), misprint(), recovers(context), sharp(context), two()],
        parameters={
            "families": "d = 4 (quartic), 3 (cosh), 3 (eigenvalues 1, 2, 4); two agents, or 8 of each of two kinds; "
            "the second with 1.5 times the noise",
            "step": f"min({ETA}(1+t)^-½, the theorem's pathwise limit), ε = ½ (¼ on the quadratic), {STEPS} steps",
            "E‖∇f‖ rule": "x⁴/4, d = 1, N = 1, ω = 4, σ1 = 0.1, x0 = 2, L0 = 1, L1 = 2, ε = 0.9",
        },
    )
