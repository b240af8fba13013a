"""Which prior fits a teacher nobody described."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cake_onnx.errors import UsageError
from cake_onnx.graph.specs import InputSpec
from cake_onnx.priors.base import Prior, ValueRange
from cake_onnx.priors.image import ImagePrior
from cake_onnx.priors.outside import OutsidePrior
from cake_onnx.priors.series import SeriesPrior
from cake_onnx.priors.vector import GaussianPrior, TabularPrior, UniformPrior

#: Lag-one correlation of the teacher's sensitivity map from which a flat input is taken for a picture.
IMAGE_CORRELATION = 0.35
SHORTEST_SERIES = 8
"""Values along its longer axis from which an input of two axes is taken for a series."""
SHORTEST_FLAT_SERIES = 32
"""Values from which one of a single axis may be: among fewer, neighbours are alike by chance too often."""
_NAMED = "it was named by --prior"


def build_prior(choice: str, spec: InputSpec, teacher: nn.Module | None) -> tuple[Prior, str]:
    """Build the prior a user named, or the one the teacher suggests.

    Args:
        choice: `auto`, `image`, `series`, `gaussian`, `uniform`, `tabular` or `package.module:factory`.
        spec: The teacher's input.
        teacher: `(B, *shape)` to `(B, K)`; asked only where a flat input may be a picture or has two axes.
            None for one without a gradient: what shapes leave open is a table, and the longer axis time.

    Returns:
        The prior and why it was taken, for people.

    Raises:
        UsageError: An input cannot be what was named, `image` or `series`, or a factory builds no prior.
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
    if choice == "series":
        return SeriesPrior(spec, _time_axis(spec, teacher)), _NAMED
    if ":" in choice:
        return OutsidePrior(choice, spec), "it is what a function of yours builds"
    kinds: dict[str, Callable[[InputSpec], Prior]] = {
        "gaussian": GaussianPrior,
        "uniform": UniformPrior,
        "tabular": TabularPrior,
    }
    return kinds[choice](spec), _NAMED


def _choose(spec: InputSpec, teacher: nn.Module | None) -> tuple[Prior, str]:
    if spec.image_shape is not None:
        return ImagePrior(spec, spec.image_shape), f"the input is laid out as an image ({spec.layout})"
    square, flat_series = spec.square, len(spec.shape) == 1 and spec.shape[0] >= SHORTEST_FLAT_SERIES
    if teacher is not None and (square or flat_series):
        slopes = sensitivity(teacher, spec)
        if square and looks_like_flattened_image(slopes, square):
            said = f"the teacher is as sensitive to a value as to its neighbours in {square[1]}x{square[2]}"
            return ImagePrior(spec, square), said
        if flat_series and _goes_on(slopes):
            return SeriesPrior(spec, 0), "the teacher is as sensitive to a value as to its neighbours"
    if len(spec.shape) == 2 and max(spec.shape) >= SHORTEST_SERIES:
        axis = _time_axis(spec, teacher)
        length, channels = spec.shape[axis], spec.shape[1 - axis]
        said = "1 channel" if channels == 1 else f"{channels} channels"
        return SeriesPrior(spec, axis), f"the input has two axes: {length} time steps of {said}"
    return TabularPrior(spec), "the input is a vector without visible geometry"


def _time_axis(spec: InputSpec, teacher: nn.Module | None) -> int:
    """Which axis of a flat input is time: along it neighbours change an answer alike, across it they do not.

    Raises:
        UsageError: The input cannot be a series.
    """
    if spec.layout != "flat" or len(spec.shape) > 2 or max(spec.shape) < 2:
        raise UsageError(
            "an input of one axis or two for `--prior series`, time alone or time and channels",
            f"{spec.name} of shape {list(spec.shape)}",
            "leave `--prior auto`",
        )
    if teacher is None or min(spec.shape) == 1 or len(spec.shape) == 1:
        return spec.shape.index(max(spec.shape))
    slopes = sensitivity(teacher, spec)
    alike = [_alignment(*_moved(slopes, axis)) for axis in (1, 2)]
    return alike.index(max(alike))


def _goes_on(slopes: Tensor) -> bool:
    """Whether neighbours in an input of one axis matter alike, and change an answer alike."""
    saliency = slopes.abs().mean(0)
    alike = _correlation(*_moved(saliency, 0)), _alignment(*_moved(slopes, 1))
    return min(alike) > IMAGE_CORRELATION


def looks_like_flattened_image(slopes: Tensor, image_shape: tuple[int, int, int]) -> bool:
    """Tell a flattened picture from a table: is the teacher as sensitive to a value as to its neighbours?

    The mean absolute gradient of the winning logit is a map over the inputs. In a picture neighbouring
    pixels matter alike, so the map correlates with itself moved by one, down and across; the columns of a
    table have no such order. A series that is cut into rows has one across alone: half a row away lies what
    is nearer than what is below, where in a picture it is further.

    Args:
        slopes: `sensitivity` of a flat input, `(B, D)`.
        image_shape: `(channels, height, width)` to try, D values in all.

    Returns:
        True if both correlations pass `IMAGE_CORRELATION`, and that half a row away is less than that below.
    """
    saliency = slopes.abs().mean(0).view(image_shape).mean(0)
    down, across = (_correlation(*_moved(saliency, axis)) for axis in (0, 1))
    half_a_row = _correlation(*_moved(saliency.flatten(), 0, image_shape[2] // 2))
    return min(down, across) > IMAGE_CORRELATION and down > half_a_row


def sensitivity(teacher: nn.Module, spec: InputSpec) -> Tensor:
    """Gradient of the winning logit at uniform noise, in units of the range, `(128, *shape)`.

    Args:
        teacher: `(B, *shape)` to `(B, K)`.
        spec: Its input.
    """
    bounds, generator = ValueRange.of(spec), torch.Generator().manual_seed(0)
    x = bounds.from_unit(torch.rand(128, *spec.shape, generator=generator)).requires_grad_()
    (gradient,) = torch.autograd.grad(teacher(x).max(1).values.sum(), x)
    return gradient * bounds.span


def _moved(x: Tensor, axis: int, by: int = 1) -> tuple[Tensor, Tensor]:
    """`x` moved along an axis and `x` itself, where both are."""
    left = x.shape[axis] - by
    return x.narrow(axis, by, left), x.narrow(axis, 0, left)


def _alignment(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two tensors; 0 where one of them is 0."""
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def _correlation(a: Tensor, b: Tensor) -> float:
    value = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
    return float(torch.nan_to_num(value))
