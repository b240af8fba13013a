"""Classic machine learning of one input (`ai.onnx.ml`): scaling, filling gaps, thresholds, linear scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cake_onnx.graph.operators.registry import ML, Apply, Bound, DeclinedError, Node, operator
from cake_onnx.graph.operators.rounding import straight_through


class Scale(nn.Module):
    """`(x - offset) · scale` along the last axis; both hold one number or one a feature."""

    def __init__(self, offset: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.offset: Tensor
        self.scale: Tensor
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """`x (B, F)` to `(B, F)`."""
        return (x.to(torch.float32) - self.offset) * self.scale


@operator("Scaler", since=(1,), domain=ML)
def scaler(node: Node) -> Bound:
    """ONNX-ML Scaler-1: (x - offset) · scale, one number or one a feature."""
    offset = _numbers(node, "offset", 0.0)
    scale = _numbers(node, "scale", 1.0)
    return node.bind(Scale(offset, scale), 0)


@operator("Normalizer", since=(1,), domain=ML)
def normalizer(node: Node) -> Bound:
    """ONNX-ML Normalizer-1: rows divided by their largest, absolute sum or Euclidean length."""
    norm = node.attribute("norm", "MAX")
    if norm not in ("MAX", "L1", "L2"):
        raise DeclinedError(f"norm={norm}")
    return node.bind(Apply(_normalise, norm=norm), 0)


class Impute(nn.Module):
    """Puts a number, one for all or one a feature, where the input has the mark of a gap."""

    def __init__(self, filling: Tensor, mark: float) -> None:
        super().__init__()
        self.mark = mark
        self.filling: Tensor
        self.register_buffer("filling", filling)

    def forward(self, x: Tensor) -> Tensor:
        """`x (B, F)` to `(B, F)`."""
        gaps = x.isnan() if self.mark != self.mark else x == self.mark
        return torch.where(gaps, self.filling.to(x.dtype), x)

    def extra_repr(self) -> str:
        """The mark of a gap."""
        return f"mark={self.mark}"


@operator("Imputer", since=(1,), domain=ML)
def imputer(node: Node) -> Bound:
    """ONNX-ML Imputer-1: gaps, marked by NaN or another number, get the number of their feature."""
    wholes = node.attribute("imputed_value_int64s", [])
    mark = node.attribute("replaced_value_int64" if wholes else "replaced_value_float", 0)
    node.ignore("replaced_value_int64", "replaced_value_float")  # of the element type that x has not
    filling = torch.tensor(wholes) if wholes else _numbers(node, "imputed_value_floats", None)
    return node.bind(Impute(filling, float(mark)), 0)


@operator("Binarizer", since=(1,), domain=ML)
def binarizer(node: Node) -> Bound:
    """ONNX-ML Binarizer-1: 1 above a threshold, else 0. The gradient passes within 1 of the threshold."""
    return node.bind(Apply(_binarise, threshold=float(node.attribute("threshold", 0.0))), 0)


class Linear(nn.Module):
    """`activation(x · Wᵀ + b)` with one row of weights a target."""

    def __init__(self, weight: Tensor, bias: Tensor, post: str) -> None:
        super().__init__()
        self.post = post
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """`x (B, F)` to `(B, T)`."""
        scores = nn.functional.linear(x.to(torch.float32), self.weight, self.bias)
        return after_scores(scores, self.post)


def after_scores(scores: Tensor, post: str) -> Tensor:
    """ONNX-ML `post_transform` of scores `(B, T)`, T at least 2 unless `post` is NONE."""
    if post == "LOGISTIC":
        return scores.sigmoid()
    if post == "SOFTMAX":
        return scores.softmax(dim=1)
    if post == "SOFTMAX_ZERO":
        # Scores of zero stay zero and take no part in the sum.
        masses = (scores - scores.amax(dim=1, keepdim=True)).exp() * (scores.abs() > 1e-7)
        return masses / masses.sum(dim=1, keepdim=True)
    return _probit(scores) if post == "PROBIT" else scores


def _probit(scores: Tensor) -> Tensor:
    """Normal quantiles of scores in (0, 1), NaN elsewhere, in the approximation that onnxruntime computes.

    Winitzki, "A handy approximation for the error function and its inverse" (2008), with a = 0.147.
    """
    x = 2 * scores - 1
    logarithm = ((1 - x) * (1 + x)).log()
    half = 2 / (math.pi * 0.147) + logarithm / 2
    return math.sqrt(2) * x.sign() * ((half.square() - logarithm / 0.147).sqrt() - half).sqrt()


def require_post_transform(post: str, known: tuple[str, ...]) -> str:
    """The transform itself, if it is one of those.

    Raises:
        DeclinedError: It is not.
    """
    if post not in known:
        raise DeclinedError(f"post_transform={post}")
    return post


class Labelled(nn.Module):
    """A place holder for the label beside the scores; the conversion drops what is made of a label."""

    def __init__(self, scorer: nn.Module) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x (B, F)` to NaN `(B,)` and scores."""
        scores = self.scorer(x)
        return scores.new_full((len(x),), torch.nan), scores


@operator("LinearClassifier", since=(1,), domain=ML)
def linear_classifier(node: Node) -> Bound:
    """ONNX-ML LinearClassifier-1 with two rows or more, its label left out.

    `spell_out_classifiers` writes the usual ones as separate nodes; the others end here.
    """
    node.ignore(
        "multi_class", "classlabels_ints", "classlabels_strings"
    )  # what is done follows from the rows
    post = require_post_transform(
        str(node.attribute("post_transform", "NONE")),
        ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"),
    )
    bias = _numbers(node, "intercepts", None)
    if len(bias) < 2:
        raise DeclinedError(f"LinearClassifier with a single row and post_transform={post}")
    weight = _numbers(node, "coefficients", None).reshape(len(bias), -1)
    return node.bind(Labelled(Linear(weight, bias, post)), 0)


@operator("LinearRegressor", since=(1,), domain=ML)
def linear_regressor(node: Node) -> Bound:
    """ONNX-ML LinearRegressor-1: scores of models that are trained as regressions, one row a target."""
    targets = int(node.attribute("targets", 1))
    known = ("NONE",) if targets == 1 else ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO")
    post = require_post_transform(str(node.attribute("post_transform", "NONE")), known)
    weight = _numbers(node, "coefficients", None).reshape(targets, -1)
    bias = torch.tensor(node.attribute("intercepts", []) or [0.0] * targets, dtype=torch.float32)
    return node.bind(Linear(weight, bias, post), 0)


def _numbers(node: Node, name: str, default: float | None) -> Tensor:
    """Numbers of an attribute as `(n,)` float32; one default number where it is empty or absent."""
    values = node.attribute(name, []) or ([] if default is None else [default])
    if not values:
        raise DeclinedError(f"{node.op_type} without {name}")
    return torch.tensor(values, dtype=torch.float32)


def _normalise(x: Tensor, norm: str) -> Tensor:
    if norm == "MAX":
        length = x.amax(dim=-1, keepdim=True)
    else:
        length = torch.linalg.vector_norm(x, ord=1 if norm == "L1" else 2, dim=-1, keepdim=True)
    # A row of zeros stays a row of zeros.
    return x / torch.where(length == 0, torch.ones_like(length), length)


def _binarise(x: Tensor, threshold: float) -> Tensor:
    above = (x > threshold).to(x.dtype)
    return straight_through((x - threshold).clamp(-1, 1), above) if x.is_floating_point() else above
