"""Operators that take a shape as an operand, where it is not constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import tvm
from tvm import relax, te, tirx

from tvmake.op_patterns import OPAQUE

from .expressions import ceil_quotient, element, int64, reads_tensor
from .symbolic import is_static, product

if TYPE_CHECKING:
    from onnx import NodeProto

    from .converters import Operator
    from .dynamic import DynamicShapes
    from .symbolic import Dim, Shapes


def _reshape(shapes: DynamicShapes, node: NodeProto, operator: Operator) -> relax.Expr | None:
    data = operator.operand(0)
    dims = shapes.dims(data)
    known = shapes.known(node, operator, 1)
    if known is not None and is_static(dims) and is_static(list(known.reshape(-1))):
        return None
    keep_zero = bool(operator.attributes.get("allowzero", 0))

    def resolve(values: list[Any]) -> list[Any]:
        rank = len(values) - len(dims)
        wanted, own = values[:rank], values[rank:]
        extents = [
            value if keep_zero or i >= len(own) else _if_equal(value, 0, own[i])
            for i, value in enumerate(wanted)
        ]
        result = []
        for i, value in enumerate(extents):
            others = [extent for k, extent in enumerate(extents) if k != i]
            result.append(_if_equal(value, -1, _quotient(shapes, own, others)))
        return result

    target = shapes.shape_operand(node, operator, 1, resolve, dims)
    return relax.op.reshape(data, relax.ShapeExpr(target))


def _if_equal(value: Any, wanted: int, then: Any) -> Any:
    """`then` if a value is `wanted`, else the value. Symbols are neither 0 nor -1."""
    if isinstance(value, int):
        return then if value == wanted else value
    if not reads_tensor(value):
        return value
    return tirx.Select(tirx.EQ(value, int64(wanted)), int64(then), value)


def _quotient(shapes: DynamicShapes, whole: Sequence[Any], part: Sequence[Any]) -> Any:
    """The product of some extents divided by that of others. Common factors cancel."""
    numerator = [factor for value in whole for factor in _factors(value)]
    denominator = []
    for factor in (f for value in part for f in _factors(value)):
        match = next((i for i, n in enumerate(numerator) if _same(shapes, n, factor)), None)
        if match is None:
            denominator.append(factor)
        else:
            del numerator[match]
    divisor = product(denominator)
    if isinstance(divisor, int):
        return tirx.floordiv(int64(product(numerator)), int64(divisor)) if divisor else 0
    return tirx.floordiv(int64(product(numerator)), tirx.max(divisor, int64(1)))


def _factors(value: Any) -> list[Any]:
    if isinstance(value, tirx.Mul):
        return _factors(value.a) + _factors(value.b)
    return [int(value) if isinstance(value, tirx.IntImm) else value]


def _same(shapes: DynamicShapes, a: Any, b: Any) -> bool:
    if reads_tensor(a) or reads_tensor(b):
        return False
    return a == b if isinstance(a, int) and isinstance(b, int) else shapes.same(a, b)


def _expand(shapes: DynamicShapes, node: NodeProto, operator: Operator) -> relax.Expr | None:
    data = operator.operand(0)
    own = shapes.dims(data)
    known = shapes.known(node, operator, 1)
    if known is not None and is_static(own) and is_static(list(known.reshape(-1))):
        return None

    def resolve(values: list[Any]) -> list[Any]:
        rank = len(values) - len(own)
        wanted, mine = values[:rank], values[rank:]
        size = max(len(wanted), len(mine))
        wanted = [1] * (size - len(wanted)) + wanted
        mine = [1] * (size - len(mine)) + mine
        return [_broadcast(shapes, a, b) for a, b in zip(mine, wanted, strict=True)]

    target = shapes.shape_operand(node, operator, 1, resolve, own)
    return broadcast_to(shapes, data, target)


def _broadcast(shapes: DynamicShapes, mine: Any, wanted: Any) -> Any:
    if isinstance(mine, int) and mine == 1:
        return wanted
    if isinstance(wanted, int) and wanted == 1:
        return mine
    if isinstance(mine, int) or isinstance(wanted, int) or shapes.same(mine, wanted):
        return mine if isinstance(mine, int) else wanted
    return tirx.Select(tirx.EQ(int64(wanted), int64(1)), int64(mine), int64(wanted))


def broadcast_to(shapes: Shapes, data: relax.Expr, target: Sequence[Dim]) -> relax.Expr:
    """A tensor repeated along its axes of extent 1, and along new ones."""
    own = shapes.dims(data)
    lead = len(target) - len(own)
    same = [shapes.same(a, b) for a, b in zip(own, target[lead:], strict=True)]

    def build(tensors: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
        source = tensors[0]

        def value(*index: Any) -> Any:
            inner = []
            for axis, i in enumerate(index[lead:]):
                extent = source.shape[axis]
                if same[axis]:
                    inner.append(i)
                elif isinstance(own[axis], int):
                    inner.append(0 if own[axis] == 1 else i)
                else:
                    inner.append(tirx.Select(tirx.EQ(extent, int64(1)), int64(0), i))
            return source(*inner)

        return te.compute(given, value, name="expand")

    return shapes.compute(build, [data], list(target), "expand")


def _constant_of_shape(
    shapes: DynamicShapes, node: NodeProto, operator: Operator
) -> relax.Expr | None:
    known = shapes.known(node, operator, 0)
    if known is not None and is_static(list(known.reshape(-1))):
        return None
    attribute = operator.attributes.get("value")
    value = np.zeros(1, np.float32) if attribute is None else onnx.numpy_helper.to_array(attribute)
    dims = shapes.shape_operand(node, operator, 0, lambda values: values)
    fill = relax.const(value.reshape(()), str(value.dtype))
    return relax.op.full(relax.ShapeExpr(dims), fill, str(value.dtype))


def _range(shapes: DynamicShapes, node: NodeProto, operator: Operator) -> relax.Expr | None:
    operands = [operator.operand(index) for index in range(3)]
    if all(isinstance(operand, tvm.ir.GenericConst) for operand in operands):
        return None
    known = [shapes.known(node, operator, index) for index in range(3)]
    dtype = str(operands[0].ty.dtype)
    flat: list[Any] = [v.reshape(-1)[0] for v in known if v is not None]
    if len(flat) == 3 and isinstance(flat[2], int) and flat[2] > 0:
        start, limit, delta = flat
        count = shapes.largest(shapes.simplify(ceil_quotient(limit - start, delta)), 0)

        def from_symbols(_: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
            return te.compute(
                (given[0],), lambda i: (given[1] + i * given[2]).astype(dtype), name="range"
            )

        return shapes.compute(from_symbols, [], [count, start, delta], "range")

    def size(tensors: Sequence[te.Tensor], _: Sequence[Any]) -> te.Tensor:
        start, limit, delta = (element(tensor) for tensor in tensors)
        if dtype.startswith("float"):
            count = tirx.ceil((limit - start) / delta).astype("int64")
        else:
            start, limit, delta = (v.astype("int64") for v in (start, limit, delta))
            up = tirx.floordiv(limit - start + delta - 1, delta)
            down = tirx.floordiv(start - limit - delta - 1, -delta)
            count = tirx.Select(tirx.GT(delta, int64(0)), up, down)
        return te.compute((1,), lambda _: tirx.max(count, int64(0)), name="count")

    def fill(tensors: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
        start, delta = element(tensors[0]), element(tensors[2])
        return te.compute((given[0],), lambda i: start + i.astype(dtype) * delta, name="range")

    counted = shapes.compute(size, operands, [], "range_size", op_pattern=OPAQUE)
    (count,) = shapes.bind(counted, node.output[0], [None])
    return shapes.compute(fill, operands, [count], "range")


def _tile(shapes: DynamicShapes, node: NodeProto, operator: Operator) -> relax.Expr | None:
    data = operator.operand(0)
    own = shapes.dims(data)
    known = shapes.known(node, operator, 1)
    if known is not None and is_static(own) and is_static(list(known.reshape(-1))):
        return None
    repeats = shapes.shape_operand(node, operator, 1, lambda values: values)
    target = [shapes.simplify(d * r) for d, r in zip(own, repeats, strict=True)]

    return tile(shapes, data, target)


def tile(shapes: Shapes, data: relax.Expr, target: Sequence[Dim]) -> relax.Expr:
    """A tensor repeated until it fills the shape `target`."""

    def build(tensors: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
        source = tensors[0]
        return te.compute(
            given,
            lambda *index: source(
                *(tirx.floormod(i, d) for i, d in zip(index, source.shape, strict=True))
            ),
            name="tile",
        )

    return shapes.compute(build, [data], target, "tile")


def _gather(shapes: DynamicShapes, _: NodeProto, operator: Operator) -> relax.Expr | None:
    data, indices = operator.operand(0), operator.operand(1)
    own, positions = shapes.dims(data), shapes.dims(indices)
    axis = int(operator.attributes.get("axis", 0)) % len(own)
    if isinstance(own[axis], int):
        return None
    rank = len(positions)

    def build(tensors: Sequence[te.Tensor], __: Sequence[Any]) -> te.Tensor:
        source, where = tensors
        size = source.shape[axis]

        def value(*index: Any) -> Any:
            i = where(*index[axis : axis + rank]).astype("int64")
            i = tirx.Select(tirx.LT(i, int64(0)), i + size, i)
            i = tirx.max(int64(0), tirx.min(i, size - 1))
            return source(*index[:axis], i, *index[axis + rank :])

        shape = [*source.shape[:axis], *where.shape, *source.shape[axis + 1 :]]
        return te.compute(shape, value, name="gather")

    return shapes.compute(build, [data, indices], [], "gather")


RULES = {
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Gather": _gather,
    "Range": _range,
    "Reshape": _reshape,
    "Tile": _tile,
}
