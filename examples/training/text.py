"""A byte-level transformer, by four methods: torchrun --nproc_per_node 4 examples/training/text.py [--steps K] [--seed S] [--out DIR]"""

from tasks import text
from train import Method, main

from stablestep.compressor import Identity, RandK, Sign
from stablestep.torch import rule

SPARSE, ETA0 = RandK(fraction=0.05), 0.15

METHODS = (
    Method("plain DDP", Identity(), ETA0),
    Method("RandK 5 %", SPARSE, ETA0),
    Method("RandK 5 %, normalized", SPARSE, ETA0, rule.LocalNorms),
    Method("sign, decaying step", Sign(), 0.02, decay=0.5),
)

if __name__ == "__main__":
    main(text, METHODS, steps=300)
