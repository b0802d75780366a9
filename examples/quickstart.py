"""Compressed SGD at three compression rates, and the picture of what happens: python examples/quickstart.py"""

import stablestep as ss

setup = ss.Setup(
    ss.problem.Quartic(dim=1000),
    ss.Agents(
        16, noise=ss.noise.Gaussian(sigma0=0.0, sigma1=0.1), compressor=ss.compressor.RandomSparsification(omega=8)
    ),
)
result = ss.simulate(
    setup, schedule=ss.schedule.Constant(0.1), x0=0.5, steps=60, runs=1000, seed=0, grid={"omega": [8, 32, 128]}
)
ss.plot.loss(result).figure.savefig("quickstart.png", dpi=110)
