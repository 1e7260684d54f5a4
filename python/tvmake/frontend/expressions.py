"""Pieces of the kernels that compute with shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm_ffi
from tvm import te, tirx


def element(tensor: te.Tensor) -> Any:
    """The one element of a tensor."""
    return tensor(*([0] * len(tensor.shape)))


def is_nonzero(value: Any, dtype: str) -> Any:
    """Whether an element is not zero."""
    return value if dtype == "bool" else value != tirx.const(0, dtype)


def int64(value: Any) -> Any:
    """A number or an expression as an expression."""
    return tirx.IntImm("int64", int(value)) if isinstance(value, int | np.integer) else value


def extents_tensor(
    elements: Sequence[Any], given: Sequence[Any], resolve: Callable[[list[Any]], list[Any]]
) -> te.Tensor:
    """A tensor of the extents that `resolve` makes of some elements."""
    extents = resolve([*elements, *given])

    def element(k: Any) -> Any:
        result = int64(extents[-1])
        for position in reversed(range(len(extents) - 1)):
            result = tirx.Select(k == position, int64(extents[position]), result)
        return result

    return te.compute((len(extents),), element, name="extents")


def ceil_quotient(a: Any, b: int) -> Any:
    """A quotient, rounded up."""
    if b == 1:
        return a
    return -(-a // b) if isinstance(a, int) else tirx.floordiv(a + (b - 1), b)


def reads_tensor(value: Any) -> bool:
    """Whether an expression is data, and not only symbols."""
    found: list[bool] = []
    if not isinstance(value, int):
        tvm_ffi.structural_walk(value, lambda e: found.append(isinstance(e, te.Tensor)))
    return any(found)
