"""Results at the prompt and in a notebook: what they say, on one screen, by the names that a user writes."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from stablestep import estimate
from stablestep.card import WIDTH, Card
from stablestep.compressor import EF21, RandomSparsification, Sign, TopK
from stablestep.noise import Gaussian, StudentT
from stablestep.problem import Quadratic, Quartic
from stablestep.setup import Agents, Setup
from stablestep.stability import CriticalStep, advise, critical_step
from stablestep.stability.start_point import never
from stablestep.theorem import Constants, covered, results

MASKED = Agents(16, Gaussian(sigma1=0.1), RandomSparsification(omega=8))
MANY = Setup(Quartic(1000), MASKED, Agents(4, Gaussian(sigma1=0.3), RandomSparsification(omega=2)))
DRAWS = list(np.random.default_rng(0).normal(size=(16, 3)))


def bowl(w, x):
    return jnp.sum((w - x) ** 2)


SHOWN = {
    "advice": lambda: advise(MANY, x0=0.5),
    "advice of signs": lambda: advise(Setup(Quartic(4), Agents(2, StudentT(df=1), Sign())), x0=0.5),
    "advice of a memory": lambda: advise(Setup(Quartic(4), Agents(2, compressor=EF21(TopK(k=1)))), x0=0.5),
    "practice": lambda: advise(MANY, x0=0.5).practice,
    "critical step": lambda: critical_step(Setup(Quadratic([1.0, 4.0]), Agents(1)), x0=1.0, method="moments"),
    "covered": lambda: covered(Setup(Quadratic([1.0, 4.0]), MASKED), gradient_norm=1.0),
    "survey": lambda: estimate.survey(bowl, np.ones(3), DRAWS, agents=8, points=6),
    "survey of clients": lambda: estimate.survey(
        bowl, np.ones(3), DRAWS, points=6, clients=[0, 1] * 8, compressor=TopK(k=1)
    ),
    "constants": lambda: covered(Setup(Quadratic([1.0, 4.0]), MASKED), gradient_norm=1.0).constants,
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_result_fits_a_screen(name):
    lines = repr(SHOWN[name]()).splitlines()
    assert 1 <= len(lines) <= 30 and max(map(len, lines)) <= WIDTH
    assert "array(" not in "".join(lines) and "sparsity" not in "".join(lines)


@pytest.mark.parametrize("name", [name for name in SHOWN if name != "constants"])
def test_a_notebook_gets_the_same_numbers(name):
    found = SHOWN[name]()
    html, words = found._repr_html_(), repr(found).split()
    plain = html.replace("<", " <").replace(">", "> ").replace("&gt;", ">").replace("&lt;", "<")
    plain = plain.replace("&#x27;", "'").replace("&quot;", '"').replace("&amp;", "&")
    assert set(words) <= set(plain.split())
    assert html.count("<tr>") == html.count("</tr>") and html.count("<div>") == html.count("</div>")


def test_what_advice_shows():
    found = advise(MANY, x0=0.5)
    text = repr(found)
    assert text.startswith(f"step limit {found.limit:.4g} at x0")
    assert all(row.name in text for row in found.rows) and " ".join(found.verdict.split()) in " ".join(text.split())


def test_what_a_critical_step_shows():
    found = CriticalStep(
        0.47426, 0.4597, 0.48927, "sharp", "rollouts", "half blow up", 2122, {"step10": 0.46189, "steps": 90}
    )
    assert repr(found) == (
        "critical step 0.4743, interval 0.4597 – 0.4893 (sharp)\n  step10  0.4619\n  steps   90\n"
        "rollouts: half blow up\ncost: 2122 steps of one run"
    )
    assert repr(never(math.inf, "rollouts", "half blow up", 3)).startswith("critical step ∞ (never)")


def test_constants_show_the_call_with_what_agents_share():
    c = Constants(L0=1, L1=2, dim=10, omega=[4.0, 4.0], sigma1_sq=[0.1, 0.2])
    assert repr(c) == "Constants(L0=1, L1=2, dim=10, omega=4.0, sigma1_sq=[0.1, 0.2], count=2)"
    again = eval(repr(c))
    assert np.array_equal(again.omega, c.omega) and again.A == c.A and again.B == c.B
    assert "f64[1000]" in repr(Constants(L0=1, L1=2, dim=10, omega=np.arange(1000.0)))


def test_a_theorem_says_what_it_is_about():
    for one in results():
        assert repr(one) == f"<{one.name}: {one.method} {one.model} ({one.reference})>"


def test_a_long_cell_is_wrapped_under_its_own_column():
    lines = Card("title", ("name", "reason"), (("4.1", "word " * 60),)).text(60).splitlines()
    assert max(map(len, lines)) <= 60 and all(line.startswith(" " * 8) for line in lines[3:])


def test_html_is_escaped():
    assert "<b>" not in Card("<b>", ("<b>",), (("<b>",),), ("<b>",)).html()
