"""The numbers of the page are those of the library: limits.js in V8 against `theorem` and the exact moments, over a grid of inputs."""

import json
import math
from importlib.resources import files

import numpy as np
import pytest
from py_mini_racer import MiniRacer

import stablestep as ss
from stablestep.errors import InvalidInput
from stablestep.theorem import Constants
from stablestep.theorem.catalogue import results
from stablestep.theorem.discrete_normalized_ef import METHOD as NORMALIZED_EF

C = ss.compressor
DEFAULTS = dict(L0=1.0, L1=1.0, dim=10, count=4, epsilon=0.5, gradient=1.0, omega=0.0, shared=0, sigma0=0.0, sigma1=0.0)
DEFAULTS |= dict(nu=2.5, scale=1.0, beta=0.9, alpha=0.1, clip=1.0)
GRID = {
    "L0": [0.0, 1.0, 30.0],
    "L1": [0.0, 0.5, 4.0],
    "dim": [1, 10, 10**6],
    "count": [1, 16],
    "epsilon": [0.1, 0.9],
    "gradient": [0.0, 1.0, 100.0],
}
OWN = {
    "sgd": {"omega": [0.0, 9.0], "shared": [0, 1], "sigma0": [0.0, 0.3], "sigma1": [0.0, 0.1]},
    "signs": {"nu": [0.5, 1.0, 2.5, math.inf], "scale": [0.0, 2.0]},
    "signs-average": {"nu": [0.5, 1.0, math.inf], "scale": [0.5], "beta": [0.0, 0.5, 0.99]},
    "momentum": {"omega": [0.0, 9.0], "shared": [0, 1], "sigma0": [0.3], "sigma1": [0.0, 0.1], "beta": [0.0, 0.9]},
    "ef": {"alpha": [0.001, 0.25, 1.0], "sigma0": [0.3], "sigma1": [0.0, 0.1]},
    "clip": {"clip": [0.1, 1.0, 5.0]},
    "normalized": {"sigma0": [0.0, 0.3]},
    "normalized-momentum": {"sigma0": [0.3], "beta": [0.0, 0.5, 0.99]},
    "normalized-ef": {"alpha": [0.01, 0.25, 1.0]},
    "normalized-ef21": {"alpha": [0.01, 0.25, 1.0]},
}


@pytest.fixture(scope="module")
def script():
    engine = MiniRacer()
    engine.eval(files("stablestep.explore").joinpath("limits.js").read_text())
    return engine


def call(script, name, inputs):
    """A function of the page; JSON has no infinity."""
    text = json.dumps(inputs).replace("Infinity", "1e999")
    say = '(key, value) => value === Infinity ? "inf" : Number.isNaN(value) ? "nan" : value'
    return json.loads(script.eval(f"JSON.stringify(StableStep.{name}({text}), {say})"))


def cases(method, at_most=120):
    names = {**GRID, **OWN[method]}
    generator = np.random.default_rng(len(method))
    for _ in range(at_most):
        chosen = {name: values[generator.integers(len(values))] for name, values in names.items()}
        yield DEFAULTS | chosen | {"method": method}


def constants_of(given):
    """The constants that a user of the library would write for these inputs."""
    method = given["method"]
    common = dict(L0=given["L0"], L1=given["L1"], dim=given["dim"], count=given["count"])
    noise = dict(sigma0_sq=given["sigma0"] ** 2, sigma1_sq=given["sigma1"] ** 2)
    compressed = dict(omega=given["omega"], shared_mask=bool(given["shared"]))
    isotropic = dict(sigma0_sq=given["sigma0"] ** 2, nu=math.inf, scale_max=given["sigma0"])
    return Constants(
        **common,
        **{
            "sgd": {**noise, **compressed},
            "signs": dict(nu=given["nu"], scale_max=given["scale"]),
            "signs-average": dict(nu=given["nu"], scale_max=given["scale"], beta=given["beta"]),
            "momentum": {**noise, **compressed, "beta": given["beta"]},
            "ef": {**noise, "alpha": given["alpha"], "memory": "ErrorFeedback"},
            "clip": dict(clip=given["clip"]),
            "normalized": {**isotropic, "normalized": True},
            "normalized-momentum": dict(sigma0_sq=given["sigma0"] ** 2, beta=given["beta"], normalized=True),
            "normalized-ef": dict(alpha=given["alpha"], memory=NORMALIZED_EF, normalized=True),
            "normalized-ef21": dict(alpha=given["alpha"], memory="EF21", normalized=True),
        }[method],
    )


def limit(result, given, **options):
    c = constants_of(given)
    if not result.concerns(c):
        return None
    try:
        return result.step_limit(c, given["gradient"], given["epsilon"], **options)
    except InvalidInput:
        return None


def number(value):
    return None if value is None else float(value)


@pytest.mark.parametrize("method", OWN)
def test_limits_are_those_of_the_theorems(script, method):
    """Also which results apply."""
    known = {one.name: one for one in results()}
    for given in cases(method):
        for found in call(script, "results", given):
            wanted = limit(known[found["name"]], given)
            shown = number(found["limit"])
            assert (shown is None) == (wanted is None), (found, wanted, given)
            if wanted is not None:
                assert shown == pytest.approx(wanted, rel=1e-9), (found, given)
            if found["printed"] is not None:
                printed = limit(known[found["name"]], given, form="printed")
                assert number(found["printed"]) == pytest.approx(printed, rel=1e-9), (found, given)


def test_no_result_is_forgotten(script):
    shown = {found["name"] for found in call(script, "results", DEFAULTS | {"method": "sgd"})}
    # B.9 has the step limit of 4.3.
    assert shown == {one.name for one in results()} - {"B.9"}


@pytest.mark.parametrize("method", ["sgd", "momentum"])
def test_the_normalized_step(script, method):
    known = {one.name: one for one in results()}["4.2" if method == "sgd" else "momentum"]
    for given in cases(method, 40):
        found = call(script, "normalization", given)
        try:
            a, b = known.normalization(constants_of(given), given["epsilon"])
        except ZeroDivisionError:
            continue
        assert (found["a"], found["b"]) == (pytest.approx(a, rel=1e-9), pytest.approx(b, rel=1e-7, abs=1e-9 * a))


def test_shares_are_those_of_the_advice(script):
    setup = ss.Setup(
        ss.problem.Quartic(dim=10),
        ss.Agents(4, noise=ss.noise.Gaussian(0.1, 0.2), compressor=C.RandomSparsification(omega=4.0)),
    )
    found = ss.stability.advise(setup, x0=0.5)
    given = DEFAULTS | dict(method="sgd", L0=found.constants.L0, L1=found.constants.L1, dim=10, count=4, omega=4.0)
    given |= dict(sigma0=0.1, sigma1=0.2, gradient=found.gradient_norm)
    assert call(script, "shares", given) == pytest.approx(found.shares)


MEMORIES = {
    "SGD": lambda omega: (C.RandomSparsification(omega=omega), ss.server.Plain()),
    "heavy ball": lambda omega: (C.RandomSparsification(omega=omega), ss.server.HeavyBall(beta=0.8)),
    "error feedback": lambda omega: (
        C.ErrorFeedback(C.RandomSparsification(omega=omega, scaled=False)),
        ss.server.Plain(),
    ),
    "EF21": lambda omega: (C.EF21(C.RandomSparsification(omega=omega, scaled=False)), ss.server.Plain()),
}


@pytest.mark.parametrize("name", MEMORIES)
@pytest.mark.parametrize(
    ("count", "mask", "sigma1"), [(1, "own", 0.0), (3, "own", 0.0), (3, "own", 0.3), (3, "shared", 0.3)]
)
def test_thresholds_are_those_of_the_exact_moments(script, name, count, mask, sigma1):
    compressor, server = MEMORIES[name](3.0)
    agents = ss.Agents(count, noise=ss.noise.Gaussian(0.0, sigma1), compressor=compressor, mask=mask)
    setup = ss.Setup(ss.problem.Quadratic([2.0, 2.0]), agents, server=server)
    given = DEFAULTS | dict(
        L0=2.0, dim=2, count=count, omega=3.0, shared=int(mask == "shared"), sigma1=sigma1, beta=0.8
    )
    wanted = ss.stability.critical_step(setup, x0=1.0, method="moments").step
    assert call(script, "thresholds", given)[name] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("L0", -1.0),
        ("dim", 2.5),
        ("dim", 0),
        ("count", 0),
        ("epsilon", 1.0),
        ("nu", 0.0),
        ("beta", 1.0),
        ("alpha", 1.5),
        ("clip", 0.0),
    ],
)
def test_impossible_constants_are_named(script, name, value):
    assert script.eval(f"StableStep.wrong({json.dumps(name)}, {value})").startswith("must be")
    assert script.eval(f"StableStep.wrong({json.dumps(name)}, {DEFAULTS[name]})") is None
    assert script.eval(f"StableStep.wrong({json.dumps(name)}, NaN)") == "is no number"
