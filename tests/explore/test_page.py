"""The page as a whole: what it contains, what a spec makes of it, and what a browser shows."""

import html
import re
import shutil
import subprocess

import pytest

import stablestep as ss
from stablestep.errors import InvalidInput
from stablestep.explore import explore, page
from stablestep.explore.inputs import described
from stablestep.theorem import Constants

C = ss.compressor
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
COMPRESSED = ss.Setup(ss.problem.Quartic(dim=4), ss.Agents(4, compressor=C.RandomSparsification(omega=4.0)))


def test_it_is_one_file_that_asks_for_nothing():
    text = page()
    assert len(text.encode()) < 1.5e6
    head, body = text.split("</style>")[0], text.split("<body>")[1].split("<script>")[0]
    assert not re.search(r"(src|href)\s*=|@import|url\(", head + body)
    assert "µPlot (MIT licence" in text


def test_a_setup_gives_its_constants_and_a_map():
    text = explore(COMPRESSED, x0=0.5)
    given = re.search(r'id="given">(.*?)</script>', text, re.S).group(1)
    assert '"omega": 4.0' in given and '"method": "sgd"' in given and '"up"' in given
    assert '"map": null' in explore(COMPRESSED, x0=0.5, measure=False)


@pytest.mark.parametrize(
    ("constants", "method"),
    [
        (dict(omega=4.0), "sgd"),
        (dict(beta=0.5), "momentum"),
        (dict(nu=1.0, scale_max=2.0), "signs"),
        (dict(nu=1.0, scale_max=2.0, beta=0.5), "signs-average"),
        (dict(alpha=0.5, memory="ErrorFeedback"), "ef"),
        (dict(clip=2.0), "clip"),
        (dict(normalized=True), "normalized"),
        (dict(normalized=True, beta=0.5), "normalized-momentum"),
        (dict(normalized=True, alpha=0.5, memory="EF21"), "normalized-ef21"),
    ],
)
def test_methods_are_recognized(constants, method):
    inputs, left_out = described(Constants(L0=1, L1=1, dim=2, **constants), 1.0, 0.5)
    assert inputs["method"] == method and not left_out


def test_what_cannot_be_shown_is_said():
    _, left_out = described(Constants(L0=1, L1=1, dim=2, omega=[1.0, 2.0], dissimilarity=(1.0, 0.5)), 1.0, 0.5)
    assert len(left_out) == 2 and "means" in left_out[0] and "dissimilarity" in left_out[1]
    with pytest.raises(InvalidInput, match="the page shows no method with EF21"):
        described(Constants(L0=1, L1=1, dim=2, alpha=0.5, memory="EF21"), 1.0, 0.5)


def test_a_long_map_asks_first(monkeypatch):
    monkeypatch.setattr("stablestep.explore.document._SECONDS", 0.0)
    with pytest.raises(InvalidInput, match=r"the map would take about .* s; say --yes"):
        explore(COMPRESSED, x0=0.5)
    assert '"up"' in explore(COMPRESSED, x0=0.5, yes=True)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_shows_the_numbers(tmp_path):
    """The table in the document equals the theorem; impossible constants and unknown methods are said."""
    path = tmp_path / "page.html"
    path.write_text(page())

    def shown(address):
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{path}#{address}"]
        return html.unescape(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)

    c = Constants(L0=2, L1=0.5, dim=10, count=4, omega=9.0, sigma0_sq=0.01)
    wanted = ss.theorem.step_limit("4.2", c, gradient_norm=3.0, epsilon=0.5)
    found = shown("method=sgd&L0=2&L1=0.5&dim=10&count=4&omega=9&sigma0=0.1&sigma1=0&gradient=3&epsilon=0.5")
    assert f'<b>4.2</b></td><td class="number">{wanted:.4g}</td>' in found
    bad = shown("method=nothing&dim=2.5&colour=red")
    assert 'There is no method "nothing"; this is SGD' in bad and 'There is no constant "colour".' in bad
    assert "d must be a whole number of at least 1." in bad and 'class="stale"' in bad
