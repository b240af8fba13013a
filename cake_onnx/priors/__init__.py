"""Where samples start and where they may go: the prior over the teacher's inputs."""

from cake_onnx.priors.base import Prior, ValueRange
from cake_onnx.priors.choose import build_prior, looks_like_flattened_image, sensitivity
from cake_onnx.priors.image import GROUNDS, ImagePrior
from cake_onnx.priors.outside import OutsidePrior
from cake_onnx.priors.scale import ScaleProbe, probe_scale
from cake_onnx.priors.series import SeriesPrior
from cake_onnx.priors.vector import GaussianPrior, TabularPrior, UniformPrior

__all__ = [
    "GROUNDS",
    "GaussianPrior",
    "ImagePrior",
    "OutsidePrior",
    "Prior",
    "ScaleProbe",
    "SeriesPrior",
    "TabularPrior",
    "UniformPrior",
    "ValueRange",
    "build_prior",
    "looks_like_flattened_image",
    "probe_scale",
    "sensitivity",
]
