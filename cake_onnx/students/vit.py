"""Small vision transformers (Dosovitskiy et al. 2021), attention spelt out in plain operators."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from cake_onnx.graph.specs import InputSpec
from cake_onnx.students.entrance import image_entrance
from cake_onnx.students.family import FAMILIES, needs_image

_DEPTH = 4
_FEWEST_TOKENS, _MOST_TOKENS = 16, 64


class Tokens(nn.Module):
    """Cuts an image into patches and gives each its vector and its learned position.

    Args:
        image: `(C, H, W)`.
        dim: Length D of a token.
    """

    def __init__(self, image: tuple[int, int, int], dim: int) -> None:
        super().__init__()
        channels, *size = image
        patch = patch_size((size[0], size[1]))
        counts = tuple(math.ceil(side / step) for side, step in zip(size, patch, strict=True))
        # Half of what is missing to whole patches, rounded up: the other edge then never needs more.
        missing = (count * step - side for count, step, side in zip(counts, patch, size, strict=True))
        rows, columns = ((gap + 1) // 2 for gap in missing)
        self.embed = nn.Conv2d(channels, dim, patch, stride=patch, padding=(rows, columns))
        self.position = nn.Parameter(torch.randn(1, math.prod(counts), dim) * 0.02)

    def forward(self, image: Tensor) -> Tensor:
        """`(B, C, H, W)` → `(B, T, D)`."""
        tokens: Tensor = self.embed(image).flatten(2).transpose(1, 2) + self.position
        return tokens


class Attention(nn.Module):
    """Multi-head self-attention by two products and a softmax.

    Args:
        dim: Length D of a token, a multiple of `heads`.
        heads: Number of heads H.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(dim // heads)
        self.queries_keys_values = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, T, D)` → `(B, T, D)`."""
        split = self.queries_keys_values(tokens).unflatten(2, (3, self.heads, -1))  # (B, T, 3, H, D/H)
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, D/H)
        weights = (queries @ keys.transpose(2, 3) * self.scale).softmax(dim=-1)  # (B, H, T, T)
        mixed: Tensor = self.out((weights @ values).transpose(1, 2).flatten(2))
        return mixed


class Layer(nn.Module):
    """Attention, then a network on each token, both behind a normalisation and added to what came in.

    Args:
        dim: Length D of a token.
        heads: Number of heads.
        hidden: Neurons of the network on each token.
    """

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.before_network = nn.LayerNorm(dim)
        self.network = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, T, D)` → `(B, T, D)`."""
        tokens = tokens + self.attention(self.before_attention(tokens))
        mixed: Tensor = tokens + self.network(self.before_network(tokens))
        return mixed


class TokenMean(nn.Module):
    """`(B, T, D)` → `(B, D)`: as good as a class token in small transformers, and one token cheaper."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Mean over the tokens."""
        return tokens.mean(dim=1)


@FAMILIES.register("vit")
class Vit:
    """Patches, four pre-norm layers, the mean over the tokens, the classes."""

    name: ClassVar[str] = "vit"

    def unfit(self, input: InputSpec) -> str | None:
        """A phrase for flat inputs."""
        return needs_image(input, self.name)

    def build(self, input: InputSpec, classes: int, width: float) -> nn.Module:
        """A network `(B, *shape)` → `(B, K)`; see `Family.build`. Width 1 is 32 numbers a token."""
        assert input.image_shape is not None
        dim, heads, hidden = token_sizes(width)
        layers: list[nn.Module] = [*image_entrance(input), Tokens(input.image_shape, dim)]
        layers += [Layer(dim, heads, hidden) for _ in range(_DEPTH)]
        module = nn.Sequential(*layers, nn.LayerNorm(dim), TokenMean(), nn.Linear(dim, classes))
        _initialise(module)
        return module


def token_sizes(width: float) -> tuple[int, int, int]:
    """`(dim, heads, hidden)`: 8, 2, 16 at width 0 and 32, 4, 64 at width 1.

    `dim` can only grow by whole heads; `hidden`, about twice as much, grows by ones between.
    """
    wanted = 8 + 24 * width
    heads = 2 if wanted < 32 else 4 if wanted < 128 else 8
    return int(wanted) // heads * heads, heads, int(2 * wanted)


def patch_size(size: tuple[int, int]) -> tuple[int, int]:
    """The patch `(height, width)` that cuts an image into 16 to 64 tokens.

    Among the patches that do, the largest that leaves no rest, else the largest: attention costs with the
    square of the number of tokens. Images of less than 16 pixels get a token a pixel.

    Args:
        size: `(H, W)` of the image.
    """
    whole = largest = (1, 1)
    for side in range(1, max(size) + 1):
        patch = (min(side, size[0]), min(side, size[1]))
        count = math.ceil(size[0] / patch[0]) * math.ceil(size[1] / patch[1])
        if _FEWEST_TOKENS <= count <= _MOST_TOKENS:
            largest = patch
            if size[0] % patch[0] == 0 and size[1] % patch[1] == 0:
                whole = patch
    return whole if whole != (1, 1) else largest


def _initialise(module: nn.Module) -> None:
    # Unit-variance sums everywhere; what each layer adds is shrunk so that the 2 * depth sums stay near one.
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.weight[0].numel()))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for layer in module.modules():
        if isinstance(layer, Layer):
            layer.attention.out.weight.data.mul_(1 / math.sqrt(2 * _DEPTH))
            last = layer.network[2]
            assert isinstance(last, nn.Linear)
            last.weight.data.mul_(1 / math.sqrt(2 * _DEPTH))
