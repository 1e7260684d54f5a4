"""Operators that only hand values on, or tell what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from tvmake.errors import UnsupportedError

from .fold import scalar
from .values import Tensor, tensors_of, to_array

if TYPE_CHECKING:
    from onnx import NodeProto

    from .flattener import Flattener, Rule
    from .values import Scope, Value

__all__ = ["RULES", "dense", "tensors_of"]

_FIRST_BOOLEAN_MASK = 10  # opset from which Dropout's mask is boolean


def _identity(_: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    return [scope.get(node.input[0])]


def _constant(flat: Flattener, node: NodeProto, _: Scope) -> list[Value | None] | None:
    (attribute,) = node.attribute
    if attribute.name == "value":
        return [flat.constant(to_array(attribute.t), node.output[0] or "constant")]
    if attribute.name == "sparse_value":
        return [flat.constant(dense(attribute.sparse_tensor))]
    value = onnx.helper.get_attribute_value(attribute)
    types: dict[str, Any] = {"value_float": np.float32, "value_floats": np.float32}
    types |= {"value_int": np.int64, "value_ints": np.int64}
    return [flat.constant(np.array(value, types.get(attribute.name, object)))]


def _shape(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    value = scope.get(node.input[0])
    dims = value.dims if isinstance(value, Tensor) else None
    if dims is None:
        return None
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    wanted = dims[slice(bounds.get("start"), bounds.get("end"))]
    if any(dim is None for dim in wanted):
        return None
    return [flat.constant(np.array(wanted, np.int64))]


def _size(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    value = scope.get(node.input[0])
    shape = value.shape if isinstance(value, Tensor) else None
    return None if shape is None else [flat.scalar(np.int64(np.prod(shape, dtype=np.int64)))]


def _cast_like(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    value, like = scope.get(node.input[0]), scope.get(node.input[1])
    if not isinstance(value, Tensor) or not isinstance(like, Tensor) or not like.elem_type:
        return None
    if value.elem_type == like.elem_type:
        return [value]
    cast = onnx.helper.make_node("Cast", list(node.input[:1]), list(node.output), name=node.name)
    cast.attribute.extend(node.attribute)
    cast.attribute.append(onnx.helper.make_attribute("to", like.elem_type))
    return flat.run_one(cast, [value], scope)


def _dropout(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    """At inference it hands its operand on. In training it draws random numbers."""
    data = scope.get(node.input[0])
    version = scope.opsets.get("", 1)
    training = scope.get(node.input[2]) if len(node.input) > 2 else None
    ratio = scope.get(node.input[1]) if len(node.input) > 1 else None
    if training is not None and scalar(training) != 0 and _float(ratio) != 0:
        raise UnsupportedError(
            "operator Dropout is in training mode, where it draws random numbers",
            where=f"node '{flat.label(node)}'",
            fix="export the model for inference",
        )
    if len(node.output) < 2 or not node.output[1]:
        return [data]
    if not isinstance(data, Tensor) or data.shape is None:
        return None
    kind = np.bool_ if version >= _FIRST_BOOLEAN_MASK else flat.numpy_type(data.elem_type)
    return [data, flat.constant(np.ones(data.shape, kind))]


def _float(value: Value | None) -> float | None:
    array = value.array if isinstance(value, Tensor) else None
    return None if array is None else float(array)


def dense(sparse: onnx.SparseTensorProto) -> Any:
    """A sparse tensor's value."""
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    result = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        result.reshape(-1)[indices] = values
    else:
        result[tuple(indices.T)] = values
    return result


RULES: dict[str, Rule] = {
    "CastLike": _cast_like,
    "Constant": _constant,
    "Dropout": _dropout,
    "Identity": _identity,
    "Shape": _shape,
    "Size": _size,
}
