"""Architectures of published classifiers in plain torch, structure kept, inputs made small."""

from __future__ import annotations

from torch import nn

from networks.attention import MaxViT, Swin, ViT
from networks.layers import disturb
from networks.mobile import EfficientNet, MnasNet, MobileNetV2, MobileNetV3, ShuffleNetV2
from networks.plain import VGG, AlexNet, DenseNet, GoogLeNet, Inception, SqueezeNet
from networks.residual import ConvNeXt, RegNet, ResNet

NETWORKS: dict[str, tuple[type[nn.Module], tuple[object, ...], int]] = {
    "resnet18": (ResNet, (18,), 64),
    "resnet50": (ResNet, (50,), 64),
    "vgg11": (VGG, (), 64),
    "alexnet": (AlexNet, (), 96),
    "squeezenet": (SqueezeNet, (), 96),
    "densenet": (DenseNet, (), 64),
    "googlenet": (GoogLeNet, (), 64),
    "inception": (Inception, (), 96),
    "mobilenet_v2": (MobileNetV2, (), 64),
    "mobilenet_v3": (MobileNetV3, (), 64),
    "mnasnet": (MnasNet, (), 64),
    "shufflenet_v2": (ShuffleNetV2, (), 64),
    "efficientnet_b0": (EfficientNet, (), 64),
    "regnet_y": (RegNet, (), 64),
    "convnext": (ConvNeXt, (), 64),
    "vit": (ViT, (), 64),
    "swin": (Swin, (), 64),
    "maxvit": (MaxViT, (), 64),
}
"""Name to class, its arguments, and the height and width of its input."""


def build(name: str, seed: int = 0) -> tuple[nn.Module, int]:
    """A network in evaluation mode with weights of its own, and the height and width of its input.

    Args:
        name: Key of `NETWORKS`.
        seed: Of the weights.
    """
    import torch

    kind, arguments, size = NETWORKS[name]
    torch.manual_seed(seed)
    return disturb(kind(*arguments), size), size


__all__ = ["NETWORKS", "build"]
