"""An image classifier, by five methods: torchrun --nproc_per_node 4 examples/training/digits.py [--steps K] [--seed S] [--out DIR]"""

from methods import Method, hooked, local, sgd
from tasks import digits
from train import main

from stablestep.compressor import ErrorFeedback, Identity, RandK, TopK
from stablestep.torch import rule

SPARSE = RandK(fraction=0.05)

METHODS = (
    Method("fp32, AdamW", 0.032, hooked(Identity())),
    Method("EF-TopK 1 %, AdamW", 0.016, hooked(ErrorFeedback(TopK(fraction=0.01)))),
    Method("local AdamW, 2 bit", 0.016, local()),
    Method("RandK 5 %, SGD", 0.05, hooked(SPARSE, sgd)),
    Method("RandK 5 %, SGD, normalized", 0.4, hooked(SPARSE, sgd, rule.LocalNorms)),
)

if __name__ == "__main__":
    main(digits, METHODS, steps=800)
