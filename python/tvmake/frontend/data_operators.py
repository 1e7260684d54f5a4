"""Operators whose results depend on data in shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T  # noqa: N812 - as TVM writes it

from tvmake import constants
from tvmake.kernels.suppression import select_boxes
from tvmake.kernels.unique import unique_rows
from tvmake.op_patterns import OPAQUE

from .expressions import element, int64, is_nonzero
from .symbolic import is_static, product

if TYPE_CHECKING:
    from onnx import NodeProto

    from .converters import Operator
    from .dynamic import DynamicShapes
    from .symbolic import Dim


def _nonzero(shapes: DynamicShapes, node: NodeProto, operator: Operator) -> relax.Expr:
    data = operator.operand(0)
    dims = shapes.dims(data)
    if not dims:
        data, dims = relax.op.reshape(data, (1,)), [1]
        data = operator.emit(data)
    count = _count(shapes, data, dims, node.output[0])
    return positions(shapes, data, count)


def _count(shapes: DynamicShapes, data: relax.Expr, dims: Sequence[Dim], name: str) -> tirx.Var:
    """A symbol for the number of elements that are not zero."""

    def build(tensors: Sequence[te.Tensor], _: Sequence[Any]) -> te.Tensor:
        source = tensors[0]
        axes = [te.reduce_axis((0, extent), name="r") for extent in source.shape]
        return te.compute(
            (1,),
            lambda _: te.sum(is_nonzero(source(*axes), source.dtype).astype("int64"), axis=axes),
            name="count",
        )

    counted = shapes.compute(build, [data], [], "count_nonzero", op_pattern=OPAQUE)
    return shapes.bind(counted, name, [shapes.simplify(product(dims))])[0]


def positions(shapes: DynamicShapes, data: relax.Expr, count: tirx.Var) -> relax.Expr:
    """int64 [rank, count]: where a tensor is not zero, in row-major order."""

    def build(tensors: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
        source = tensors[0]
        rank, total = len(source.shape), product(source.shape)

        def body(ins: Any, outs: Any) -> Any:
            with IRBuilder() as builder, T.seq_scope():
                read, write = T.buffer_proxy(ins[0]), T.buffer_proxy(outs[0])
                found = T.buffer_proxy(outs[1])
                found[0] = int64(0)
                with T.serial(0, total) as i:  # noqa: SIM117 - the condition needs i
                    with T.If(tirx.all(is_nonzero(read[i], source.dtype), found[0] < given[0])):
                        with T.Then():
                            rest = i
                            for axis in reversed(range(rank)):
                                write[axis, found[0]] = tirx.floormod(rest, source.shape[axis])
                                rest = tirx.floordiv(rest, source.shape[axis])
                            found[0] = found[0] + int64(1)
            return builder.get()

        shape = [(rank, given[0]), (1,)]
        return te.extern(shape, [source], body, dtype=["int64", "int64"], name="positions")

    result = shapes.compute(build, [data], [count], "positions", op_pattern=OPAQUE)
    assert shapes.builder is not None
    return shapes.builder.emit(relax.TupleGetItem(result, 0))


def _compress(shapes: DynamicShapes, node: NodeProto, operator: Operator) -> relax.Expr | None:
    data, condition = operator.operand(0), operator.operand(1)
    if isinstance(condition, tvm.ir.GenericConst):
        return None
    if "axis" in operator.attributes:
        axis = int(operator.attributes["axis"]) % len(shapes.dims(data))
    else:
        data = operator.emit(relax.op.reshape(data, (product(shapes.dims(data)),)))
        axis = 0
    dims = shapes.dims(condition)
    count = _count(shapes, condition, dims, node.output[0])
    where = operator.builder.emit(positions(shapes, condition, count))
    indices = operator.builder.emit(relax.op.reshape(where, (count,)))
    return relax.op.take(data, indices, axis=axis, mode="clip")


def _select(shapes: DynamicShapes, node: NodeProto, operator: Operator) -> relax.Expr:
    """The result of an If: of one branch. The executor skips what only the other one needs."""
    condition = operator.operand(0)
    then, other = operator.operand(1), operator.operand(2)
    then_dims, other_dims = shapes.dims(then), shapes.dims(other)
    if len(then_dims) != len(other_dims):
        raise ValueError("the branches of an If have results of different rank")
    target: list[Dim] = []
    for a, b in zip(then_dims, other_dims, strict=True):
        if shapes.same(a, b):
            target.append(a)
            continue

        def choose(tensors: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
            taken = element(tensors[0])
            return te.compute((1,), lambda _: tirx.Select(taken, given[0], given[1]), name="extent")

        extent = shapes.compute(choose, [condition], [a, b], "choose_extent", op_pattern=OPAQUE)
        target += shapes.bind(extent, node.output[0], [shapes.largest(a, b)])

    def build(tensors: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
        taken = element(tensors[0])
        return te.compute(
            given,
            lambda *i: tirx.if_then_else(taken, tensors[1](*i), tensors[2](*i)),
            name="select",
        )

    return shapes.compute(
        build, [condition, then, other], target, "select_branch", op_pattern=OPAQUE
    )


def _non_max_suppression(
    shapes: DynamicShapes, node: NodeProto, operator: Operator
) -> relax.Expr | None:
    boxes, scores = operator.operand(0), operator.operand(1)
    limits = [operator.optional(index) for index in (2, 3, 4)]
    if limits[0] is None:
        # As ONNX has it: without a limit, none is chosen.
        return relax.const(np.zeros((0, 3), "int64"), "int64")
    if limits[1] is None:
        limits[1] = relax.const(np.zeros(1, "float32"))
    given = [limit for limit in limits if limit is not None]
    batches, classes, n = shapes.dims(scores)
    most: Dim = n
    if isinstance(limits[0], tvm.ir.GenericConst):
        most = tirx.min(n, int(constants.values(limits[0]).reshape(())))
    capacity = shapes.simplify(product([batches, classes, most]))

    def build(tensors: Sequence[te.Tensor], sizes: Sequence[Any]) -> Any:
        by_center = bool(operator.attributes.get("center_point_box", 0))
        return select_boxes(tensors[0], tensors[1], tensors[2:], sizes[0], by_center=by_center)

    result = shapes.compute(
        build, [boxes, scores, *given], [capacity], "select_boxes", op_pattern=OPAQUE
    )
    chosen, found = (operator.emit(relax.TupleGetItem(result, index)) for index in (0, 1))
    count = shapes.bind(found, node.output[0], [capacity])[0]

    def cut(tensors: Sequence[te.Tensor], sizes: Sequence[Any]) -> te.Tensor:
        return te.compute((sizes[0], 3), lambda i, j: tensors[0](j, i), name="chosen")

    return shapes.compute(cut, [chosen], [count], "cut_boxes", op_pattern=OPAQUE)


def _unique(shapes: DynamicShapes, node: NodeProto, operator: Operator) -> relax.Expr:
    data = operator.operand(0)
    dims = shapes.dims(data)
    if not is_static(dims):
        raise ValueError(f"a tensor of known shape is expected, not {data.ty}")
    if not product(dims):
        raise ValueError("the tensor has no elements")
    whole = "axis" not in operator.attributes
    axis = 0 if whole else int(operator.attributes["axis"]) % len(dims)
    # The rows that are compared: elements, or what lies at one index of the axis.
    order = [axis, *(i for i in range(len(dims)) if i != axis)]
    moved = data if whole else operator.emit(relax.op.permute_dims(data, order))
    length = product(dims) if whole else dims[axis]
    inner = [] if whole else [dims[i] for i in order[1:]]
    rows = operator.emit(relax.op.reshape(moved, (length, product(inner))))

    def build(tensors: Sequence[te.Tensor], _: Sequence[Any]) -> Any:
        return unique_rows(tensors[0], ascending=bool(operator.attributes.get("sorted", 1)))

    result = shapes.compute(build, [rows], [], "unique_rows", op_pattern=OPAQUE)
    found, which, number = (operator.emit(relax.TupleGetItem(result, i)) for i in range(3))
    count = shapes.bind(number, node.output[0], [length])[0]

    def column(index: int) -> relax.Expr:
        def cut(tensors: Sequence[te.Tensor], sizes: Sequence[Any]) -> te.Tensor:
            return te.compute((sizes[0],), lambda i: tensors[0](i, index), name="column")

        return shapes.compute(cut, [found], [count], "cut_column", op_pattern=OPAQUE)

    first = column(0)
    taken = operator.emit(relax.op.take(rows, first, axis=0, mode="clip"))
    values = operator.emit(relax.op.reshape(taken, (count, *inner)))
    if axis:
        values = operator.emit(
            relax.op.permute_dims(values, [order.index(i) for i in range(len(order))])
        )
    results = [values, first, which, column(1)][: operator.num_outputs]
    return results[0] if len(results) == 1 else relax.Tuple(results)


RULES = {
    "Compress": _compress,
    "NonMaxSuppression": _non_max_suppression,
    "NonZero": _nonzero,
    "Unique": _unique,
    "tvmake.Select": _select,
}
