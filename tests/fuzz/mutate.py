"""Damaged model files: bytes changed at random, and graphs changed so that they still parse."""

from __future__ import annotations

import random
from collections.abc import Callable

import onnx
from onnx import ModelProto

_SIZES = (0, 1, 2, 3, -1, 7, 255, 1 << 16, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63))
_OPERATORS = (
    *("Add", "MatMul", "Conv", "Gather", "Reshape", "Concat", "Slice", "Transpose", "Softmax"),
    *("ReduceMean", "Resize", "Pad", "Tile", "Expand", "TopK", "Split", "Squeeze", "Where", "LSTM"),
    *("Loop", "If", "NonZero", "ConstantOfShape", "Range", "OneHot", "Einsum", "Cast", "Unheard"),
)


def damaged_bytes(generator: random.Random, data: bytes) -> bytes:
    """Some bytes replaced, removed or put in."""
    content = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 5, 20))):
        position = generator.randrange(len(content))
        kind = generator.randrange(4)
        if kind == 0:
            content[position] ^= 1 << generator.randrange(8)
        elif kind == 1:
            content[position] = generator.randrange(256)
        elif kind == 2:
            del content[position : position + generator.randrange(1, 9)]
        else:
            content[position:position] = generator.randbytes(generator.randrange(1, 9))
    return bytes(content)


def damaged_graph(generator: random.Random, data: bytes) -> bytes:
    """A graph with some parts changed: wrong, cyclic, oversized, or still right."""
    model = onnx.load_model_from_string(data)
    for _ in range(generator.choice((1, 1, 2, 3))):
        generator.choice(_CHANGES)(generator, model)
    result: bytes = model.SerializeToString()
    return result


def _rename_operand(generator: random.Random, model: ModelProto) -> None:
    node = generator.choice(model.graph.node)
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    if node.input:
        node.input[generator.randrange(len(node.input))] = generator.choice((*names, "", "nobody"))


def _rename_result(generator: random.Random, model: ModelProto) -> None:
    node = generator.choice(model.graph.node)
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    node.output[generator.randrange(len(node.output))] = generator.choice(names)


def _other_operator(generator: random.Random, model: ModelProto) -> None:
    generator.choice(model.graph.node).op_type = generator.choice(_OPERATORS)


def _drop_or_double_operand(generator: random.Random, model: ModelProto) -> None:
    node = generator.choice(model.graph.node)
    if generator.random() < 0.5 and node.input:
        del node.input[-1]
    else:
        node.input.append(generator.choice((*node.input, "")))


def _attribute(generator: random.Random, model: ModelProto) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if not nodes:
        return
    node = generator.choice(nodes)
    attribute = generator.choice(node.attribute)
    if attribute.ints:
        attribute.ints[generator.randrange(len(attribute.ints))] = generator.choice(_SIZES)
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = generator.choice(_SIZES)
    else:
        node.attribute.remove(attribute)


def _dimension(generator: random.Random, model: ModelProto) -> None:
    value = generator.choice((*model.graph.input, *model.graph.output))
    dims = value.type.tensor_type.shape.dim
    if dims:
        dims[generator.randrange(len(dims))].dim_value = generator.choice(_SIZES)


def _element_type(generator: random.Random, model: ModelProto) -> None:
    values = (*model.graph.input, *model.graph.output)
    generator.choice(values).type.tensor_type.elem_type = generator.randrange(30)


def _weight(generator: random.Random, model: ModelProto) -> None:
    tensor = generator.choice(model.graph.initializer)
    kind = generator.randrange(4)
    if kind == 0 and tensor.dims:
        tensor.dims[generator.randrange(len(tensor.dims))] = generator.choice(_SIZES)
    elif kind == 1:
        tensor.data_type = generator.randrange(30)
    elif kind == 2:
        tensor.raw_data = tensor.raw_data[: generator.randrange(len(tensor.raw_data) + 1)]
    else:
        model.graph.initializer.remove(tensor)


def _opset(generator: random.Random, model: ModelProto) -> None:
    model.opset_import[0].version = generator.choice((0, 1, 6, 11, 13, 21, 99, -1, 1 << 62))


def _node_order(generator: random.Random, model: ModelProto) -> None:
    nodes = list(model.graph.node)
    generator.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


_CHANGES: tuple[Callable[[random.Random, ModelProto], None], ...] = (
    _rename_operand,
    _rename_result,
    _other_operator,
    _drop_or_double_operand,
    _attribute,
    _dimension,
    _element_type,
    _weight,
    _opset,
    _node_order,
)
