"""Slice, where extents, starts or ends are not constant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import relax, te, tirx

from tvmake.op_patterns import OPAQUE

from .expressions import ceil_quotient, extents_tensor, int64, reads_tensor
from .symbolic import is_static

if TYPE_CHECKING:
    from onnx import NodeProto

    from .converters import Operator
    from .dynamic import DynamicShapes
    from .symbolic import Dim, Shapes


def convert_slice(shapes: DynamicShapes, node: NodeProto, operator: Operator) -> relax.Expr | None:
    """Slice with windows that are known in terms of symbols, or bound at run time."""
    data = operator.operand(0)
    dims = shapes.dims(data)
    starts, ends, axes, steps = _slice_operands(shapes, node, operator, len(dims))
    if axes is None or steps is None:
        raise ValueError("axes and steps of Slice must be constant")
    if starts is not None and ends is not None and is_static([*starts, *ends, *dims]):
        slices = list(zip(starts, ends, steps, strict=True))
        return _nothing(shapes, data, axes, slices) if any(step < 0 for step in steps) else None
    extents = [dims[axis] for axis in axes]
    count = len(axes)

    def resolve(values: list[Any]) -> list[Any]:
        windows = [
            window(shapes, values[k], values[count + k], steps[k], values[2 * count + k])
            for k in range(count)
        ]
        return [begin for begin, _ in windows] + [extent for _, extent in windows]

    if starts is not None and ends is not None:
        resolved = [shapes.simplify(v) for v in resolve([*starts, *ends, *extents])]
    else:
        operands = [operator.operand(1), operator.operand(2)]

        def build(tensors: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
            elements = [tensor(k).astype("int64") for tensor in tensors for k in range(count)]
            return extents_tensor(elements, given, resolve)

        bounds = shapes.compute(build, operands, extents, "resolve_slice", op_pattern=OPAQUE)
        resolved = list(shapes.bind(bounds, node.output[0], [*extents, *extents]))
    begins, sizes = resolved[:count], resolved[count:]
    target = list(dims)
    for axis, size in zip(axes, sizes, strict=True):
        target[axis] = size

    return cut(shapes, data, axes, begins, steps, target)


def cut(
    shapes: Shapes,
    data: relax.Expr,
    axes: Sequence[int],
    begins: Sequence[Dim],
    steps: Sequence[int],
    target: Sequence[Dim],
) -> relax.Expr:
    """The part of a tensor that starts at `begins` of `axes` and has the shape `target`."""

    def build(tensors: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
        def value(*index: Any) -> Any:
            position = list(index)
            for k, axis in enumerate(axes):
                position[axis] = given[k] + index[axis] * steps[k]
            return tensors[0](*position)

        return te.compute(given[len(axes) :], value, name="slice")

    return shapes.compute(build, [data], [*begins, *target], "slice")


def _nothing(
    shapes: DynamicShapes,
    data: relax.Expr,
    axes: Sequence[int],
    slices: Sequence[tuple[Any, Any, int]],
) -> relax.Expr | None:
    """A tensor without elements if a slice backwards ends where it begins or after that.

    TVM's operator gets a negative extent then. All other slices are left to it.
    """
    target = list(map(int, shapes.dims(data)))
    for axis, (start, end, step) in zip(axes, slices, strict=True):
        _, size = window(shapes, int(start), int(end), step, target[axis])
        target[axis] = int(size)
    return None if math.prod(target) > 0 else relax.const(np.zeros(target, str(data.ty.dtype)))


def _slice_operands(
    shapes: DynamicShapes, node: NodeProto, operator: Operator, rank: int
) -> tuple[list[Any] | None, list[Any] | None, list[int] | None, list[int] | None]:
    attributes = operator.attributes
    starts: list[Any] | None
    ends: list[Any] | None
    if "starts" in attributes:
        starts, ends = list(attributes["starts"]), list(attributes["ends"])
        given = [attributes.get("axes"), None]
    else:
        values = [shapes.known(node, operator, index) for index in range(1, 5)]
        starts, ends = ([*v.reshape(-1)] if v is not None else None for v in values[:2])
        missing = [len(node.input) <= k or not node.input[k] for k in (3, 4)]
        given = [v.reshape(-1) if v is not None else None for v in values[2:]]
        for k in range(2):
            if given[k] is None and not missing[k]:
                return starts, ends, None, None
    known = starts if starts is not None else ends
    length = len(known) if known is not None else int(shapes.dims(operator.operand(1))[0])
    axes = [int(a) % rank for a in given[0]] if given[0] is not None else list(range(length))
    steps = [int(s) for s in given[1]] if given[1] is not None else [1] * length
    return starts, ends, axes, steps


def window(shapes: Shapes, start: Any, end: Any, step: int, extent: Any) -> tuple[Any, Any]:
    """First index and number of elements of a slice, by ONNX's rules."""
    least, most = (0, extent) if step > 0 else (0, extent - 1)
    last = (0, extent) if step > 0 else (-1, extent - 1)
    begin = shapes.clamp(_from_end(start, extent), least, most)
    stop = shapes.clamp(_from_end(end, extent), *last)
    span = stop - begin if step > 0 else begin - stop
    return begin, shapes.largest(shapes.simplify(ceil_quotient(span, abs(step))), 0)


def _from_end(value: Any, extent: Any) -> Any:
    if isinstance(value, int):
        return value + extent if value < 0 else min(value, 1 << 40)
    if not reads_tensor(value):
        return value
    limited = tirx.min(tirx.max(value, int64(-(1 << 40))), int64(1 << 40))
    return tirx.Select(tirx.LT(value, int64(0)), limited + extent, limited)
