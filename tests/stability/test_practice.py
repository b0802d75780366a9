"""What a method needs and does: the critical steps of theory2 section 2, and words for every setup."""

import math

import numpy as np
import pytest

from stablestep.compressor import EF21, ErrorFeedback, Identity, LocalClip, Momentum, RandomSparsification, Sign, TopK
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic, Quartic
from stablestep.server import HeavyBall, Majority, Plain
from stablestep.setup import Agents, Setup
from stablestep.stability import advise, critical_step
from stablestep.stability.practice import signum_factor

LINE = Quadratic([1.0])


def masks(p):
    return RandomSparsification(1 / p - 1, scaled=False)


def of(*agents, server=None, problem=LINE, **options):
    return advise(Setup(problem, *agents, server=server or Plain()), x0=1.0, **options).practice


def relative(a):
    """One agent whose messages have relative variance a."""
    return Agents(1, compressor=RandomSparsification(a) if a else Identity())


@pytest.mark.parametrize(
    ("beta", "a", "h"), [(0.9, 0, 3.8), (0.9, 4, 0.0493506494), (0.9, 8, 0.0248366013), (0.5, 4, 0.2307692308)]
)
def test_heavy_ball(beta, a, h):
    """theory2 section 8.1."""
    found = of(relative(a), server=HeavyBall(beta))
    assert found.low == found.high == pytest.approx(h, abs=5e-11)
    averaged = of(relative(a), server=HeavyBall(beta, average=True))
    assert averaged.low == pytest.approx(h / (1 - beta), rel=1e-8)


@pytest.mark.parametrize(
    ("beta", "a", "h"),
    [(0.9, 0, 1.3571428571), (0.9, 4, 0.0709717387), (0.9, 99, 0.0020487794), (0.5, 4, 0.2262087348)],
)
def test_nesterov(beta, a, h):
    assert of(relative(a), server=HeavyBall(beta, nesterov=True)).low == pytest.approx(h, abs=1e-10)


@pytest.mark.parametrize(("p", "n", "h"), [
    (0.1, 1, 0.1052631579), (0.1, 2, 0.2099447514), (0.25, 2, 0.56), (0.5, 3, 1.6363636364), (0.1, 10, 1.0270270270),
    (0.1, 11, 1.1266846361), (0.1, 100, 8.2608695652),
])  # fmt: skip
def test_masks_in_feedback(p, n, h):
    """theory2 section 8.3; with a shared mask N = 1."""
    for kind in (ErrorFeedback, EF21):
        assert of(Agents(n, compressor=kind(masks(p)))).low == pytest.approx(h, abs=5e-11)
        shared = of(Agents(n, compressor=kind(masks(p)), mask="shared"))
        assert shared.low == pytest.approx(2 * p * (2 - p) / (p**2 + 4 * (1 - p)), rel=1e-9)


@pytest.mark.parametrize(("n", "s", "feedback", "ef21"), [
    (1, 1, 0.25, 0.1428571429), (2, 1, 0.4488198125, 0.2828282828), (2, 3, 0.3368374522, 0.1421319797)
])  # fmt: skip
def test_masks_in_feedback_with_noise_that_grows(n, s, feedback, ef21):
    """theory2 section 8.4, p = ¼."""
    for kind, h in ((ErrorFeedback, feedback), (EF21, ef21)):
        assert of(Agents(n, Gaussian(sigma1=math.sqrt(s)), kind(masks(0.25)))).low == pytest.approx(h, abs=5e-11)


@pytest.mark.parametrize("kind", [ErrorFeedback, EF21])
@pytest.mark.parametrize("sigma1", [0.0, 0.7])
@pytest.mark.parametrize(("groups", "count"), [(1, 4), (2, 2), (4, 1), (3, 2)])
def test_masks_shared_in_each_of_several_groups(kind, sigma1, groups, count):
    """As many masks as groups: exact moments know nothing of the formula."""
    agents = [Agents(count, Gaussian(sigma1=sigma1), kind(masks(0.25)), mask="shared")] * groups
    exact = critical_step(Setup(LINE, *agents), x0=1.0, method="moments").step
    assert of(*agents).low == pytest.approx(exact, rel=1e-9)


def test_plain_and_unscaled_curvature():
    assert of(relative(8)).low == pytest.approx(2 / 9) and of(
        relative(8), problem=Quadratic([4.0])
    ).low == pytest.approx(1 / 18)
    found = of(Agents(1, compressor=ErrorFeedback(TopK(k=1))), problem=Quadratic([2.0] * 10))
    assert (found.low, found.high) == (
        pytest.approx(0.05265 / 2, abs=1e-5),
        pytest.approx(1.0),
    ) and "0.02633" in found.formula
    assert of(Agents(1, compressor=LocalClip(Identity(), threshold=1.0))).low == pytest.approx(2.0)


@pytest.mark.parametrize(("beta", "factor"), [(0.0, 1.0), (0.5, 1.332), (0.9, 3.046), (0.99, 9.781)])
def test_signum_factor(beta, factor):
    """theory2 5.5: at equal η, over SignSGD."""
    assert signum_factor(beta) == pytest.approx(factor, abs=6e-4)


def test_floors_of_signs():
    """x²/2: (η/4)√(π/2)σ under Gaussian noise, πση/8 under Cauchy noise; Signum's is D times the speed's gain."""
    for noise, floor in ((Gaussian(2.0), math.sqrt(math.pi / 2) / 2), (StudentT(1.0, 2.0), math.pi / 4)):
        assert f"{floor:.3g} η" in of(Agents(1, noise, Sign())).above
        assert f"{floor / 3:.3g} η" in of(Agents(3, noise, Sign())).above
    signum = of(Agents(1, Gaussian(2.0), Momentum(Sign(), beta=0.9)))
    assert "3.05 times as high" in signum.above and f"{3.0458 * math.sqrt(math.pi / 2) / 2:.3g} η" in signum.above
    assert "2.24/(1−β) = 22.4" in of(Agents(1, StudentT(1.0), Momentum(Sign(), beta=0.9))).above


WORDS = [
    ((relative(4),), None, {}, ["yes, as 1/(L0", "Above that step: it diverges"]),
    ((relative(4),), HeavyBall(0.9), {}, ["momentum (heavy ball)", "yes", "it diverges"]),
    ((Agents(1, StudentT(1.0), Sign()),), None, {}, ["no: ηL1d", "everywhere: none", "In the long run: it stays"]),
    ((Agents(1, StudentT(1.0), Sign()),), Majority(), {}, ["majority vote", "none"]),
    ((Agents(1, None, ErrorFeedback(TopK(k=1))),), None, {}, ["ErrorFeedback", "between", "α = 0.1"]),
    ((Agents(2, None, EF21(masks(0.1))),), None, {}, ["EF21 of masks", "19 times"]),
    ((Agents(2, None, LocalClip(Identity(), threshold=1.0)),), None, {}, ["the threshold c does it", "bounded cycle"]),
    ((Agents(2),), None, {"normalized": True}, ["it is one, only η < ", "‖∇f‖ ≈ λη/2"]),
    ((Agents(2),), HeavyBall(0.9), {"normalized": True}, ["normalized steps with memory", "η/(1 − s)"]),
    ((Agents(2, None, Momentum(EF21(TopK(k=1)), beta=0.5)),), None, {}, ["Momentum of EF21", "no formula is known"]),
]  # fmt: skip


@pytest.mark.parametrize(("agents", "server", "options", "words"), WORDS)
def test_words(agents, server, options, words):
    said = " ".join(of(*agents, server=server, problem=Quartic(10), L1=2.0, **options).sentences)
    assert [word for word in words if word not in said] == [], said
    assert "nan" not in said and "inf" not in said


def test_where_the_curvature_is_bounded_nothing_needs_normalizing():
    assert of(relative(4)).normalization == "no, the curvature is bounded"
    assert of(Agents(1, None, ErrorFeedback(TopK(k=1)))).normalization == "no, the curvature is bounded"


def test_the_critical_step_is_where_a_run_of_heavy_ball_diverges():
    """Without noise, in NumPy: 1 % below it converges, 1 % above it does not."""
    h = of(relative(0), server=HeavyBall(0.9)).low
    ends = []
    for eta in (0.99 * h, 1.01 * h):
        x, m = 1.0, 0.0
        for _ in range(20000):
            m = 0.9 * m + x
            x = np.clip(x - eta * m, -1e9, 1e9)
        ends.append(abs(x))
    assert ends[0] < 1e-6 and ends[1] > 1e6
