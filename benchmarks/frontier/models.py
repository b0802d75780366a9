"""The models of the tasks, all of about 100,000 parameters."""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention


def convolutional(classes: int) -> nn.Module:
    """Of images of 8×8 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(512, 128),
        nn.GELU(),
        nn.Linear(128, classes),
    )


class Transformer(nn.Module):
    """Logits [B, T, letters] of the next letter, from letters [B, T]; without biases."""

    def __init__(self, letters: int, context: int, width: int = 64, layers: int = 2):
        super().__init__()
        self.letter, self.place = nn.Embedding(letters, width), nn.Embedding(context, width)
        self.layers = nn.Sequential(*(Layer(width) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width, bias=False), nn.Linear(width, letters, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.layers(self.letter(x) + self.place.weight)))


class Layer(nn.Module):
    """Causal attention, then two linear maps, each added to what comes in."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mixing = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.attend, self.project = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.widen, self.narrow = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before_attention(x))
        return x + self.narrow(gelu(self.widen(self.before_mixing(x))))

    def attention(self, x: Tensor) -> Tensor:
        query, key, value = self.attend(x).unflatten(-1, (3, self.heads, -1)).transpose(-4, -2).unbind(-3)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.project(mixed.transpose(-3, -2).flatten(-2))


class Reader(nn.Module):
    """Logits [B, classes] of a line of letters [B, T]: two convolutions, and the maximum over the line."""

    def __init__(self, letters: int, classes: int, width: int = 96):
        super().__init__()
        self.letter = nn.Embedding(letters, 32)
        self.near, self.far = nn.Conv1d(32, width, 5, stride=2), nn.Conv1d(width, width, 5, stride=2)
        self.mix, self.head = nn.Linear(width, 128), nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = gelu(self.near(self.letter(x).transpose(1, 2)))
        return self.head(gelu(self.mix(gelu(self.far(x)).amax(-1))))


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """What Muon takes: the weights of linear layers but the last; embeddings, convolutions and vectors are AdamW's."""
    linear = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    return linear[:-1]


def seeded(make, seed: int) -> nn.Module:
    """A model with the start of this seed, whatever the global generator holds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
