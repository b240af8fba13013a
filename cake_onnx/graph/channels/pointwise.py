"""Where channels stay what they are: activations, arithmetic, normalisation, pooling, reductions."""

from __future__ import annotations

from onnx import NodeProto

from cake_onnx.graph.channels.follow import Labels, LostError, Walk, rule
from cake_onnx.graph.channels.products import broadcast
from cake_onnx.graph.wiring import attribute

_SAME = (
    *("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu"),
    *("Mish", "Swish", "Softplus", "Softsign", "ThresholdedRelu", "Shrink", "Clip", "Erf", "Exp", "Log"),
    *("Sqrt", "Abs", "Neg", "Reciprocal", "Sign", "Floor", "Ceil", "Round", "Sin", "Cos", "Identity", "Cast"),
    *("Dropout", "Not", "LRN", "LpNormalization", "IsNaN", "IsInf"),
)
_POOLS = (
    *("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
    *("Resize", "Upsample"),
)
_REDUCTIONS = (
    *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"),
)
_ARITHMETIC = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Where", "PRelu", "Mod"),
    *("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor"),
)


@rule(*_SAME)
def same(walk: Walk, node: NodeProto) -> None:
    """One input, one output of the same shape."""
    walk.set(node.output[0], walk.label(node.input[0]))


@rule("MeanVarianceNormalization")
def mean_variance_normalisation(walk: Walk, node: NodeProto) -> None:
    """ONNX MeanVarianceNormalization-13; statistics over channels are of what is left."""
    walk.set(node.output[0], walk.label(node.input[0]))


@rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(walk: Walk, node: NodeProto) -> None:
    """Shares of a whole: what they are shares of stays."""
    labels = walk.label(node.input[0])
    axis = int(attribute(node, "axis", -1)) % len(labels)  # type: ignore[call-overload]
    label = labels[axis]
    if label is not None:
        walk.items.freeze(label, f"{node.op_type} '{node.name}' over it")
    walk.set(node.output[0], labels)


@rule(*_POOLS)
def pool(walk: Walk, node: NodeProto) -> None:
    """Batch and channels pass; nothing runs along the spatial axes."""
    labels = walk.label(node.input[0])
    if any(label is not None for label in labels[2:]):
        raise LostError("channels along a spatial axis")
    walk.set(node.output[0], [*labels[:2], *[None] * (len(walk.shape(node.output[0])) - 2)])


@rule(*_ARITHMETIC)
def arithmetic(walk: Walk, node: NodeProto) -> None:
    """Broadcasting operators; stored operands lose what the computed ones lose."""
    computed = [name for name in node.input if walk.constant(name) is None]
    result = broadcast(walk, [(walk.label(name), list(walk.shape(name))) for name in computed], node)
    sizes = walk.shape(node.output[0])
    bare: Labels = [None] * (len(sizes) - len(result))
    result = bare + result
    if any(label is not None and len(label) != size for label, size in zip(result, sizes, strict=True)):
        raise LostError("a stored operand that widens an axis")
    for name in node.input:
        if walk.constant(name) is not None:
            own = walk.shape(name)
            aligned = result[len(result) - len(own) :]
            walk.set(name, [label if size > 1 else None for label, size in zip(aligned, own, strict=True)])
    walk.set(node.output[0], result)


@rule("BatchNormalization", "InstanceNormalization")
def channel_normalisation(walk: Walk, node: NodeProto) -> None:
    """One number a channel in every stored input."""
    labels = walk.label(node.input[0])
    for name in node.input[1:]:
        if walk.constant(name) is None:
            raise LostError("computed statistics")
        walk.set(name, [labels[1]])
    walk.set(node.output[0], labels)


@rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def layer_normalisation(walk: Walk, node: NodeProto) -> None:
    """Scale and bias have the shape of the normalised axes; the statistics are of what is left."""
    labels = walk.label(node.input[0])
    for name in node.input[1:]:
        if name:
            rank = len(walk.shape(name))
            walk.set(name, labels[len(labels) - rank :])
    walk.set(node.output[0], labels)


@rule("GroupNormalization")
def group_normalisation(walk: Walk, node: NodeProto) -> None:
    """Every group loses the same positions."""
    labels = walk.label(node.input[0])
    groups = int(attribute(node, "num_groups"))  # type: ignore[call-overload]
    channels = labels[1]
    if channels is not None:
        by_group = channels.reshape(groups, -1)
        for other in by_group[1:]:
            walk.items.unite_all(by_group[0], other)
        for name in node.input[1:]:
            if len(walk.shape(name)) != 1 or walk.shape(name)[0] != len(channels):
                raise LostError("scales a group")
            walk.set(name, [channels])
    walk.set(node.output[0], labels)


@rule(*_REDUCTIONS)
def reduction(walk: Walk, node: NodeProto) -> None:
    """Axes that are reduced vanish or become 1; the mean of fewer channels is their mean."""
    labels = walk.label(node.input[0])
    stored = walk.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    given = attribute(node, "axes", None if stored is None else stored.reshape(-1).tolist())
    if given is None:
        raise LostError("a reduction of everything, or computed axes")
    axes = {int(axis) % len(labels) for axis in given}  # type: ignore[attr-defined]
    keep = bool(attribute(node, "keepdims", 1))
    result: Labels = []
    for axis, label in enumerate(labels):
        if axis not in axes:
            result.append(label)
        elif keep:
            result.append(None)
    walk.set(node.output[0], result)
