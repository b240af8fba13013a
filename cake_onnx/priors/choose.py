"""Which prior fits a teacher nobody described."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cake_onnx.errors import UsageError
from cake_onnx.graph.specs import InputSpec
from cake_onnx.priors.base import Prior, ValueRange
from cake_onnx.priors.image import ImagePrior
from cake_onnx.priors.outside import OutsidePrior
from cake_onnx.priors.vector import GaussianPrior, TabularPrior, UniformPrior

#: Lag-one correlation of the teacher's sensitivity map from which a flat input is taken for a picture.
IMAGE_CORRELATION = 0.35
_NAMED = "it was named by --prior"


def build_prior(choice: str, spec: InputSpec, teacher: nn.Module) -> tuple[Prior, str]:
    """Build the prior a user named, or the one the teacher suggests.

    Args:
        choice: `auto`, `image`, `gaussian`, `uniform`, `tabular` or `package.module:factory`.
        spec: The teacher's input.
        teacher: `(B, *shape)` to `(B, K)`; asked only for `auto` on flat inputs.

    Returns:
        The prior and why it was taken, for people.

    Raises:
        UsageError: `image` was named for an input that cannot be an image, or a factory builds no prior.
    """
    if choice == "auto":
        return _choose(spec, teacher)
    if choice == "image":
        shape = spec.image_shape or spec.square
        if shape is None:
            raise UsageError(
                "an input with image axes, or flat with a square number of values for `--prior image`",
                f"{spec.name} of shape {list(spec.shape)}",
                "use `--prior tabular` or leave `--prior auto`",
            )
        return ImagePrior(spec, shape), _NAMED
    if ":" in choice:
        return OutsidePrior(choice, spec), "it is what a function of yours builds"
    kinds: dict[str, Callable[[InputSpec], Prior]] = {
        "gaussian": GaussianPrior,
        "uniform": UniformPrior,
        "tabular": TabularPrior,
    }
    return kinds[choice](spec), _NAMED


def _choose(spec: InputSpec, teacher: nn.Module) -> tuple[Prior, str]:
    if spec.image_shape is not None:
        return ImagePrior(spec, spec.image_shape), f"the input is laid out as an image ({spec.layout})"
    square = spec.square
    if square is not None and looks_like_flattened_image(teacher, spec, square):
        _, height, width = square
        return ImagePrior(
            spec, square
        ), f"the teacher is as sensitive to a value as to its neighbours in {height}x{width}"
    return TabularPrior(spec), "the input is a vector without visible geometry"


def looks_like_flattened_image(
    teacher: nn.Module, spec: InputSpec, image_shape: tuple[int, int, int]
) -> bool:
    """Tell a flattened picture from a table: is the teacher as sensitive to a value as to its neighbours?

    The mean absolute gradient of the winning logit is a map over the inputs. In a picture neighbouring
    pixels matter alike, so the map correlates with itself moved by one, down and across; the columns of a
    table have no such order.

    Args:
        teacher: `(B, *shape)` to `(B, K)`.
        spec: A flat input.
        image_shape: `(channels, height, width)` to try.

    Returns:
        True if both correlations pass `IMAGE_CORRELATION`.
    """
    generator = torch.Generator().manual_seed(0)
    x = ValueRange.of(spec).from_unit(torch.rand(128, *spec.shape, generator=generator)).requires_grad_()
    (gradient,) = torch.autograd.grad(teacher(x).max(1).values.sum(), x)
    scaled = gradient.abs() * ValueRange.of(spec).span
    saliency = scaled.mean(0).view(image_shape).mean(0)
    return (
        min(_correlation(saliency[1:], saliency[:-1]), _correlation(saliency[:, 1:], saliency[:, :-1]))
        > IMAGE_CORRELATION
    )


def _correlation(a: Tensor, b: Tensor) -> float:
    value = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
    return float(torch.nan_to_num(value))
