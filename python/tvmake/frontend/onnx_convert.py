"""ONNX operators that we convert ourselves, because TVM's converter is missing, wasteful or unsafe.

A converter returns None to leave a case to TVM's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from tvm import relax

_Attributes: TypeAlias = "Mapping[str, Any]"
Converter = Callable[[relax.BlockBuilder, list[relax.Expr], _Attributes], "relax.Expr | None"]


def _chain(operator: Callable[[relax.Expr, relax.Expr], relax.Expr]) -> Converter:
    """A variadic operator as a chain of binary ones, which fuse; TVM stacks and reduces."""
    return lambda builder, inputs, _: _reduce(builder, operator, inputs)


def _reduce(
    builder: relax.BlockBuilder,
    operator: Callable[[relax.Expr, relax.Expr], relax.Expr],
    inputs: list[relax.Expr],
) -> relax.Expr:
    return functools.reduce(lambda a, b: builder.normalize(operator(a, b)), inputs)


def _mean(builder: relax.BlockBuilder, inputs: list[relax.Expr], _: _Attributes) -> relax.Expr:
    total = _reduce(builder, relax.op.add, inputs)
    count = relax.const(len(inputs), str(total.ty.dtype))
    return builder.normalize(relax.op.divide(total, count))


def _gather(
    builder: relax.BlockBuilder, inputs: list[relax.Expr], attributes: _Attributes
) -> relax.Expr | None:
    """Gather with indices clipped to the table: TVM's reads whatever memory an index points to."""
    data, indices = (builder.normalize(value) for value in inputs)
    static = all(isinstance(v.ty, relax.TensorType) and v.ty.shape for v in (data, indices))
    if not static:
        return None
    axis = int(attributes.get("axis", 0)) % len(data.ty.shape)
    size = relax.const(int(data.ty.shape[axis]), str(indices.ty.dtype))
    zero = relax.const(0, str(indices.ty.dtype))
    from_end = builder.normalize(relax.op.add(indices, size))
    wrapped = relax.op.where(builder.normalize(relax.op.less(indices, zero)), from_end, indices)
    return builder.normalize(
        relax.op.take(data, builder.normalize(wrapped), axis=axis, mode="clip")
    )


CONVERTERS: dict[str, Converter] = {
    "Gather": _gather,
    "Max": _chain(relax.op.maximum),
    "Mean": _mean,
    "Min": _chain(relax.op.minimum),
    "Sum": _chain(relax.op.add),
}
