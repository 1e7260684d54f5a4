"""Resizing along one axis: each element is a sum of a few neighbours, which tables tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx

ANNOTATION = "tvmake.resize"
_Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Taps:
    """For each element of the result, its neighbours: both tables are [size, neighbours].

    Attributes:
        is_outside: which elements of the result have the extrapolation value instead.
    """

    indices: _Array
    weights: _Array
    is_outside: _Array

    def tables(self, dtype: str) -> list[_Array]:
        """The operands of the kernel, beside what it resizes."""
        tables = [self.indices.astype("int32")]
        if self.indices.shape[1] > 1:
            tables.append(self.weights.astype(dtype))
        if self.is_outside.any():
            tables.append(self.is_outside.astype("int32"))
        return tables


@dataclass(frozen=True)
class Resize:
    """How one axis is resized.

    Attributes:
        axis: which one, of a tensor in any layout that has it there.
        has_outside: whether the last table tells which elements have the extrapolation value.
        extrapolation: that value.
    """

    axis: int
    has_outside: bool
    extrapolation: float

    @staticmethod
    def read(numbers: Sequence[Any]) -> Resize:
        """From an annotation."""
        axis, has_outside, extrapolation = numbers
        return Resize(int(axis), bool(has_outside), float(extrapolation))

    @property
    def annotation(self) -> list[Any]:
        """For `read`."""
        return [
            tirx.IntImm("int64", self.axis),
            tirx.IntImm("int64", int(self.has_outside)),
            tirx.FloatImm("float64", self.extrapolation),
        ]


def resized(x: te.Tensor, *tables: te.Tensor, how: Resize, indices: _Array) -> te.Tensor:
    """The tensor expression.

    Args:
        x: what is resized.
        tables: of `Taps.tables`.
        how: which axis, and what is beyond its ends.
        indices: the first table's values.
    """
    dtype, (size, count) = str(x.dtype), indices.shape
    where, *rest = tables
    shape = [*x.shape[: how.axis], size, *x.shape[how.axis + 1 :]]

    def element(*index: Any) -> Any:
        i = index[how.axis]

        def at(k: int) -> Any:
            source = _source(indices[:, k], int(x.shape[how.axis]), i)
            place = where(i, k) if source is None else source
            return x(*index[: how.axis], place, *index[how.axis + 1 :])

        if count == 1:
            result = at(0)
        else:
            weights = rest[0]
            terms = [at(k).astype(str(weights.dtype)) * weights(i, k) for k in range(count)]
            result = _rounded(sum(terms[1:], terms[0]), dtype)
        if how.has_outside:
            result = tirx.Select(rest[-1](i) != 0, tirx.const(how.extrapolation, dtype), result)
        return result

    return te.compute(shape, element, name="resize")


def _source(indices: _Array, extent: int, i: Any) -> Any:
    """The index of a neighbour, where it is easily calculated."""
    size = len(indices)
    if np.array_equal(indices, np.arange(size) * extent // size):
        return tirx.floordiv(i * extent, size)
    return None


def _rounded(value: Any, dtype: str) -> Any:
    """A number as an element of the type; integers saturate."""
    if dtype[:5] == "float":
        return value.astype(dtype)
    low, high = tirx.min_value(dtype), tirx.max_value(dtype)
    bounded = tirx.max(tirx.min(value, high.astype("float32")), low.astype("float32"))
    return tirx.nearbyint(bounded).astype(dtype)
