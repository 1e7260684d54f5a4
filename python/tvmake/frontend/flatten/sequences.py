"""Sequences and optionals whose length is known: lists of tensors, each under its own name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TypeProto

from .fold import scalar
from .values import Optional, Sequence, Tensor

if TYPE_CHECKING:
    from onnx import NodeProto

    from .flattener import Flattener, Rule
    from .values import Scope, Value


def _construct(_: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    items = [scope.get(name) for name in node.input]
    return [_sequence([item for item in items if item is not None])]


def _empty(_: Flattener, node: NodeProto, __: Scope) -> list[Value | None] | None:
    elem_type = next((a.i for a in node.attribute if a.name == "dtype"), onnx.TensorProto.FLOAT)
    kind = onnx.helper.make_tensor_type_proto(elem_type, None)
    return [Sequence((), onnx.helper.make_sequence_type_proto(kind))]


def _at(_: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    sequence, position = scope.get(node.input[0]), scalar(scope.get(node.input[1]))
    if not isinstance(sequence, Sequence) or position is None:
        return None
    return [sequence.items[position]]


def _insert(_: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    sequence, item = scope.get(node.input[0]), scope.get(node.input[1])
    position = _position(node, 2, scope)
    if not isinstance(sequence, Sequence) or item is None or position is None:
        return None
    items = list(sequence.items)
    items.insert(len(items) if position == "end" else int(position), item)
    return [_sequence(items)]


def _erase(_: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    sequence, position = scope.get(node.input[0]), _position(node, 1, scope)
    if not isinstance(sequence, Sequence) or position is None:
        return None
    items = list(sequence.items)
    del items[-1 if position == "end" else int(position)]
    return [Sequence(tuple(items), sequence.type)]


def _length(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    sequence = scope.get(node.input[0])
    if not isinstance(sequence, Sequence):
        return None
    return [flat.scalar(np.int64(len(sequence.items)))]


def _concat(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    sequence = scope.get(node.input[0])
    if not isinstance(sequence, Sequence):
        return None
    axis, new_axis = int(_attribute(node, "axis", 0)), bool(_attribute(node, "new_axis", 0))
    parts = [item for item in sequence.items if isinstance(item, Tensor)]
    if new_axis:
        parts = [flat.unsqueeze(part, axis, scope) for part in parts]
    return [flat.emit("Concat", parts, scope, axis=axis)]


def _split(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    data = scope.get(node.input[0])
    if not isinstance(data, Tensor) or data.shape is None:
        return None
    axis = int(_attribute(node, "axis", 0)) % len(data.shape)
    split = scope.get(node.input[1]) if len(node.input) > 1 else None
    whole = data.shape[axis]
    if split is None:
        sizes = [1] * whole
    elif isinstance(split, Tensor) and split.array is not None:
        sizes = _sizes(split.array, whole)
    else:
        return None
    parts = flat.split(data, sizes, axis, scope)
    if split is None and not _attribute(node, "keepdims", 1):
        axes = flat.constant(np.array([axis], np.int64))
        parts = [flat.emit("Squeeze", [part, axes], scope) for part in parts]
    return [_sequence(parts)]


def _sizes(split: Any, whole: int) -> list[int]:
    if split.ndim:
        return [int(size) for size in split]
    size = int(split)
    return [min(size, whole - start) for start in range(0, whole, size)]


def _map(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    values = [scope.get(name) for name in node.input]
    first = values[0]
    if not isinstance(first, Sequence):
        return None
    body = next(attribute.g for attribute in node.attribute if attribute.name == "body")
    rows = []
    for turn in range(len(first.items)):
        inputs = [v.items[turn] if isinstance(v, Sequence) else v for v in values]
        rows.append(flat.run_graph(body, inputs, scope.inner(f"{flat.label(node)}/{turn}")))
    columns = zip(*rows, strict=True) if rows else [() for _ in body.output]
    return [_sequence([item for item in column if item is not None]) for column in columns]


def _optional(_: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    return [Optional(scope.get(node.input[0]) if node.input else None)]


def _has_element(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    value = scope.get(node.input[0]) if node.input else None
    has = value.value is not None if isinstance(value, Optional) else value is not None
    return [flat.scalar(np.bool_(has))]


def _get_element(_: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    value = scope.get(node.input[0])
    return [value.value if isinstance(value, Optional) else value]


def _sequence(items: list[Any]) -> Sequence:
    kind = TypeProto()
    if items and isinstance(items[0], Tensor):
        kind = onnx.helper.make_sequence_type_proto(
            onnx.helper.make_tensor_type_proto(items[0].elem_type, None)
        )
    return Sequence(tuple(items), kind)


def _position(node: NodeProto, index: int, scope: Scope) -> int | str | None:
    if len(node.input) <= index or not node.input[index]:
        return "end"
    return scalar(scope.get(node.input[index]))


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


RULES: dict[str, Rule] = {
    "ConcatFromSequence": _concat,
    "Optional": _optional,
    "OptionalGetElement": _get_element,
    "OptionalHasElement": _has_element,
    "SequenceAt": _at,
    "SequenceConstruct": _construct,
    "SequenceEmpty": _empty,
    "SequenceErase": _erase,
    "SequenceInsert": _insert,
    "SequenceLength": _length,
    "SequenceMap": _map,
    "SplitToSequence": _split,
}
