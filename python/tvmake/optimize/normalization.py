"""Layer norms and RMS norms become kernels of their own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tvm import relax

from tvmake.kernels.normalization import Normalization, normalization
from tvmake.optimize.main_function import (
    MainFunction,
    Replacement,
    call_kernel,
    dtype,
    operator,
    replace_values,
    reshaped,
    shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import tvm

    from tvmake.schedule.cpu import CpuModel

_LAYER_NORM, _RMS_NORM = "relax.nn.layer_norm", "relax.nn.rms_norm"


def fuse_normalizations(module: tvm.IRModule, cpu: CpuModel) -> tvm.IRModule:
    """Replace float32 layer norms and RMS norms of the last axes, of static shape, by kernels."""

    def rule(variable: relax.Var, main: MainFunction) -> Replacement | None:
        call = main.call(variable, _LAYER_NORM, _RMS_NORM)
        return _replacement(call, cpu) if call is not None and _fits(call) else None

    return replace_values(module, rule)


def _fits(call: relax.Call) -> bool:
    """Whether it is of the last axes, with factors and offsets for each of their elements."""
    data, *parameters = call.args
    extents = shape(data)
    if not all(isinstance(extent, int) and extent > 0 for extent in extents):
        return False
    if any(dtype(operand) != "float32" for operand in call.args):
        return False
    axes = sorted(int(axis) % len(extents) for axis in call.attrs.axes)
    first = len(extents) - len(axes)
    if axes != list(range(first, len(extents))):
        return False
    if operator(call) == _LAYER_NORM and not (call.attrs.center and call.attrs.scale):
        return False
    return all(math.prod(shape(p)) == math.prod(extents[first:]) for p in parameters)


def _replacement(call: relax.Call, cpu: CpuModel) -> Replacement:
    data, *parameters = call.args
    extents = shape(data)
    length = math.prod(extents[len(extents) - len(call.attrs.axes) :])
    rows = math.prod(extents) // length
    centered = operator(call) == _LAYER_NORM
    spec = Normalization(rows, length, float(call.attrs.epsilon), centered)

    def emit(
        builder: relax.BlockBuilder, new: Callable[[relax.Expr], relax.Expr], name: str
    ) -> relax.Expr:
        arguments = [reshaped(builder, new(data), (rows, length))]
        arguments += [reshaped(builder, new(p), (length,)) for p in parameters]
        kernel = normalization(spec, cpu)
        hint = "layer_norm" if centered else "rms_norm"
        return call_kernel(builder, kernel, hint, arguments, (rows, length), extents, name)

    return emit
