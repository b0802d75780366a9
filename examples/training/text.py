"""A byte-level transformer, by five methods: torchrun --nproc_per_node 4 examples/training/text.py [--steps K] [--seed S] [--out DIR]"""

from methods import Method, hooked, local, muon, sgd
from tasks import text
from train import main

from stablestep.compressor import ErrorFeedback, Identity, RandK, TopK
from stablestep.torch import rule

SPARSE = RandK(fraction=0.05)

METHODS = (
    Method("fp32, AdamW", 0.016, hooked(Identity())),
    Method("EF-TopK 1 %, AdamW", 0.008, hooked(ErrorFeedback(TopK(fraction=0.01)))),
    Method("local Muon, 2 bit", 0.032, local(muon)),
    Method("RandK 5 %, SGD", 0.075, hooked(SPARSE, sgd)),
    Method("RandK 5 %, SGD, normalized", 0.3, hooked(SPARSE, sgd, rule.LocalNorms)),
)

if __name__ == "__main__":
    main(text, METHODS, steps=300)
