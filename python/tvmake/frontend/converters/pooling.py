"""MaxPool that tells where its maxima were, and the way back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import relax, te, tirx

from .operator import Converter, Operator
from .windows import Window, window


@dataclass(frozen=True)
class _Pool:
    """The three steps of a MaxPool with indices, as tensor expressions."""

    window: Window
    shape: Sequence[int]
    dtype: str
    by_columns: bool

    @property
    def result(self) -> tuple[int, ...]:
        """The shape of the results."""
        return (*self.shape[:2], *self.window.sizes)

    def maxima(self, x: te.Tensor) -> te.Tensor:
        """The largest element of each window."""
        axes = self._axes()
        lowest = tirx.min_value(self.dtype)

        def element(n: Any, c: Any, *place: Any) -> Any:
            at, inside = self._source(place, axes)
            return te.max(tirx.if_then_else(inside, x(n, c, *at), lowest), axis=axes)

        return te.compute(self.result, element, name="max_pool")

    def first(self, x: te.Tensor, y: te.Tensor) -> te.Tensor:
        """The number of the first pixel of each window that has its maximum."""
        axes = self._axes()
        nowhere = tirx.const(math.prod(self.shape[2:]) - 1, "int64")

        def element(n: Any, c: Any, *place: Any) -> Any:
            at, inside = self._source(place, axes)
            number = tirx.const(0, "int64")
            for position, size in zip(at, self.shape[2:], strict=True):
                number = number * size + position.astype("int64")
            is_maximum = tirx.if_then_else(
                inside, x(n, c, *at) == y(n, c, *place), tirx.const(0, "bool")
            )
            return te.min(tirx.Select(is_maximum, number, nowhere), axis=axes)

        return te.compute(self.result, element, name="first")

    def indices(self, first: te.Tensor) -> te.Tensor:
        """The same as indices into the whole tensor."""
        spatial = list(self.shape[2:])

        def element(n: Any, c: Any, *place: Any) -> Any:
            rest, parts = first(n, c, *place), []
            for size in reversed(spatial):
                parts.append((tirx.floormod(rest, size), size))
                rest = tirx.floordiv(rest, size)
            index = n.astype("int64") * self.shape[1] + c.astype("int64")
            for part, size in parts if self.by_columns else reversed(parts):
                index = index * size + part
            return index

        return te.compute(first.shape, element, name="indices")

    def _axes(self) -> list[Any]:
        return [te.reduce_axis((0, size), name="k") for size in self.window.kernel]

    def _source(self, place: Sequence[Any], axes: Sequence[Any]) -> tuple[list[Any], Any]:
        """Where an element of a window lies, and whether that is in the input."""
        win = self.window
        at = [
            p * s + k * d - b
            for p, s, k, d, b in zip(
                place, win.strides, axes, win.dilations, win.before, strict=True
            )
        ]
        bounds = [c for a, n in zip(at, self.shape[2:], strict=True) for c in (a >= 0, a < n)]
        return at, tirx.all(*bounds)


def _max_pool(operator: Operator) -> relax.Expr | None:
    """MaxPool with indices; TVM converts all others."""
    if operator.num_outputs < 2:
        return None
    value, shape = operator.operand(0), operator.shape(0)
    kernel = [int(size) for size in operator.attributes["kernel_shape"]]
    by_columns = bool(operator.attributes.get("storage_order", 0))
    pool = _Pool(window(operator, shape[2:], kernel), shape, str(value.ty.dtype), by_columns)
    maxima = operator.call_te(pool.maxima, value)
    first = operator.call_te(pool.first, value, maxima, name="find_maximum")
    return relax.Tuple([maxima, operator.call_te(pool.indices, first, name="number_maximum")])


def _max_unpool(operator: Operator) -> relax.Expr:
    """Maxima back to where they came from. Indices that lie nowhere are dropped."""
    shape = operator.shape(0)
    kernel = [int(size) for size in operator.attributes["kernel_shape"]]
    rank = len(kernel)
    strides = operator.attributes.get("strides", [1] * rank)
    pads = operator.attributes.get("pads", [0] * 2 * rank)
    full = shape[:2] + [
        (size - 1) * int(strides[i]) - int(pads[i]) - int(pads[rank + i]) + kernel[i]
        for i, size in enumerate(shape[2:])
    ]
    total = math.prod(full)
    emit = operator.emit
    indices = emit(relax.op.reshape(emit(relax.op.astype(operator.operand(1), "int64")), [-1]))
    count = relax.const(total, "int64")
    valid = emit(
        relax.op.logical_and(
            emit(relax.op.less(indices, count)),
            emit(relax.op.greater_equal(indices, relax.const(0, "int64"))),
        )
    )
    indices = emit(relax.op.where(valid, indices, count))
    dtype = str(operator.operand(0).ty.dtype)
    empty = emit(relax.op.zeros([total + 1], dtype))
    values = emit(relax.op.reshape(operator.operand(0), [-1]))
    filled = emit(relax.op.scatter_elements(empty, indices, values, axis=0))
    filled = emit(relax.op.strided_slice(filled, [0], [0], [total]))
    result = emit(relax.op.reshape(filled, full))
    wanted = operator.constant(2)
    if wanted is None or [int(size) for size in wanted] == full:
        return result
    room = [int(size) - have for size, have in zip(wanted, full, strict=True)]
    if min(room) < 0:
        raise ValueError(f"MaxUnpool gives {full}, which is more than its output_shape")
    return emit(relax.op.nn.pad(result, [part for size in room for part in (0, size)]))


CONVERTERS: dict[str, Converter] = {"MaxPool": _max_pool, "MaxUnpool": _max_unpool}
