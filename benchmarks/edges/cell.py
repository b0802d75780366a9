"""A cell: one training by one method with one number of workers and steps; and the list of all."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product

from stablestep.compressor import QSGD, Compressor, ErrorFeedback, Identity, RandomSparsification, Sign, TopK

SMALL = ("logistic", "regression", "teacher", "factors", "softmax", "autoencoder", "tanh")
LONG = ("regression", "teacher", "autoencoder", "tanh", "normalized", "convolution", "letters", "transformer")
FAMILIES = ("sgd", "momentum", "adam")
SIGNS = (("sgd", "sign", 0), ("signum", "own", 0), ("momentum", "sign", 0), ("signum", "own", 19))
# Message, ω (of QSGD: levels), N, T, and the tasks that have it.
METHODS = (
    *(("own", omega, 4, 100, None) for omega in (0, 99, 19, 3)),
    *(("own", omega, 1, 100, None) for omega in (19, 0, 99, 3)),
    ("shared", 19, 4, 100, None),
    ("shared", 99, 4, 100, None),
    ("topk5", 0, 4, 100, None),
    ("topk1", 0, 4, 100, None),
    ("qsgd", 2, 4, 100, None),
    *(("own", omega, 4, 300, LONG) for omega in (0, 99, 19)),
    *(("own", omega, 16, 100, SMALL) for omega in (0, 99, 19)),
)
# Those of Muon, on tasks whose parameters hold matrices.
WITHOUT_MATRICES = ("logistic", "regression")
MUON = (
    *(("own", omega, 4, 100, None) for omega in (0, 19, 99, 3)),
    *(("own", omega, 1, 100, None) for omega in (19, 0)),
    ("shared", 19, 4, 100, None),
    ("topk1", 0, 4, 100, None),
    *(("own", omega, 4, 300, LONG) for omega in (0, 19)),
)
BIASED = {
    "topk5": lambda: ErrorFeedback(TopK(fraction=0.05), step="outside"),
    "topk1": lambda: ErrorFeedback(TopK(fraction=0.01), step="outside"),
    "sign": Sign,
}


@dataclass(frozen=True)
class Cell:
    """`message` is "own", "shared", "qsgd", or a name in `BIASED`; `omega` counts for the first two."""

    task: str
    optimizer: str
    message: str
    omega: float
    agents: int
    horizon: int

    @property
    def name(self) -> str:
        """Of its file."""
        return "-".join(str(value) for value in asdict(self).values())

    @property
    def compressor(self) -> Compressor:
        """What a worker sends."""
        if self.message == "qsgd":
            return QSGD(levels=int(self.omega))
        if self.message in BIASED:
            return BIASED[self.message]()
        return RandomSparsification(omega=self.omega) if self.omega else Identity()

    @property
    def family(self) -> str:
        """Which row of the table it belongs to: what makes steps of signs is one."""
        return "sign" if self.message == "sign" or self.optimizer == "signum" else self.optimizer

    def noise(self, sizes: tuple[int, ...]) -> float:
        """s: ω/N of own masks, ω of a shared one, 0 of biased messages."""
        if self.message in BIASED:
            return 0.0
        omega = max(self.compressor.omega(size) for size in sizes)
        return omega if self.message == "shared" else omega / self.agents


def cells(tasks: list[str]) -> Iterator[Cell]:
    """All of them; tasks and optimizers alternate, so that a list that was cut off is still a fair one."""
    yield from _those_of(METHODS, FAMILIES, tasks)
    for (optimizer, message, omega), name in product(SIGNS, tasks):
        yield Cell(name, optimizer, message, omega, 4, 100)
    yield from _those_of(MUON, ("muon",), [name for name in tasks if name not in WITHOUT_MATRICES])


def _those_of(methods: tuple, optimizers: tuple[str, ...], tasks: list[str]) -> Iterator[Cell]:
    for (message, omega, agents, horizon, among), optimizer, name in product(methods, optimizers, tasks):
        if among is None or name in among:
            yield Cell(name, optimizer, message, omega, agents, horizon)
