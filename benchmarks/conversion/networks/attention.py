"""Networks of attention: ViT, Swin with shifted windows, MaxViT with windows and grids."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from networks.layers import CLASSES, Residual, SqueezeExcite, unit


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class ViT(nn.Module):
    """Vision transformer (Dosovitskiy et al. 2021) of torch's own encoder layers, normalised first."""

    def __init__(
        self, width: int = 192, depth: int = 6, heads: int = 3, patch: int = 8, size: int = 64
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2 + 1, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.1, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, 3, H, W)` to `(B, K)`."""
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], dim=1) + self.places
        logits: Tensor = self.head(self.encoder(tokens)[:, 0])
        return logits


class _WindowAttention(nn.Module):
    """Attention among the `side * side` positions of each window, with a bias for each relative position."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.table = nn.Parameter(0.5 * torch.randn((2 * side - 1) ** 2, heads))
        places = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        apart = (places[:, :, None] - places[:, None, :]) + side - 1
        self.register_buffer("index", apart[0] * (2 * side - 1) + apart[1], persistent=False)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        b, n, c = windows.shape
        qkv = self.qkv(windows).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = (q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)
        index: Tensor = self.get_buffer("index")
        weights = weights + self.table[index.reshape(-1)].reshape(n, n, -1).permute(2, 0, 1)
        if mask is not None:
            count = len(mask)
            weights = weights.reshape(b // count, count, self.heads, n, n) + mask[:, None]
            weights = weights.reshape(b, self.heads, n, n)
        mixed = (weights.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c)
        result: Tensor = self.out(mixed)
        return result


def _to_windows(x: Tensor, side: int) -> Tensor:
    b, h, w, c = x.shape
    parts = x.view(b, h // side, side, w // side, side, c).permute(0, 1, 3, 2, 4, 5)
    return parts.reshape(-1, side * side, c)


def _from_windows(windows: Tensor, side: int, h: int, w: int) -> Tensor:
    parts = windows.reshape(-1, h // side, w // side, side, side, windows.shape[-1])
    return parts.permute(0, 1, 3, 2, 4, 5).reshape(-1, h, w, windows.shape[-1])


def _shift_mask(size: int, side: int, shift: int) -> Tensor:
    """Forbids attention between parts that only the shift has brought into one window."""
    regions = torch.zeros(1, size, size, 1)
    bands = (slice(0, -side), slice(-side, -shift), slice(-shift, None))
    for i, rows in enumerate(bands):
        for j, columns in enumerate(bands):
            regions[:, rows, columns] = 3 * i + j
    flat = _to_windows(regions, side).squeeze(-1)
    return (flat[:, None, :] != flat[:, :, None]).float() * -100.0


class _SwinBlock(nn.Module):
    def __init__(self, width: int, heads: int, size: int, side: int, shift: int) -> None:
        super().__init__()
        self.side, self.shift = side, shift
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _WindowAttention(width, heads, side)
        self.mlp = _mlp(width)
        self.register_buffer("mask", _shift_mask(size, side, shift) if shift else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        _, h, w, _ = x.shape
        y = self.first(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        mask = self.get_buffer("mask") if self.shift else None
        y = _from_windows(self.attention(_to_windows(y, self.side), mask), self.side, h, w)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y
        result: Tensor = x + self.mlp(self.second(x))
        return result


class _Merge(nn.Module):
    """Every two by two positions become one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        merged: Tensor = self.mix(self.norm(torch.cat(parts, dim=-1)))
        return merged


class Swin(nn.Module):
    """Swin transformer (Liu et al. 2021): windows, every second time shifted, with relative position bias."""

    def __init__(self, width: int = 48, side: int = 4, size: int = 64) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.norm = nn.LayerNorm(width)
        size //= 4
        layers: list[nn.Module] = []
        for index, (depth, heads) in enumerate(zip((2, 2, 4), (3, 6, 12), strict=True)):
            if index:
                layers.append(_Merge(width))
                width, size = 2 * width, size // 2
            for i in range(depth):
                shift = side // 2 if i % 2 and size > side else 0
                layers.append(_SwinBlock(width, heads, size, side, shift))
        self.layers = nn.Sequential(*layers)
        self.last, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, 3, H, W)` to `(B, K)`."""
        x = self.layers(self.norm(self.patches(x).permute(0, 2, 3, 1)))
        logits: Tensor = self.head(self.last(x).mean(dim=(1, 2)))
        return logits


class _Partition(nn.Module):
    """Attention in windows of neighbours, or on a grid of positions far apart; then two dense layers."""

    def __init__(self, width: int, heads: int, side: int, *, grid: bool) -> None:
        super().__init__()
        self.side, self.grid = side, grid
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _WindowAttention(width, heads, side)
        self.mlp = _mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        s = self.side
        y = self.first(x)
        if self.grid:
            y = y.view(b, s, h // s, s, w // s, c).permute(0, 2, 4, 1, 3, 5).reshape(-1, s * s, c)
            y = self.attention(y).reshape(b, h // s, w // s, s, s, c)
            y = y.permute(0, 3, 1, 4, 2, 5).reshape(b, h, w, c)
        else:
            y = _from_windows(self.attention(_to_windows(y, s)), s, h, w)
        x = x + y
        result: Tensor = x + self.mlp(self.second(x))
        return result


class _MaxBlock(nn.Module):
    def __init__(self, inside: int, width: int, stride: int, side: int) -> None:
        super().__init__()
        hidden = 4 * width
        convolution = nn.Sequential(
            *(nn.BatchNorm2d(inside), unit(inside, hidden, 1, act=nn.GELU)),
            *(unit(hidden, hidden, 3, stride, hidden, nn.GELU),),
            *(SqueezeExcite(hidden, width // 4, nn.SiLU, nn.Sigmoid), nn.Conv2d(hidden, width, 1)),
        )
        same = stride == 1 and inside == width
        self.convolution = Residual(convolution) if same else convolution
        self.window = _Partition(width, width // 16, side, grid=False)
        self.grid = _Partition(width, width // 16, side, grid=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x).permute(0, 2, 3, 1)
        result: Tensor = self.grid(self.window(y)).permute(0, 3, 1, 2)
        return result


class MaxViT(nn.Sequential):
    """A short MaxViT (Tu et al. 2022): in each block a convolution, window attention and grid attention."""

    def __init__(self, side: int = 4) -> None:
        layers: list[nn.Module] = [unit(3, 32, 3, 2, act=nn.GELU), nn.Conv2d(32, 32, 3, padding=1)]
        inside = 32
        for width in (32, 64, 128):
            for i in range(2):
                layers.append(_MaxBlock(inside, width, 2 if i == 0 else 1, side))
                inside = width
        pool = [
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.LayerNorm(inside),
            nn.Linear(inside, inside),
            nn.Tanh(),
        ]
        super().__init__(*layers, *pool, nn.Linear(inside, CLASSES, bias=False))
