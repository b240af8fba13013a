"""Networks for telephones: MobileNet-v2 and -v3, MNASNet, ShuffleNet-v2, EfficientNet."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from networks.layers import CLASSES, Activation, Residual, SqueezeExcite, head, unit


def _inverted(
    inside: int,
    outside: int,
    hidden: int,
    kernel: int,
    stride: int,
    act: Activation,
    squeeze: nn.Module | None,
) -> nn.Module:
    layers: list[nn.Module] = [unit(inside, hidden, 1, act=act)] if hidden != inside else []
    layers.append(unit(hidden, hidden, kernel, stride, hidden, act))
    layers += [squeeze] if squeeze else []
    block = nn.Sequential(*layers, unit(hidden, outside, 1, act=nn.Identity))
    return Residual(block) if stride == 1 and inside == outside else block


class MobileNetV2(nn.Sequential):
    """MobileNet-v2 (Sandler et al. 2018)."""

    def __init__(self) -> None:
        plan = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2)]
        layers: list[nn.Module] = [unit(3, 32, 3, 2, act=nn.ReLU6)]
        inside = 32
        for factor, width, count, stride in [*plan, (6, 320, 1, 1)]:
            for i in range(count):
                step = stride if i == 0 else 1
                layers.append(_inverted(inside, width, factor * inside, 3, step, nn.ReLU6, None))
                inside = width
        super().__init__(*layers, unit(inside, 1280, 1, act=nn.ReLU6), head(1280, 0.2))


class MobileNetV3(nn.Sequential):
    """MobileNet-v3 small (Howard et al. 2019)."""

    def __init__(self) -> None:
        plan = [
            *((3, 16, 16, True, nn.ReLU, 2), (3, 72, 24, False, nn.ReLU, 2), (3, 88, 24, False, nn.ReLU, 1)),
            *((5, 96, 40, True, nn.Hardswish, 2), (5, 240, 40, True, nn.Hardswish, 1)),
            *((5, 240, 40, True, nn.Hardswish, 1), (5, 120, 48, True, nn.Hardswish, 1)),
            *((5, 144, 48, True, nn.Hardswish, 1), (5, 288, 96, True, nn.Hardswish, 2)),
            *((5, 576, 96, True, nn.Hardswish, 1), (5, 576, 96, True, nn.Hardswish, 1)),
        ]
        layers: list[nn.Module] = [unit(3, 16, 3, 2, act=nn.Hardswish)]
        inside = 16
        for kernel, hidden, width, squeezes, act, stride in plan:
            squeeze = (
                SqueezeExcite(hidden, max(8, hidden // 4), nn.ReLU, nn.Hardsigmoid) if squeezes else None
            )
            layers.append(_inverted(inside, width, hidden, kernel, stride, act, squeeze))
            inside = width
        layers += [unit(inside, 576, 1, act=nn.Hardswish), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(
            *layers, nn.Linear(576, 1024), nn.Hardswish(), nn.Dropout(), nn.Linear(1024, CLASSES)
        )


class MnasNet(nn.Sequential):
    """MNASNet 0.5 (Tan et al. 2019)."""

    def __init__(self) -> None:
        plan = [(3, 3, 16, 3, 2), (3, 5, 24, 3, 2), (6, 5, 40, 3, 2), (6, 3, 48, 2, 1), (6, 5, 96, 4, 2)]
        layers: list[nn.Module] = [unit(3, 16, 3, 2), unit(16, 16, 3, 1, 16), unit(16, 8, 1, act=nn.Identity)]
        inside = 8
        for factor, kernel, width, count, stride in [*plan, (6, 3, 160, 1, 1)]:
            for i in range(count):
                step = stride if i == 0 else 1
                layers.append(_inverted(inside, width, factor * inside, kernel, step, nn.ReLU, None))
                inside = width
        super().__init__(*layers, unit(inside, 1280, 1), head(1280, 0.2))


class _ShuffleUnit(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.stride, half = stride, outside // 2
        start = inside if stride == 2 else half
        self.left = nn.Sequential(
            unit(inside, inside, 3, 2, inside, nn.Identity), unit(inside, half, 1)
        ) if stride == 2 else nn.Identity()  # fmt: skip
        self.right = nn.Sequential(
            unit(start, half, 1), unit(half, half, 3, stride, half, nn.Identity), unit(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second = (x, x) if self.stride == 2 else x.chunk(2, dim=1)
        joined = torch.cat([self.left(first), self.right(second)], dim=1)
        b, c, h, w = joined.shape
        return joined.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


class ShuffleNetV2(nn.Sequential):
    """ShuffleNet-v2 0.5 (Ma et al. 2018): halves of the channels, shuffled."""

    def __init__(self) -> None:
        layers: list[nn.Module] = [unit(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
        for (inside, width), count in zip(pairwise((24, 48, 96, 192)), (4, 8, 4), strict=True):
            layers.append(_ShuffleUnit(inside, width, 2))
            layers += [_ShuffleUnit(width, width, 1) for _ in range(count - 1)]
        super().__init__(*layers, unit(192, 1024, 1), head(1024))


class EfficientNet(nn.Sequential):
    """EfficientNet-B0 (Tan and Le 2019)."""

    def __init__(self) -> None:
        plan = [
            *((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2)),
            *((6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1)),
        ]
        layers: list[nn.Module] = [unit(3, 32, 3, 2, act=nn.SiLU)]
        inside = 32
        for factor, kernel, width, count, stride in plan:
            for i in range(count):
                hidden = factor * inside
                squeeze = SqueezeExcite(hidden, inside // 4, nn.SiLU, nn.Sigmoid)
                step = stride if i == 0 else 1
                layers.append(_inverted(inside, width, hidden, kernel, step, nn.SiLU, squeeze))
                inside = width
        super().__init__(*layers, unit(inside, 1280, 1, act=nn.SiLU), head(1280, 0.2))
