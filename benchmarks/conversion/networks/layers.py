"""Blocks that several architectures share, and weights that no layer leaves at its start."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

CLASSES = 10
Activation = Callable[[], nn.Module]


def unit(
    inside: int, outside: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: Activation = nn.ReLU
) -> nn.Sequential:
    """Convolution, batch normalisation, activation."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
        act(),
    )


class SqueezeExcite(nn.Module):
    """Weighs channels by what their means say (Hu et al. 2018)."""

    def __init__(self, channels: int, hidden: int, act: Activation, gate: Activation) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            act(),
            nn.Conv2d(hidden, channels, 1),
            gate(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, H, W)` to the same."""
        scaled: Tensor = x * self.weigh(x)
        return scaled


class Residual(nn.Module):
    """Adds its input to what a block makes of it."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        total: Tensor = x + self.block(x)
        return total


def head(channels: int, dropout: float = 0.0) -> nn.Sequential:
    """Mean over positions and a linear layer."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, CLASSES)
    )


@torch.no_grad()
def disturb(network: nn.Module, size: int) -> nn.Module:
    """Give every weight a value of its own, as training does: an untouched layer would hide a wrong one.

    Statistics of batch normalisation are measured on noise, then moved.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not any(isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)) for module in network.modules()):
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                # Without normalisation torch's own start makes the signal vanish with depth.
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    for norm in norms:
        norm.momentum = None
    network.train()(torch.randn(16, 3, size, size))
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.add_(0.1 * torch.randn_like(norm.running_mean) * norm.running_var.sqrt())
        norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.8, 1.25))
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            weight.add_(0.05 * torch.randn_like(weight))
        elif weight.dim() == 1:
            weight.mul_(torch.empty_like(weight).uniform_(0.7, 1.3))
    return network.eval()
