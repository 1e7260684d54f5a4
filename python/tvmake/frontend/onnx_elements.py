"""Element types of an ONNX graph that kernels only know as integers (see `tvmake.elements`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tvmake.elements import ELEMENTS, storage

from .onnx_file import dtype_name, walk_nodes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnx import GraphProto, ModelProto

    from .flatten import FlatGraph

# ONNX's number of each such type -> its name.
STORED = {
    number: name
    for number in TensorProto.DataType.values()
    if number not in (TensorProto.UNDEFINED, TensorProto.STRING)
    and (name := dtype_name(number)) in ELEMENTS
}


def value_types(model: ModelProto) -> dict[str, int]:
    """ONNX's element type of every value whose type is known, by name."""
    graph = model.graph
    types = {tensor.name: int(tensor.data_type) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.WhichOneof("value") == "tensor_type":
            types[value.name] = int(value.type.tensor_type.elem_type)
    return types


def interface_types(values: Iterable[onnx.ValueInfoProto], types: dict[str, int]) -> list[str]:
    """The names of the element types of the model's inputs or outputs; empty if unknown."""
    known = (types.get(value.name, 0) for value in values)
    return [dtype_name(number) if number else "" for number in known]


def store_elements(graph: GraphProto | FlatGraph) -> None:
    """Replace the types of constants and inputs by those that they are stored as, in place."""
    _store_tensors(graph)
    for value in graph.input:
        tensor = value.type.tensor_type
        if tensor.elem_type in STORED:
            tensor.elem_type = _number(STORED[tensor.elem_type])
    for node in walk_nodes(graph):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _store_tensor(attribute.t)
            if attribute.HasField("g"):
                _store_tensors(attribute.g)


def _store_tensors(graph: GraphProto | FlatGraph) -> None:
    for tensor in graph.initializer:
        _store_tensor(tensor)


def _store_tensor(tensor: TensorProto) -> None:
    name = STORED.get(tensor.data_type)
    if name is None:
        return
    values = numpy_helper.to_array(tensor)
    plain = np.dtype(storage(name))
    is_integer = name.lstrip("u").startswith("int")
    stored = values.astype(plain) if is_integer else np.ascontiguousarray(values).view(plain)
    tensor.CopyFrom(numpy_helper.from_array(stored.reshape(values.shape), tensor.name))


def _number(name: str) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(storage(name))))
