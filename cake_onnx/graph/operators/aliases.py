"""Operator versions that only widened their element types: onnx2torch's converter of an older one serves."""

from __future__ import annotations

from cake_onnx.graph.operators.registry import reuse

_SAME_BUT_FOR_TYPES: dict[str, tuple[int, tuple[int, ...]]] = {
    # operator: (version that onnx2torch converts, versions that mean the same for float and integer tensors)
    "Equal": (13, (19,)),
    "GreaterOrEqual": (12, (16,)),
    "LessOrEqual": (12, (16,)),
    "Elu": (6, (22,)),
    "Selu": (6, (22,)),
    "HardSigmoid": (6, (22,)),
    "HardSwish": (14, (22,)),
    "Softplus": (1, (22,)),
    "Softsign": (1, (22,)),
    "Celu": (12, (28,)),
    "Sin": (7, (22,)),
    "Cos": (7, (22,)),
    "Tan": (7, (22,)),
    "Asin": (7, (22,)),
    "Acos": (7, (22,)),
    "Atan": (7, (22,)),
    "InstanceNormalization": (6, (22,)),
    "ConvTranspose": (11, (22,)),
    "ConstantOfShape": (9, (20, 21, 23, 24, 25)),
    "Range": (11, (27,)),
    "DepthToSpace": (13, (28,)),
    "Einsum": (12, (28,)),
}

for _op_type, (_known, _versions) in _SAME_BUT_FOR_TYPES.items():
    reuse(_op_type, _known, _versions)
