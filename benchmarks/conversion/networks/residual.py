"""Networks of residual blocks: ResNet, RegNet, ConvNeXt."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from networks.layers import Residual, SqueezeExcite, head, unit


class _Block(nn.Module):
    """A path, a shortcut, and a ReLU after their sum."""

    def __init__(self, path: nn.Module, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.path = path
        same = stride == 1 and inside == outside
        self.shortcut = nn.Identity() if same else unit(inside, outside, 1, stride, act=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.path(x) + self.shortcut(x)
        return total.relu()


def _basic(inside: int, width: int, stride: int) -> _Block:
    path = nn.Sequential(unit(inside, width, 3, stride), unit(width, width, act=nn.Identity))
    return _Block(path, inside, width, stride)


def _bottleneck(inside: int, width: int, stride: int) -> _Block:
    path = nn.Sequential(
        unit(inside, width, 1), unit(width, width, 3, stride), unit(width, 4 * width, 1, act=nn.Identity)
    )
    return _Block(path, inside, 4 * width, stride)


class ResNet(nn.Sequential):
    """ResNet-18 or ResNet-50 (He et al. 2016)."""

    def __init__(self, depth: int) -> None:
        make, factor = (_basic, 1) if depth == 18 else (_bottleneck, 4)
        layers: list[nn.Module] = [unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
        inside = 64
        blocks = (2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3)
        for index, count in enumerate(blocks):
            width = 64 * 2**index
            for i in range(count):
                layers.append(make(inside, width, 2 if i == 0 and index else 1))
                inside = factor * width
        super().__init__(*layers, head(inside))


class RegNet(nn.Sequential):
    """RegNetY-400MF (Radosavovic et al. 2020): grouped convolutions and squeeze-and-excitation."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [unit(3, 32, 3, 2)]
        inside, group = 32, 8
        for width, count in zip((48, 104, 208, 440), (1, 3, 6, 6), strict=True):
            for i in range(count):
                stride = 2 if i == 0 else 1
                path = nn.Sequential(
                    unit(inside, width, 1),
                    unit(width, width, 3, stride, groups=width // group),
                    SqueezeExcite(width, inside // 4, nn.ReLU, nn.Sigmoid),
                    unit(width, width, 1, act=nn.Identity),
                )
                layers.append(_Block(path, inside, width, stride))
                inside = width
        super().__init__(*layers, head(inside))


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of `(B, C, H, W)`."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _ConvNeXtBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mix = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(torch.full((width, 1, 1), 0.5) + 0.1 * torch.randn(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.mix(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        scaled: Tensor = mixed.permute(0, 3, 1, 2) * self.scale
        return scaled


class ConvNeXt(nn.Sequential):
    """ConvNeXt (Liu et al. 2022), as deep as Tiny and half as wide."""

    def __init__(self) -> None:
        widths, layers = (48, 96, 192, 384), [nn.Conv2d(3, 48, 4, 4), _ChannelNorm(48, eps=1e-6)]
        stages: list[nn.Module] = [*layers]
        for index, count in enumerate((3, 3, 9, 3)):
            if index:
                stages.append(_ChannelNorm(widths[index - 1], eps=1e-6))
                stages.append(nn.Conv2d(widths[index - 1], widths[index], 2, 2))
            stages += [Residual(_ConvNeXtBlock(widths[index])) for _ in range(count)]
        pool = [nn.AdaptiveAvgPool2d(1), _ChannelNorm(384, eps=1e-6)]
        super().__init__(*stages, *pool, nn.Flatten(), nn.Linear(384, 10))
