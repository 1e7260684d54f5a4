"""Convolutions in one dimension and transposed ones, as the plain 2-D convolutions they come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import relax

from tvmake.optimize.main_function import (
    MainFunction,
    Replacement,
    constant,
    replace_values,
    reshaped,
    shape,
)

if TYPE_CHECKING:
    import tvm

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Convolution:
    """A convolution over height and width; what has no height has a height of one."""

    data: relax.Expr
    weight: Array
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]  # top, left, bottom, right
    dilation: tuple[int, int]
    groups: int
    result: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int, int, int]:
        """Of the input: batch, channels, height, width."""
        return _with_height(shape(self.data))

    @property
    def result_size(self) -> tuple[int, int, int, int]:
        """Of the output."""
        return _with_height(self.result)


def plain_convolutions(module: tvm.IRModule) -> tvm.IRModule:
    """Rewrite float32 convolutions with constant weights into `conv2d`, where there is a way.

    A convolution in one dimension has a height of one. A transposed convolution with stride s
    writes s·s interleaved pictures, each by a convolution with every s-th weight: one convolution
    with s·s times the channels, then the pictures are interleaved (Shi et al., "Is the
    deconvolution layer the same as a convolutional layer?", arXiv:1609.07009).
    """
    return replace_values(module, _plain)


def _plain(variable: relax.Var, main: MainFunction) -> Replacement | None:
    if (call := main.call(variable, "relax.nn.conv1d")) is not None:
        return _flat(call, variable)
    call = main.call(variable, "relax.nn.conv1d_transpose", "relax.nn.conv2d_transpose")
    return _transposed(call, variable) if call is not None else None


def _read(call: relax.Call, variable: relax.Var, kernels: Sequence[str]) -> _Convolution | None:
    """A call as a convolution over height and width, if its layouts are the usual ones."""
    attrs, weight = call.attrs, constant(call.args[1])
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
    if weight is None or weight.dtype != np.float32 or layouts not in _layouts(kernels):
        return None
    if weight.ndim == 3:
        weight = weight[:, :, None, :]
    strides, dilation = ((1, *map(int, v))[-2:] for v in (attrs.strides, attrs.dilation))
    pads = [int(p) for p in attrs.padding]
    top, left, bottom, right = pads if len(pads) == 4 else (0, pads[0], 0, pads[1])
    return _Convolution(
        call.args[0],
        weight,
        (strides[0], strides[1]),
        (top, left, bottom, right),
        (dilation[0], dilation[1]),
        int(attrs.groups),
        shape(variable),
    )


def _layouts(kernels: Sequence[str]) -> list[tuple[str, str, str]]:
    plain = {3: "NCW", 4: "NCHW"}
    return [(plain[len(kernel)], kernel, plain[len(kernel)]) for kernel in kernels]


def _flat(call: relax.Call, variable: relax.Var) -> Replacement | None:
    """A convolution in one dimension."""
    read = _read(call, variable, ("OIW",))
    if read is None:
        return None

    def emit(
        builder: relax.BlockBuilder, new: Callable[[relax.Expr], relax.Expr], name: str
    ) -> relax.Expr:
        x = reshaped(builder, new(read.data), read.size)
        y = builder.emit(
            relax.op.nn.conv2d(
                x, relax.const(read.weight), read.strides, read.padding, read.dilation, read.groups
            )
        )
        return builder.emit(relax.op.reshape(y, read.result), name_hint=name)

    return emit


def _transposed(call: relax.Call, variable: relax.Var) -> Replacement | None:
    """A transposed convolution."""
    read = _read(call, variable, ("IOW", "IOHW"))
    if read is None or read.dilation != (1, 1):
        return None
    weight, steps = _phases(read.weight, read.strides, read.groups)
    n, _, height, width = read.size
    _, channels, out_h, out_w = read.result_size
    (sh, sw), (top, left, _, _) = read.strides, read.padding
    # The first of the interleaved positions, and how many of them are needed.
    first = (top // sh, left // sw)
    rows, columns = (-(-(top + out_h) // sh) - first[0], -(-(left + out_w) // sw) - first[1])
    before = (steps[0] - 1 - first[0], steps[1] - 1 - first[1])
    after = (rows + first[0] - height, columns + first[1] - width)
    if min(*before, *after) < 0:
        return None  # more is cut off than a kernel reaches
    corner = (top - first[0] * sh, left - first[1] * sw)

    def emit(
        builder: relax.BlockBuilder, new: Callable[[relax.Expr], relax.Expr], name: str
    ) -> relax.Expr:
        x = reshaped(builder, new(read.data), read.size)
        pads = (*before, *after)
        y = builder.emit(
            relax.op.nn.conv2d(x, relax.const(weight), (1, 1), pads, groups=read.groups)
        )
        if (sh, sw) != (1, 1):
            y = reshaped(builder, y, (n, channels, sh, sw, rows, columns))
            y = builder.emit(relax.op.permute_dims(y, [0, 1, 4, 2, 5, 3]))
            y = reshaped(builder, y, (n, channels, rows * sh, columns * sw))
        if shape(y) != (n, channels, out_h, out_w):
            ends = [corner[0] + out_h, corner[1] + out_w]
            y = builder.emit(relax.op.strided_slice(y, [2, 3], list(corner), ends))
        return builder.emit(relax.op.reshape(y, read.result), name_hint=name)

    return emit


def _phases(weight: Array, strides: tuple[int, int], groups: int) -> tuple[Array, tuple[int, int]]:
    """Weights [I, O/g, H, W] as [O·sh·sw, I/g, H/sh, W/sw], and the last two extents.

    Kernels are filled up with zeros to a multiple of the stride, and turned around.
    """
    inputs, outputs, height, width = weight.shape
    sh, sw = strides
    steps = (-(-height // sh), -(-width // sw))
    filled = np.zeros((inputs, outputs, steps[0] * sh, steps[1] * sw), weight.dtype)
    filled[:, :, :height, :width] = weight
    split = filled.reshape(groups, inputs // groups, outputs, steps[0], sh, steps[1], sw)
    turned = split[:, :, :, ::-1, :, ::-1, :]
    ordered = turned.transpose(0, 2, 4, 6, 1, 3, 5)
    result = ordered.reshape(groups * outputs * sh * sw, inputs // groups, *steps)
    return np.ascontiguousarray(result), steps


def _with_height(extents: tuple[int, ...]) -> tuple[int, int, int, int]:
    """[N, C, W] as [N, C, 1, W]."""
    *outer, width = extents
    n, channels, height = (*outer, 1)[:3]
    return n, channels, height, width
