"""Batch norms folded away: at inference each is one scale and one offset per channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tvm
from tvm import relax
from tvm.relax.dpl import is_const, is_op, is_tuple_get_item, rewrite_call, wildcard

if TYPE_CHECKING:
    from tvm.relax.dpl import DFPattern

_Array: TypeAlias = "np.ndarray[Any, Any]"
_Matched: TypeAlias = "dict[DFPattern, relax.Expr]"
_LAYOUTS = [("NCW", "OIW"), ("NCHW", "OIHW"), ("NCDHW", "OIDHW")]  # of results and weights
_Rule: TypeAlias = "tuple[DFPattern, Callable[[relax.Expr, _Matched], relax.Expr]]"


def fold_batch_norm(module: tvm.IRModule) -> tvm.IRModule:
    """Fold every inference batch norm with constant parameters. Computed in float64.

    After a convolution with constant weights, the scale goes into the weights and the rest into
    one bias; elsewhere the norm becomes one multiplication and one addition.
    """
    function = module["main"]
    convolutions = [
        _after_convolution(f"relax.nn.conv{rank}d", with_bias=with_bias)
        for rank in (1, 2, 3)
        for with_bias in (False, True)
    ]
    for rule in (*convolutions, _alone()):
        function = rewrite_call(*rule, function)
    functions = dict(module.functions_items())
    functions[module.get_global_var("main")] = function
    module = tvm.IRModule(functions, attrs=module.attrs)
    return relax.transform.DeadCodeElimination(["main"])(module)


class _Norm:
    """A batch norm in a pattern, and what it comes to: y = factor·x + offset."""

    def __init__(self, data: DFPattern) -> None:
        self.parameters = [is_const() for _ in range(4)]  # gamma, beta, mean, variance
        self.pattern = is_op("relax.nn.batch_norm")(data, *self.parameters)

    def affine(self, matched: _Matched) -> tuple[_Array, _Array]:
        """Factor and offset of each channel."""
        gamma, beta, mean, variance = (_float64(matched[p]) for p in self.parameters)
        attrs = matched[self.pattern].attrs
        factor = 1.0 / np.sqrt(variance + float(attrs.epsilon))
        factor = factor * gamma if bool(attrs.scale) else factor
        offset = -mean * factor
        return factor, offset + beta if bool(attrs.center) else offset

    def is_on_channels(self, matched: _Matched) -> bool:
        """Whether it normalizes axis 1, at inference."""
        attrs = matched[self.pattern].attrs
        return int(attrs.axis) == 1 and not bool(attrs.training)


def _after_convolution(operator: str, *, with_bias: bool) -> _Rule:
    data, weight, bias = wildcard(), is_const(), is_const()
    convolution = is_op(operator)(data, weight)
    norm = _Norm(is_op("relax.add")(convolution, bias) if with_bias else convolution)
    pattern = is_tuple_get_item(norm.pattern, 0)

    def rewrite(expr: relax.Expr, matched: _Matched) -> relax.Expr:
        call = matched[convolution]
        layouts = (str(call.attrs.out_layout), str(call.attrs.kernel_layout))
        if not norm.is_on_channels(matched) or layouts not in _LAYOUTS:
            return expr
        factor, offset = norm.affine(matched)
        if with_bias:
            offset = (
                offset + np.broadcast_to(_float64(matched[bias]).reshape(-1), factor.shape) * factor
            )
        dtype = str(matched[weight].ty.dtype)
        values = _float64(matched[weight])
        scaled = values * factor.reshape(-1, *(1 for _ in values.shape[1:]))
        folded = relax.Call(call.op, [matched[data], _constant(scaled, dtype)], call.attrs)
        return relax.op.add(
            folded, _constant(offset.reshape(1, -1, *(1 for _ in values.shape[2:])), dtype)
        )

    return pattern, rewrite


def _alone() -> _Rule:
    data = wildcard()
    norm = _Norm(data)
    pattern = is_tuple_get_item(norm.pattern, 0)

    def rewrite(expr: relax.Expr, matched: _Matched) -> relax.Expr:
        if not norm.is_on_channels(matched):
            return expr
        operand = matched[data]
        shape = (1, -1, *(1,) * (len(operand.ty.shape) - 2))
        factor, offset = (
            _constant(values.reshape(shape), str(operand.ty.dtype))
            for values in norm.affine(matched)
        )
        return relax.op.add(relax.op.multiply(operand, factor), offset)

    return pattern, rewrite


def _float64(constant: tvm.ir.GenericConst) -> _Array:
    return constant.value.numpy().astype("float64")  # type: ignore[no-any-return]


def _constant(values: _Array, dtype: str) -> relax.Expr:
    return relax.const(values.astype(dtype))
