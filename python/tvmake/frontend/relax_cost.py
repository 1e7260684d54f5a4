"""The multiplications of an imported model, from the shapes of its Relax operators."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import tvm
from tvm import relax, tirx

if TYPE_CHECKING:
    from collections.abc import Callable


def multiplications(module: tvm.IRModule) -> int | None:
    """Those of convolutions and matrix products in one run; None when a shape is open."""
    total = 0
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            value = binding.value
            name = value.op.name if _is_operator(value) else ""
            if rule := _RULES.get(name):
                operands = [_shape(argument) for argument in value.args[:2]]
                result = _shape(binding.var)
                if result is None or None in operands:
                    return None
                total += rule(value, [shape or () for shape in operands], result)
    return total


def _is_operator(value: relax.Expr) -> bool:
    return isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op)


def _shape(expression: relax.Expr) -> tuple[int, ...] | None:
    shape = getattr(expression.ty, "shape", None)
    if shape is None or not all(isinstance(dim, tirx.IntImm) for dim in shape):
        return None
    return tuple(int(dim) for dim in shape)


def _convolution(call: relax.Call, operands: list[tuple[int, ...]], result: tuple[int, ...]) -> int:
    weight = operands[1]
    outputs = weight[str(call.attrs.kernel_layout).index("O")]
    return math.prod(result) * math.prod(weight) // max(1, outputs)


def _transposed(call: relax.Call, operands: list[tuple[int, ...]], _: tuple[int, ...]) -> int:
    data, weight = operands
    inputs = weight[str(call.attrs.kernel_layout).index("I")]
    return math.prod(data) * math.prod(weight) // max(1, inputs)


def _product(_: relax.Call, operands: list[tuple[int, ...]], result: tuple[int, ...]) -> int:
    return math.prod(result) * operands[0][-1]


_RULES: dict[str, Callable[[relax.Call, list[tuple[int, ...]], tuple[int, ...]], int]] = {
    **{f"relax.nn.conv{rank}d": _convolution for rank in (1, 2, 3)},
    **{f"relax.nn.conv{rank}d_transpose": _transposed for rank in (1, 2, 3)},
    "relax.matmul": _product,
}
