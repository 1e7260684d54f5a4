"""ONNX operators that we convert ourselves, because TVM's converter is missing or wasteful."""

from __future__ import annotations

import functools
from collections.abc import Callable

from tvm import relax

Converter = Callable[[relax.BlockBuilder, list[relax.Expr]], relax.Expr]


def _chain(operator: Callable[[relax.Expr, relax.Expr], relax.Expr]) -> Converter:
    """A variadic operator as a chain of binary ones, which fuse; TVM stacks and reduces."""

    def convert(builder: relax.BlockBuilder, inputs: list[relax.Expr]) -> relax.Expr:
        return functools.reduce(lambda a, b: builder.normalize(operator(a, b)), inputs)

    return convert


def _mean(builder: relax.BlockBuilder, inputs: list[relax.Expr]) -> relax.Expr:
    total = CONVERTERS["Sum"](builder, inputs)
    count = relax.const(len(inputs), str(total.ty.dtype))
    return builder.normalize(relax.op.divide(total, count))


CONVERTERS: dict[str, Converter] = {
    "Sum": _chain(relax.op.add),
    "Max": _chain(relax.op.maximum),
    "Min": _chain(relax.op.minimum),
    "Mean": _mean,
}
