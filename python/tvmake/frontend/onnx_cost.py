"""What an ONNX graph will cost: multiplications and memory, from its shapes alone.

An estimate before anything is compiled. What the memory plan really takes is told by `compile`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import TensorProto, helper

from .onnx_file import is_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from onnx import GraphProto, NodeProto, ValueInfoProto

    Shape = tuple[int, ...]

# The result may take the place of the first operand, and costs no memory where that is not used
# again: operators on each element, and changes of the shape alone.
_IN_PLACE = {
    *("Abs", "Add", "BatchNormalization", "Cast", "Ceil", "Clip", "Div", "Dropout", "Elu", "Erf"),
    *("Exp", "Flatten", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu"),
    *("Log", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Reciprocal", "Relu", "Reshape"),
    *("Round", "Selu", "Sigmoid", "Sin", "Softplus", "Sqrt", "Squeeze", "Sub", "Swish", "Tanh"),
    *("Unsqueeze",),
}


@dataclass(frozen=True)
class Cost:
    """The estimate.

    Attributes:
        multiplications: of convolutions, matrix products and recurrent layers, in one run. None
            when a shape that it needs is open.
        parameters: elements of the constants that operators on the inputs use.
        weight_bytes: their size, in the element types of the model.
        activation_bytes: the most that is alive at once. None when a shape is open.
    """

    multiplications: int | None
    parameters: int | None
    weight_bytes: int | None
    activation_bytes: int | None


def estimate(graph: GraphProto) -> Cost:
    """Estimate a graph whose shapes are inferred."""
    shapes, types = _shapes(graph), _types(graph)
    constants = {"", *(tensor.name for tensor in graph.initializer)}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if constants.issuperset(node.input):
            constants.update(node.output)  # computed at compile time
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input if name in constants and name}
    return Cost(
        _total(_multiplications(node, shapes) for node in nodes),
        _total(_elements(shapes.get(name)) for name in used),
        _total(_size(types.get(name), shapes.get(name)) for name in used),
        _most_alive(graph, nodes, constants, shapes, types),
    )


def _types(graph: GraphProto) -> dict[str, int]:
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if is_tensor(value):
            types.setdefault(value.name, value.type.tensor_type.elem_type)
    return types


def _shapes(graph: GraphProto) -> dict[str, Shape | None]:
    shapes: dict[str, Shape | None] = {t.name: tuple(t.dims) for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes.setdefault(value.name, _shape(value))
    return shapes


def _shape(value: ValueInfoProto) -> Shape | None:
    tensor = value.type.tensor_type
    if not is_tensor(value) or not tensor.HasField("shape"):
        return None
    dims = tensor.shape.dim
    return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None


def _multiplications(node: NodeProto, shapes: Mapping[str, Shape | None]) -> int | None:
    rule = _RULES.get(node.op_type)
    if rule is None:
        return 0
    operands = [shapes.get(name) for name in node.input if name]
    result = next((shapes.get(name) for name in node.output if name), None)
    known = [shape for shape in operands if shape is not None]
    if result is None or len(known) != len(operands):
        return None
    return rule(node, known, result)


def _convolution(_: NodeProto, operands: Sequence[Shape], result: Shape) -> int:
    return math.prod(result) * math.prod(operands[1][1:])


def _quantized_convolution(_: NodeProto, operands: Sequence[Shape], result: Shape) -> int:
    return math.prod(result) * math.prod(operands[3][1:])


def _transposed_convolution(_: NodeProto, operands: Sequence[Shape], __: Shape) -> int:
    return math.prod(operands[0]) * math.prod(operands[1][1:])


def _product(_: NodeProto, operands: Sequence[Shape], result: Shape) -> int:
    return math.prod(result) * (operands[0][-1] if operands[0] else 1)


def _general_product(node: NodeProto, operands: Sequence[Shape], result: Shape) -> int:
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(result) * operands[0][0 if transposed else 1]


def _recurrent(_: NodeProto, operands: Sequence[Shape], __: Shape) -> int:
    """W is [directions, gates·hidden, input], R [directions, gates·hidden, hidden]."""
    x, w, r = operands[:3]
    return x[0] * x[1] * (math.prod(w) + math.prod(r))


_RULES: dict[str, Callable[[NodeProto, Sequence[Shape], Shape], int]] = {
    "Conv": _convolution,
    "ConvInteger": _convolution,
    "ConvTranspose": _transposed_convolution,
    "GRU": _recurrent,
    "Gemm": _general_product,
    "LSTM": _recurrent,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearConv": _quantized_convolution,
    "QLinearMatMul": _product,
    "RNN": _recurrent,
}


def _most_alive(
    graph: GraphProto,
    nodes: Sequence[NodeProto],
    constants: Collection[str],
    shapes: Mapping[str, Shape | None],
    types: Mapping[str, int],
) -> int | None:
    """The largest sum of bytes of the values that are alive during one operator."""
    last_use = {name: index for index, node in enumerate(nodes) for name in node.input}
    last_use |= {output.name: len(nodes) for output in graph.output}

    def size(name: str) -> int | None:
        return _size(types.get(name), shapes.get(name))

    alive = {value.name: size(value.name) for value in graph.input if value.name not in constants}
    most = _total(alive.values())
    for index, node in enumerate(nodes):
        results = {name: size(name) for name in node.output if name in last_use}
        dying = {name for name in node.input if last_use.get(name) == index}
        first = node.input[0] if node.input else ""
        now = {**alive, **results}
        replaces = node.op_type in _IN_PLACE and first in alive and first in dying
        if replaces and list(results.values()) == [alive[first]]:
            del now[first]
        total = _total(now.values())
        if total is None or most is None:
            return None
        most = max(most, total)
        alive = {name: n for name, n in {**alive, **results}.items() if name not in dying}
    return most


def _total(sizes: Iterable[int | None]) -> int | None:
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


def _elements(shape: Shape | None) -> int | None:
    return None if shape is None else math.prod(shape)


def _size(elem_type: int | None, shape: Shape | None) -> int | None:
    """Bytes of a tensor; None when its type or shape is open."""
    if elem_type is None or shape is None:
        return None
    bits = _BITS.get(elem_type) or helper.tensor_dtype_to_np_dtype(elem_type).itemsize * 8
    return -(-math.prod(shape) * int(bits) // 8)


_BITS = {
    getattr(TensorProto, name): bits
    for names, bits in ((("INT4", "UINT4", "FLOAT4E2M1"), 4), (("INT2", "UINT2"), 2))
    for name in names
    if hasattr(TensorProto, name)
}
