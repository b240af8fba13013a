"""Support vector machines (`ai.onnx.ml`): kernels, one-against-one decisions, coupled probabilities."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cake_onnx.graph.operators.classic import Labelled, after_scores, require_post_transform
from cake_onnx.graph.operators.coupling import couple
from cake_onnx.graph.operators.registry import ML, Bound, DeclinedError, Node, operator

_SMALLEST = 1e-7
"""Pair probabilities are kept this far from 0 and 1 (libsvm)."""


class Kernel(nn.Module):
    """Similarity of samples to support vectors: LINEAR, POLY, RBF or SIGMOID."""

    def __init__(self, kind: str, parameters: list[float], vectors: Tensor) -> None:
        super().__init__()
        if kind not in ("LINEAR", "POLY", "RBF", "SIGMOID"):
            raise DeclinedError(f"kernel_type={kind}")
        self.kind = kind
        self.gamma, self.offset, self.degree = (*parameters, *[0.0] * 3)[:3]
        self.vectors: Tensor
        self.middle: Tensor
        self.register_buffer("vectors", vectors)
        # Distances are the same from anywhere; near the origin their expansion loses the fewest digits.
        self.register_buffer("middle", vectors.mean(dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """`x (B, F)` to `(B, V)`, one column a support vector."""
        if self.kind == "RBF":
            sample, vectors = x - self.middle, self.vectors - self.middle
            squares = sample.square().sum(dim=1, keepdim=True) + vectors.square().sum(dim=1)
            return (-self.gamma * (squares - 2 * sample @ vectors.T).clamp_min(0)).exp()
        products = x @ self.vectors.T
        if self.kind == "POLY":
            return (self.gamma * products + self.offset) ** self.degree
        return (self.gamma * products + self.offset).tanh() if self.kind == "SIGMOID" else products

    def extra_repr(self) -> str:
        """Kind and parameters."""
        return f"{self.kind}, gamma={self.gamma:g}, offset={self.offset:g}, degree={self.degree:g}"


class Machine(nn.Module):
    """Weighted kernels to scores `(B, T)`; with `slopes`, to class probabilities `(B, K)`.

    Args:
        kernel: Similarity to V support vectors.
        weight: `(V, T)`.
        bias: `(T,)`.
        platt: `(2, T)` slope and offset of the sigmoid of each pair of classes, None without probabilities.
        classes: Number of classes K.
        post: ONNX-ML `post_transform`; `pair` gives `(-s, s)` of a single score.
    """

    def __init__(
        self, kernel: Kernel, weight: Tensor, bias: Tensor, platt: Tensor | None, classes: int, post: str
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.classes = classes
        self.post = post
        self.weight: Tensor
        self.bias: Tensor
        self.platt: Tensor | None
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("platt", platt)

    def forward(self, x: Tensor) -> Tensor:
        """`x (B, F)` to scores."""
        scores = self.kernel(x.to(torch.float32)) @ self.weight + self.bias
        if self.platt is not None:
            chances = (-(scores * self.platt[0] + self.platt[1])).sigmoid()
            scores = couple(chances.clamp(_SMALLEST, 1 - _SMALLEST), self.classes)
        elif scores.shape[1] == 1 and self.classes == 2:
            scores = torch.cat([-scores, scores], dim=1)
        return after_scores(scores, self.post)

    def extra_repr(self) -> str:
        """Number of classes and what follows the scores."""
        return f"classes={self.classes}, post={self.post}"


@operator("SVMClassifier", since=(1,), domain=ML)
def svm_classifier(node: Node) -> Bound:
    """ONNX-ML SVMClassifier-1: one decision a pair of classes, or their coupled probabilities.

    The label is not computed here: no score follows from it.
    """
    names = node.attribute("classlabels_ints", []) or node.attribute("classlabels_strings", [])
    node.ignore("classlabels_strings")  # where the labels are whole numbers
    counts = [int(count) for count in node.attribute("vectors_per_class", [])]
    post = str(node.attribute("post_transform", "NONE"))
    coefficients = torch.tensor(node.attribute("coefficients", []), dtype=torch.float32)
    rho = torch.tensor(node.attribute("rho", []), dtype=torch.float32)
    slopes, offsets = node.attribute("prob_a", []), node.attribute("prob_b", [])
    kind, parameters = str(node.attribute("kernel_type", "LINEAR")), node.attribute("kernel_params", [])
    if not sum(counts):
        node.ignore("support_vectors")
        require_post_transform(post, ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"))
        classes = max(1, len(names))
        rows = coefficients.reshape(classes, -1)
        linear = Machine(
            Kernel("LINEAR", [], rows), torch.eye(classes), rho[:1].expand(classes), None, 0, post
        )
        return node.bind(Labelled(linear), 0)
    classes = len(counts)
    pair = classes == 2 and not slopes
    # A single decision with another transform is not what its name says, in onnxruntime or by the standard.
    known = ("NONE", "LOGISTIC") if pair else ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO")
    require_post_transform(post, known)
    vectors = torch.tensor(node.attribute("support_vectors", []), dtype=torch.float32)
    weight = _pair_weights(coefficients.reshape(classes - 1, -1), counts)
    platt = torch.tensor([slopes, offsets], dtype=torch.float32) if slopes else None
    kernel = Kernel(kind, parameters, vectors.reshape(sum(counts), -1))
    return node.bind(Labelled(Machine(kernel, weight, rho, platt, classes, post)), 0)


@operator("SVMRegressor", since=(1,), domain=ML)
def svm_regressor(node: Node) -> Bound:
    """ONNX-ML SVMRegressor-1: one score, of which classifiers of several regressions are made."""
    count = int(node.attribute("n_supports", 0))
    require_post_transform(str(node.attribute("post_transform", "NONE")), ("NONE",))
    if node.attribute("one_class", 0):
        raise DeclinedError("one_class=1, which has no gradient: it says 1 or -1")
    coefficients = torch.tensor(node.attribute("coefficients", []), dtype=torch.float32)
    rho = torch.tensor(node.attribute("rho", []), dtype=torch.float32)
    kind, parameters = str(node.attribute("kernel_type", "LINEAR")), node.attribute("kernel_params", [])
    vectors = torch.tensor(node.attribute("support_vectors", []), dtype=torch.float32)
    if count == 0:
        kernel, weight = Kernel("LINEAR", [], coefficients.reshape(1, -1)), torch.ones(1, 1)
    else:
        kernel = Kernel(kind, parameters, vectors.reshape(count, -1))
        weight = coefficients.reshape(count, 1)
    return node.bind(Machine(kernel, weight, rho[:1], None, 0, "NONE"), 0)


def _pair_weights(coefficients: Tensor, counts: list[int]) -> Tensor:
    """`(V, pairs)` from libsvm's `(K - 1, V)`.

    Pair (i, j) weighs the vectors of class i by row j - 1, those of class j by row i.
    """
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    spans = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    pairs = [(i, j) for i in range(len(counts)) for j in range(i + 1, len(counts))]
    weight = torch.zeros(ends[-1], len(pairs))
    for column, (i, j) in enumerate(pairs):
        weight[spans[i], column] = coefficients[j - 1, spans[i]]
        weight[spans[j], column] = coefficients[i, spans[j]]
    return weight
