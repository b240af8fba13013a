"""Find the one data input of a classifier and what one sample of it looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import GraphProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto

from cake_onnx.errors import UnsupportedTeacherError
from cake_onnx.graph.image_size import fitting_image
from cake_onnx.graph.specs import Layout
from cake_onnx.graph.wiring import Wiring, attribute, dims_of

DTYPES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
    TensorProto.INT8: "int8",
    TensorProto.UINT16: "uint16",
    TensorProto.INT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
}
_FLOATS = ("float32", "float64", "float16")
_CHANNELS = (1, 3, 4)
_PASS_THROUGH = frozenset(
    [
        "Cast",
        "Identity",
        "Sub",
        "Add",
        "Mul",
        "Div",
        "Scaler",
        "Clip",
        "QuantizeLinear",
        "DequantizeLinear",
        "BatchNormalization",
        "Pad",
        "Relu",
    ]
)


_LOOKING_UP = frozenset(
    [
        *("Gather", "OneHot", "Equal", "Cast", "Identity", "Shape", "Unsqueeze", "Squeeze", "Reshape", "Not"),
        *("GatherElements", "GatherND", "EmbedLayerNormalization", "OneHotEncoder", "Where", "Size"),
        *("Less", "Greater", "LabelEncoder"),
    ]
)


@dataclass(frozen=True)
class DataInput:
    """The data input before anyone knows its range. Fields mean what they mean in `InputSpec`."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: Layout


def find_data_input(graph: GraphProto, imports: Sequence[OperatorSetIdProto] = ()) -> DataInput:
    """The one input a caller must feed.

    Args:
        graph: A normalised graph (no initializer among the inputs).
        imports: Operator versions of the model; without them, an image of unknown size is refused.

    Raises:
        UnsupportedTeacherError: There is no such input, more than one, or its sizes cannot be told.
    """
    value = _the_one(list(graph.input))
    dtype = DTYPES[value.type.tensor_type.elem_type]
    wiring = Wiring(graph)
    first = _first_consumers(wiring, value.name)
    shape = _sample_shape(value, first, wiring, imports)
    layout = _layout(shape, first)
    if dtype not in (*_FLOATS, "uint8") and layout == "flat" and not _are_numbers(first):
        raise UnsupportedTeacherError(
            "a float input, or whole numbers that are computed with, such as pixels",
            f"input '{value.name}' of {dtype} and shape {list(shape)}, such as tokens or codes",
            "distil the part of the model behind its embedding",
        )
    return DataInput(value.name, shape, dtype, layout)


def _are_numbers(first: list[NodeProto]) -> bool:
    """Whether some node weighs the input; tokens and codes are only looked up and compared."""
    return any(node.op_type not in _LOOKING_UP for node in first)


def _the_one(values: list[ValueInfoProto]) -> ValueInfoProto:
    if not values:
        raise UnsupportedTeacherError("one data input", "a model without inputs", "export the model again")
    listed = ", ".join(f"'{value.name}' ({_type_name(value)})" for value in values)
    if len(values) > 1:
        raise UnsupportedTeacherError("one data input", f"{len(values)}: {listed}", _remedy(values))
    if values[0].type.tensor_type.elem_type == TensorProto.BFLOAT16:
        raise UnsupportedTeacherError(
            "an input of numbers that numpy can hold",
            listed,
            "export the model with a float32 or float16 input",
        )
    if not values[0].type.HasField("tensor_type") or values[0].type.tensor_type.elem_type not in DTYPES:
        raise UnsupportedTeacherError(
            "an input of floating-point or integer numbers", listed, "export the part behind the conversion"
        )
    return values[0]


def _remedy(values: list[ValueInfoProto]) -> str:
    """What to do about several inputs."""
    columns = [dims_of(value) for value in values]
    if len(values) > 2 and all(dims is not None and dims[1:] in ([], [1]) for dims in columns):
        return (
            "these look like the columns of one table: export the model with one float input of all columns"
        )
    return "export the model with a single input, or store the others as constants in it"


def _type_name(value: ValueInfoProto) -> str:
    if not value.type.HasField("tensor_type"):
        return str(value.type.WhichOneof("value")).removesuffix("_type")
    code = value.type.tensor_type.elem_type
    return DTYPES.get(code) or TensorProto.DataType.Name(TensorProto.DataType.ValueType(code)).lower()


def _sample_shape(
    value: ValueInfoProto, first: list[NodeProto], wiring: Wiring, imports: Sequence[OperatorSetIdProto]
) -> tuple[int, ...]:
    dims = dims_of(value)
    features = _features(first, wiring)
    if dims is None and features is not None:
        return (features,)
    if dims is None or (len(dims) == 4 and not all(isinstance(size, int) for size in dims[1:])):
        sized = fitting_image(wiring, value, first, imports)
        if sized is not None:
            return sized
    if dims is None:
        raise UnsupportedTeacherError(
            "an input of known rank",
            f"'{value.name}' without any shape",
            "export the model with a declared input shape",
        )
    if len(dims) < 2:
        raise UnsupportedTeacherError(
            "an input whose first axis is the batch",
            f"'{value.name}' of shape {_shown(dims)}",
            "export the model with a batch axis in front",
        )
    if len(dims) == 2 and not isinstance(dims[1], int) and features is not None:
        return (features,)
    sizes = [size for size in dims[1:] if isinstance(size, int)]
    if len(sizes) < len(dims) - 1:
        raise UnsupportedTeacherError(
            "a known size of every input axis but the batch",
            f"'{value.name}' of shape {_shown(dims)}",
            "fix the sizes the model was trained with, for example with "
            "`python -m onnxruntime.tools.make_dynamic_shape_fixed --input_name "
            f"{value.name} --input_shape 1,…`",
        )
    if any(size < 1 for size in sizes) or dims[0] == 0:
        raise UnsupportedTeacherError(
            "input axes of size 1 or more",
            f"'{value.name}' of shape {_shown(dims)}",
            "export the model again",
        )
    return tuple(sizes)


def _shown(dims: list[int | str | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in dims) + "]"


def _first_consumers(wiring: Wiring, name: str) -> list[NodeProto]:
    """Nodes that read the input, scaling and casting looked through."""
    found: list[NodeProto] = []
    waiting = [name]
    seen: set[str] = set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for node in wiring.readers.get(current, ()):
            found.append(node)
            if node.op_type in _PASS_THROUGH:
                waiting.extend(node.output)
    return found


def _features(first: list[NodeProto], wiring: Wiring) -> int | None:
    """Number of features that the first weight matrix or scaler takes."""
    for node in first:
        if node.op_type == "Scaler":
            offset = attribute(node, "offset", ())
            if isinstance(offset, Sequence) and len(offset) > 1:
                return len(offset)
        if node.op_type in ("MatMul", "Gemm"):
            weight = wiring.constant(node.input[1])
            if weight is not None and weight.ndim == 2:
                return int(weight.shape[1 if attribute(node, "transB", 0) else 0])
    return None


def _layout(shape: tuple[int, ...], first: list[NodeProto]) -> Layout:
    """Where the channels are: what the graph does with the input says more than the sizes do."""
    if len(shape) != 3:
        return "flat"
    for node in first:
        if node.op_type == "Transpose":
            order = attribute(node, "perm")
            if order == [0, 3, 1, 2]:
                return "NHWC"
        if node.op_type in ("Conv", "MaxPool", "AveragePool", "QLinearConv", "ConvInteger"):
            return "NCHW"
    if shape[0] in _CHANNELS:
        return "NCHW"
    return "NHWC" if shape[2] in _CHANNELS else "flat"
