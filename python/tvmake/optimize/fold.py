"""Batch norm folded into the convolution before it: y = s·(conv(x, W) + b - m) + β."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.dpl import is_const, is_op, is_tuple_get_item, rewrite_call, wildcard


def fold_batch_norm(module: tvm.IRModule) -> tvm.IRModule:
    """Fold every inference batch norm whose input is a convolution with constant weights.

    The scale goes into the weights, the rest into one bias. Computed in float64.
    """
    function = module["main"]
    for with_bias in (False, True):
        pattern, match = _pattern(with_bias)
        function = rewrite_call(pattern, match, function)
    functions = dict(module.functions_items())
    functions[module.get_global_var("main")] = function
    return relax.transform.DeadCodeElimination(["main"])(
        tvm.IRModule(functions, attrs=module.attrs)
    )


def _pattern(with_bias: bool) -> tuple[Any, Any]:
    data, weight, bias = wildcard(), is_const(), is_const()
    scale, shift, mean, variance = is_const(), is_const(), is_const(), is_const()
    convolution = is_op("relax.nn.conv2d")(data, weight)
    summed = is_op("relax.add")(convolution, bias) if with_bias else convolution
    norm = is_op("relax.nn.batch_norm")(summed, scale, shift, mean, variance)
    pattern = is_tuple_get_item(norm, 0)

    def rewrite(expr: relax.Expr, matched: dict[Any, relax.Expr]) -> relax.Expr:
        call, attrs = matched[convolution], matched[norm].attrs
        users_agree = int(attrs.axis) == 1 and str(call.attrs.out_layout) == "NCHW"
        if not users_agree or str(call.attrs.kernel_layout) != "OIHW" or bool(attrs.training):
            return expr
        values = {p: matched[p].value.numpy().astype("float64") for p in (weight, mean, variance)}
        factor = 1.0 / np.sqrt(values[variance] + float(attrs.epsilon))
        offset = -values[mean]
        if with_bias:
            offset = offset + _per_channel(matched[bias], len(factor))
        if bool(attrs.scale):
            factor = factor * matched[scale].value.numpy().astype("float64")
        offset = offset * factor
        if bool(attrs.center):
            offset = offset + matched[shift].value.numpy().astype("float64")
        dtype = matched[weight].value.numpy().dtype
        new_weight = (values[weight] * factor[:, None, None, None]).astype(dtype)
        new_bias = offset.reshape(1, -1, 1, 1).astype(dtype)
        new_call = relax.Call(call.op, [matched[data], relax.const(new_weight)], call.attrs)
        return relax.op.add(new_call, relax.const(new_bias))

    return pattern, rewrite


def _per_channel(bias: tvm.ir.GenericConst, channels: int) -> np.ndarray[Any, Any]:
    return np.broadcast_to(bias.value.numpy().astype("float64").reshape(-1), (channels,))
