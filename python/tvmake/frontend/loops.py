"""The marks around a loop's body, as calls that lowering knows.

What a loop carries is kept in tensors that each turn overwrites: the number of turns made, whether
there is another, and the values of the model. Values that a loop collects have a tensor for all of
them, of which each turn writes one part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T  # noqa: N812 - as TVM writes it

from tvmake.op_patterns import OPAQUE

from .expressions import element, int64

if TYPE_CHECKING:
    from onnx import NodeProto

    from .converters import Operator
    from .dynamic import DynamicShapes
    from .symbolic import Dim

BEGIN, END = "tvmake.loop_begin:", "tvmake.loop_end:"  # external functions; the loop's name follows
LOOP_MARKS = ("tvmake.LoopBegin", "tvmake.LoopEnd")


def _begin(shapes: DynamicShapes, node: NodeProto, operator: Operator) -> relax.Expr:
    """(turn, go, what is carried) at the start of a turn."""
    limit, condition = operator.optional(0), operator.optional(1)
    if operator.attributes.get("bounded"):
        known = shapes.known(node, operator, 0)
        shapes.limits[node.name] = (
            _limit(shapes, node, limit)
            if known is None
            else shapes.largest(shapes.simplify(known.reshape(())[()]), 0)
        )
    states = [operator.operand(index) for index in range(2, len(operator.inputs))]
    shapes.carried[node.name] = states
    turn = relax.const(np.array(0), "int64")
    values = [turn, _goes_on(shapes, condition, turn, limit), *states]
    return _call(operator, BEGIN + node.name, values)


def _end(shapes: DynamicShapes, node: NodeProto, operator: Operator) -> relax.Expr:
    """The last of what is carried, and all of what is collected."""
    turn, again, limit = operator.operand(0), operator.optional(1), operator.optional(2)
    following = [operator.operand(index) for index in range(3, len(operator.inputs))]
    num_scans = int(operator.attributes["num_scans"])
    states, scans = following[: len(following) - num_scans], following[len(following) - num_scans :]
    for first, value in zip(shapes.carried[node.name], states, strict=True):
        _check_type(shapes, first, value)
    next_turn = operator.emit(relax.op.add(turn, relax.const(np.array(1), "int64")))
    next_turn = operator.builder.emit(next_turn)
    go = _goes_on(shapes, again, next_turn, limit)
    collected = [_collect(shapes, scan, turn, shapes.limits[node.name]) for scan in scans]
    results = _call(operator, END + node.name, [next_turn, go, *states, *collected]).fields
    turns, _, *values = results
    if scans and not operator.attributes["counted"]:
        flat = operator.builder.emit(relax.op.reshape(turns, (1,)))
        (count,) = shapes.bind(flat, node.output[-1], [shapes.limits[node.name]])
        cut = [_first(shapes, value, count) for value in values[len(states) :]]
        values = [*values[: len(states)], *cut]
    return values[0] if len(values) == 1 else relax.Tuple(values)


def _check_type(shapes: DynamicShapes, first: relax.Expr, value: relax.Expr) -> None:
    before, after = shapes.dims(first), shapes.dims(value)
    same = len(before) == len(after) and all(map(shapes.same, before, after))
    if not same or first.ty.dtype != value.ty.dtype:
        texts = (f"{e.ty.dtype} {shapes.dims(e)}" for e in (first, value))
        raise ValueError("what a loop carries is {} before a turn, {} after it".format(*texts))


def _call(operator: Operator, name: str, values: Sequence[relax.Expr]) -> relax.Tuple:
    """A call of a mark: the values, under names that hold from there on."""
    types = relax.TupleType([operator.builder.normalize(value).ty for value in values])
    call = operator.builder.emit(relax.call_pure_packed(name, *values, ty_args=[types]))
    return relax.Tuple(
        [operator.builder.emit(relax.TupleGetItem(call, index)) for index in range(len(values))]
    )


def _goes_on(
    shapes: DynamicShapes, condition: relax.Expr | None, turn: relax.Expr, limit: relax.Expr | None
) -> relax.Expr:
    """Whether there is a turn of this number."""
    given = [value for value in (condition, limit) if value is not None]

    def build(tensors: Sequence[te.Tensor], _: Sequence[Any]) -> te.Tensor:
        number, *rest = tensors
        holds = element(rest.pop(0)) if condition is not None else tirx.const(1, "bool")
        within = element(number) < element(rest[0]) if limit is not None else tirx.const(1, "bool")
        return te.compute((), lambda: tirx.all(holds, within), name="goes_on")

    return shapes.compute(build, [turn, *given], [], "goes_on", op_pattern=OPAQUE)


def _limit(shapes: DynamicShapes, node: NodeProto, limit: relax.Expr | None) -> Dim:
    """The most turns, as an extent."""
    if limit is None:
        raise ValueError("a loop that collects values needs a limit for their number")

    def build(tensors: Sequence[te.Tensor], _: Sequence[Any]) -> te.Tensor:
        return te.compute((1,), lambda _: tirx.max(int64(0), element(tensors[0])), name="limit")

    bounded = shapes.compute(build, [limit], [], "limit", op_pattern=OPAQUE)
    return shapes.bind(bounded, node.name, [None])[0]


def _collect(shapes: DynamicShapes, value: relax.Expr, turn: relax.Expr, limit: Dim) -> relax.Expr:
    """All collected values, of which this turn's is written."""
    dims = shapes.dims(value)

    def build(tensors: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
        source, number = tensors

        def body(ins: Any, outs: Any) -> Any:
            with IRBuilder() as builder:
                place = tirx.BufferLoad(ins[1], [0] * len(number.shape))
                _each(source.shape, lambda at: _copy(ins[0], at, outs[0], [place, *at]))
            return builder.get()

        return te.extern(
            [(given[0], *source.shape)],
            [source, number],
            body,
            dtype=[source.dtype],
            name="collect",
        )

    return shapes.compute(build, [value, turn], [limit, *dims], "collect", op_pattern=OPAQUE)


def _each(extents: Sequence[Any], body: Callable[[list[Any]], None], *at: Any) -> None:
    """Emits a loop nest."""
    if len(at) == len(extents):
        body(list(at))
        return
    with T.serial(0, extents[len(at)]) as index:
        _each(extents, body, *at, index)


def _copy(source: Any, at: list[Any], target: Any, to: list[Any]) -> None:
    T.buffer_store(target, tirx.BufferLoad(source, at), to)


def _first(shapes: DynamicShapes, value: relax.Expr, count: tirx.Var) -> relax.Expr:
    """The first `count` parts."""

    def build(tensors: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
        shape = (given[0], *tensors[0].shape[1:])
        return te.compute(shape, lambda *index: tensors[0](*index), name="first")  # noqa: PLW0108 - TE reads the signature

    return shapes.compute(build, [value], [count], "first", op_pattern=OPAQUE)


RULES = {"tvmake.LoopBegin": _begin, "tvmake.LoopEnd": _end}
