"""Operators that move elements about or add some."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from tvm import relax, te, tirx

from .operator import Converter, Operator

_PADS_ARE_OPERANDS = 11  # opset from which Pad has its widths as an operand


def _pad(operator: Operator) -> relax.Expr | None:
    """Pad, negative widths cut. With a value that is computed, which TVM's does not take."""
    data, shape = operator.operand(0), operator.shape(0)
    if operator.opset < _PADS_ARE_OPERANDS:
        pads = np.array(operator.attributes.get("pads", operator.attributes.get("paddings")))
        value = relax.const(float(operator.attributes.get("value", 0.0)), str(data.ty.dtype))
    else:
        given = operator.constant(1)
        if given is None:
            raise ValueError("Pad lacks its widths")
        pads = given
        filling = operator.optional(2)
        value = relax.const(0, str(data.ty.dtype)) if filling is None else filling
    axes = operator.constant(3) if len(operator.inputs) > 3 else None
    before, after = _widths(pads, axes, len(shape))
    mode = operator.text("mode", "constant")
    sizes = [b + s + a for b, s, a in zip(before, shape, after, strict=True)]
    if mode != "constant" and 0 in shape:
        raise ValueError(f"Pad in mode {mode} of a tensor without elements")

    def padded(source: te.Tensor, fill: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            position = [i - b for i, b in zip(index, before, strict=True)]
            if mode == "constant":
                inside = [
                    tirx.all(p >= 0, p < s)
                    for p, s, b, a in zip(position, shape, before, after, strict=True)
                    if b > 0 or a > 0
                ]
                filling = fill(*[0] * len(fill.shape))
                return (
                    tirx.if_then_else(tirx.all(*inside), source(*position), filling)
                    if inside
                    else source(*position)
                )
            return source(*[_source(p, s, mode) for p, s in zip(position, shape, strict=True)])

        return te.compute(sizes, element, name="pad")

    return operator.call_te(padded, data, value)


def _widths(pads: Any, axes: Any, rank: int) -> tuple[list[int], list[int]]:
    before, after = [0] * rank, [0] * rank
    chosen = range(rank) if axes is None else [int(axis) % rank for axis in axes]
    for position, axis in enumerate(chosen):
        before[axis] = int(pads[position])
        after[axis] = int(pads[len(pads) // 2 + position])
    return before, after


def _source(position: Any, size: int, mode: str) -> Any:
    """Where an element outside of the tensor is taken from."""
    if mode == "edge":
        return tirx.max(tirx.min(position, size - 1), 0)
    if mode == "wrap":
        return tirx.floormod(position, size)
    if mode != "reflect":
        raise ValueError(f"Pad has the mode {mode}")
    if size == 1:
        return 0 * position
    turn = tirx.floormod(position, 2 * (size - 1))
    return tirx.min(turn, 2 * (size - 1) - turn)


def _reverse_sequence(operator: Operator) -> relax.Expr:
    """The first elements of each sequence in opposite order."""
    time = int(operator.attributes.get("time_axis", 0))
    batch = int(operator.attributes.get("batch_axis", 1))
    shape = operator.shape(0)

    def reverse(data: te.Tensor, lengths: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            length = lengths(index[batch])
            step = index[time].astype(lengths.dtype)
            source = tirx.if_then_else(step < length, length - 1 - step, step)
            position = [source if axis == time else i for axis, i in enumerate(index)]
            return data(*position)

        return te.compute(shape, element, name="reverse_sequence")

    return operator.call_te(reverse, operator.operand(0), operator.operand(1))


def _tensor_scatter(operator: Operator) -> relax.Expr:
    """A cache with an update written into it, for each entry of the batch at its own place."""
    shape, update = operator.shape(0), operator.shape(1)
    axis = int(operator.attributes.get("axis", -2)) % len(shape)
    circular = operator.text("mode", "linear") == "circular"
    places = operator.optional(2)
    if places is None:
        places = relax.const(np.zeros(shape[0]), "int64")
    length, count = shape[axis], update[axis]

    def scatter(cache: te.Tensor, new: te.Tensor, start: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            offset = index[axis].astype(start.dtype) - start(index[0])
            if circular:
                offset = tirx.floormod(offset, tirx.const(length, start.dtype))
            inside = tirx.all(offset >= 0, offset < count)
            position = [offset if a == axis else i for a, i in enumerate(index)]
            return tirx.if_then_else(inside, new(*position), cache(*index))

        return te.compute(shape, element, name="tensor_scatter")

    return operator.call_te(scatter, operator.operand(0), operator.operand(1), places)


def _one_hot(operator: Operator) -> relax.Expr:
    """Indices count from the end if they are negative; those out of range select nothing."""
    depth = operator.constant(1)
    if depth is None:
        raise ValueError("OneHot lacks its depth")
    size = int(depth.reshape(-1)[0])
    shape = operator.shape(0)
    axis = int(operator.attributes.get("axis", -1)) % (len(shape) + 1)

    def one_hot(indices: te.Tensor, values: te.Tensor) -> te.Tensor:
        def element(*index: Any) -> Any:
            chosen = indices(*index[:axis], *index[axis + 1 :]).astype("int64")
            wrapped = tirx.if_then_else(chosen < 0, chosen + size, chosen)
            return tirx.if_then_else(wrapped == index[axis].astype("int64"), values(1), values(0))

        return te.compute([*shape[:axis], size, *shape[axis:]], element, name="one_hot")

    return operator.call_te(one_hot, operator.operand(0), operator.operand(2))


def _eye_like(operator: Operator) -> relax.Expr | None:
    """A constant. TVM's wants the type of the operand."""
    rows, columns = operator.shape(0)
    dtype = operator.dtype(0)
    if kind := operator.attributes.get("dtype"):
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(kind))
    matrix = np.eye(rows, columns, int(operator.attributes.get("k", 0)))
    return relax.const(matrix.astype(dtype), dtype)


CONVERTERS: dict[str, Converter] = {
    "EyeLike": _eye_like,
    "OneHot": _one_hot,
    "Pad": _pad,
    "ReverseSequence": _reverse_sequence,
    "TensorScatter": _tensor_scatter,
}
