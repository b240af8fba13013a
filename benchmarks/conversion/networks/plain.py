"""Chains and bundles of convolutions: VGG, AlexNet, SqueezeNet, DenseNet, GoogLeNet, Inception."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from networks.layers import CLASSES, head, unit


class VGG(nn.Sequential):
    """VGG-11 without batch normalisation (Simonyan and Zisserman 2015); its dense layers are narrower."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        inside = 3
        for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
            if width:
                layers += [nn.Conv2d(inside, width, 3, padding=1), nn.ReLU()]
                inside = width
            else:
                layers.append(nn.MaxPool2d(2))
        dense = [nn.Linear(2048, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout()]
        super().__init__(*layers, nn.Flatten(), *dense, nn.Linear(512, CLASSES))


class AlexNet(nn.Sequential):
    """AlexNet in one tower (Krizhevsky 2014); its dense layers are narrower."""

    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten()),
            *(nn.Dropout(), nn.Linear(1024, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512), nn.ReLU()),
            nn.Linear(512, CLASSES),
        )


class _Fire(nn.Module):
    def __init__(self, inside: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inside, narrow, 1)
        self.one = nn.Conv2d(narrow, wide, 1)
        self.three = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.one(x).relu(), self.three(x).relu()], dim=1)


class SqueezeNet(nn.Sequential):
    """SqueezeNet 1.1 (Iandola et al. 2016): pools round up, classes come from a convolution."""

    def __init__(self) -> None:
        def pool() -> nn.MaxPool2d:
            return nn.MaxPool2d(3, 2, ceil_mode=True)

        super().__init__(
            *(nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool()),
            *(_Fire(64, 16, 64), _Fire(128, 16, 64), pool()),
            *(_Fire(128, 32, 128), _Fire(256, 32, 128), pool()),
            *(_Fire(256, 48, 192), _Fire(384, 48, 192), _Fire(384, 64, 256), _Fire(512, 64, 256)),
            *(nn.Dropout(), nn.Conv2d(512, CLASSES, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        )


class _DenseLayer(nn.Module):
    def __init__(self, inside: int, growth: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *(nn.BatchNorm2d(inside), nn.ReLU(), nn.Conv2d(inside, 4 * growth, 1, bias=False)),
            *(nn.BatchNorm2d(4 * growth), nn.ReLU()),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.block(x)], dim=1)


class DenseNet(nn.Sequential):
    """DenseNet-121 with half the growth (Huang et al. 2017)."""

    def __init__(self) -> None:
        growth, width = 16, 32
        layers: list[nn.Module] = [
            *(nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            nn.MaxPool2d(3, 2, 1),
        ]
        for index, depth in enumerate((6, 12, 24, 16)):
            if index:
                layers += [nn.BatchNorm2d(width), nn.ReLU()]
                layers += [nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)]
                width //= 2
            for _ in range(depth):
                layers.append(_DenseLayer(width, growth))
                width += growth
        super().__init__(*layers, nn.BatchNorm2d(width), nn.ReLU(), head(width))


class _Bundle(nn.Module):
    """Branches side by side, joined over channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def _inception(inside: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> _Bundle:
    return _Bundle(
        unit(inside, one, 1),
        nn.Sequential(unit(inside, three[0], 1), unit(*three, 3)),
        nn.Sequential(unit(inside, five[0], 1), unit(*five, 3)),
        nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), unit(inside, pool, 1)),
    )


class GoogLeNet(nn.Sequential):
    """GoogLeNet with batch normalisation and without its side exits (Szegedy et al. 2015)."""

    def __init__(self) -> None:
        super().__init__(
            *(unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), unit(64, 64, 1), unit(64, 192)),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            _inception(192, 64, (96, 128), (16, 32), 32),
            _inception(256, 128, (128, 192), (32, 96), 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            _inception(480, 192, (96, 208), (16, 48), 64),
            _inception(512, 160, (112, 224), (24, 64), 64),
            _inception(512, 128, (128, 256), (24, 64), 64),
            _inception(512, 112, (144, 288), (32, 64), 64),
            _inception(528, 256, (160, 320), (32, 128), 128),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            _inception(832, 256, (160, 320), (32, 128), 128),
            _inception(832, 384, (192, 384), (48, 128), 128),
            head(1024, 0.2),
        )


def _oblong(inside: int, outside: int, height: int, width: int) -> nn.Sequential:
    padding = (height // 2, width // 2)
    convolution = nn.Conv2d(inside, outside, (height, width), padding=padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside, eps=1e-3), nn.ReLU())


class Inception(nn.Sequential):
    """A short Inception-v3 (Szegedy et al. 2016): oblong kernels, mean pools, halving branches."""

    def __init__(self) -> None:
        def mean(inside: int, outside: int) -> nn.Sequential:
            return nn.Sequential(nn.AvgPool2d(3, 1, 1), unit(inside, outside, 1))

        seven = nn.Sequential(unit(352, 64, 1), _oblong(64, 64, 1, 7), _oblong(64, 96, 7, 1))
        split = nn.Sequential(unit(288, 192, 1), _Bundle(_oblong(192, 96, 1, 3), _oblong(192, 96, 3, 1)))
        super().__init__(
            *(nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, eps=1e-3), nn.ReLU()),
            *(unit(32, 64), nn.MaxPool2d(3, 2)),
            _Bundle(unit(64, 64, 1), nn.Sequential(unit(64, 48, 1), unit(48, 64, 5)), mean(64, 32)),
            _Bundle(unit(160, 192, 3, 2), nn.MaxPool2d(3, 2, 1)),
            _Bundle(unit(352, 96, 1), seven, mean(352, 96)),
            _Bundle(unit(288, 96, 1), split, mean(288, 96)),
            head(384, 0.5),
        )
