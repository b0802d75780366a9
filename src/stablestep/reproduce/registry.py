"""The table of all sections: what a new one must be added to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stablestep.errors import nearest, require


@dataclass(frozen=True)
class Entry:
    """A section that can be run: `module` has a function run(context) that returns it and decides `claims`."""

    name: str
    title: str
    module: str
    claims: tuple[str, ...]

    def matches(self, id: str) -> bool:
        """Whether `id` is the section's name, or one of its claims' ids or a beginning of one."""
        return bool(id) and (id == self.name or any(claim.startswith(id) for claim in self.claims))


SECTIONS = (
    Entry(
        "fig1-dsgd",
        "Figure 1, DSGD: noise that grows with the gradient",
        "stablestep.reproduce.sections.fig1_dsgd",
        ("fig1.dsgd.constant", "fig1.dsgd.normalized"),
    ),
    Entry(
        "fig1-dcsgd",
        "Figure 1, DCSGD: compressed gradients",
        "stablestep.reproduce.sections.fig1_dcsgd",
        ("fig1.dcsgd.constant", "fig1.dcsgd.normalized"),
    ),
    Entry(
        "fig1-dsignsgd",
        "Figure 1, DSignSGD: signs under noise without a mean",
        "stablestep.reproduce.sections.fig1_dsignsgd",
        ("fig1.dsignsgd.constant", "fig1.dsignsgd.scheduled"),
    ),
    Entry(
        "messages",
        "The law of the mean message",
        "stablestep.reproduce.sections.messages",
        (
            "message.compression-mse",
            "message.dcsgd-covariance",
            "message.sign-mean",
            "message.sign-covariance",
            "equivalence.dcsgd-dsgd",
        ),
    ),
    Entry(
        "schedules",
        "Schedules",
        "stablestep.reproduce.sections.schedules",
        ("schedule.robbins-monro", "schedule.local-norms"),
    ),
    Entry(
        "odes",
        "Gradient descent as an ODE",
        "stablestep.reproduce.sections.odes",
        (
            "ode.quadratic.first",
            "ode.quadratic.classic",
            "ode.quadratic.new",
            "ode.quadratic.faster-is-inconsistent",
            "ode.quartic.first",
            "ode.quartic.instability",
            "ode.taylor",
            "ode.order",
            "ode.loss-order",
        ),
    ),
    Entry(
        "sdes",
        "The optimizers as SDEs",
        "stablestep.reproduce.sections.sdes",
        (
            "sde.order",
            "sde.loss-drift",
            "sde.loss-volatility",
            "sde.stationary-quadratic",
            "sde.sign-new",
            "sde.sign-classic",
        ),
    ),
    Entry("overlay", "Figure 1 with the SDE models", "stablestep.reproduce.sections.overlay", ()),
    Entry(
        "limits",
        "Step limits and bounds: DSGD and DCSGD",
        "stablestep.reproduce.sections.limits",
        (
            "limit.dsgd",
            "limit.dcsgd-bounded",
            "limit.dcsgd-affine",
            "limit.expectation-form",
            "bound.first-order-dcsgd",
            "limit.recovers-2-over-L",
            "limit.sharp-on-quadratic",
            "table2",
        ),
    ),
    Entry(
        "sign-bounds",
        "Step limits and bounds: DSignSGD",
        "stablestep.reproduce.sections.sign_bounds",
        (
            "sign.constants",
            "bound.sign",
            "bound.sign-denominators",
            "limit.sign-noiseless",
            "limit.sign-no-gradient-norm",
        ),
    ),
    Entry(
        "memory",
        "Momentum",
        "stablestep.reproduce.sections.memory",
        ("mem.hb.threshold", "mem.hb.first-order-limit", "mem.hb.larger-steps", "mem.order.start"),
    ),
    Entry(
        "feedback",
        "Error feedback",
        "stablestep.reproduce.sections.feedback",
        ("ef.is-momentum", "ef.larger-steps", "ef.no-omega", "ef21.momentum-repairs", "ef.alpha-tight"),
    ),
    Entry(
        "biased",
        "Biased messages: failures and floors",
        "stablestep.reproduce.sections.biased",
        ("biased.counterexamples", "clip.bias", "ef21.floor"),
    ),
    Entry(
        "bounded",
        "Bounded steps: signs, momentum and normalization",
        "stablestep.reproduce.sections.bounded",
        ("signum.better", "nsgd.no-threshold", "sign.discrete", "dcsgd.discrete"),
    ),
    Entry(
        "unlike",
        "Unlike clients",
        "stablestep.reproduce.sections.unlike",
        ("het.dcsgd", "het.shared-mask", "het.sign"),
    ),
    Entry("edge", "Where the edge really is", "stablestep.reproduce.sections.edge", ()),
    Entry("training", "Real training: predicted and observed steps", "stablestep.reproduce.sections.training", ()),
)


def select(only: Iterable[str], sections: Sequence[Entry] = SECTIONS, quick: bool = False) -> list[Entry]:
    """The sections that `only` names, in their own order; where it names none all, in a quick run all that decide claims.

    Raises `InvalidInput` for an id that names nothing.

    >>> [entry.name for entry in select(["message.sign", "fig1-dsgd"])]
    ['fig1-dsgd', 'messages']
    """
    wanted = tuple(only)
    known = [name for entry in sections for name in (entry.name, *entry.claims)]
    for id in wanted:
        found = any(entry.matches(id) for entry in sections)
        require(found, f'"{id}" names no section and no claim. {nearest(id, known)}')
    if not wanted:
        return [entry for entry in sections if entry.claims or not quick]
    return [entry for entry in sections if any(entry.matches(id) for id in wanted)]
