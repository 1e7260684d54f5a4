"""Operators on blocked activations: NCHW split into blocks of b channels, [N, C/b, H, W, b].

With a block as wide as a vector register, a convolution reads and writes whole vectors at any
position, and needs no shuffles (Georganas et al., "Anatomy of High-Performance Deep Learning
Convolutions on SIMD Architectures", 2018, section II).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import te, tirx, topi

if TYPE_CHECKING:
    from tvmake.schedule.straddling import Straddling

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Window:
    """How a kernel moves over height and width."""

    strides: tuple[int, int]
    padding: tuple[int, int, int, int]  # top, left, bottom, right
    dilation: tuple[int, int]

    def output(self, size: tuple[int, int], kernel: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the result."""
        top, left, bottom, right = self.padding
        sizes = []
        for axis, pads in enumerate((top + bottom, left + right)):
            reach = (kernel[axis] - 1) * self.dilation[axis] + 1
            sizes.append((size[axis] + pads - reach) // self.strides[axis] + 1)
        return sizes[0], sizes[1]


def extent(dim: Any) -> Any:
    """A dimension as an int; a dynamic one as it is."""
    return int(dim) if isinstance(dim, int | tirx.IntImm) else dim


def pack_convolution(weight: Array, inner: int, outer: int) -> Array:
    """Weights [O, I/g, H, W] as [O/o, I/g/i, H, W, i, o]."""
    o, i, h, w = weight.shape
    blocked = weight.reshape(o // outer, outer, i // inner, inner, h, w)
    return np.ascontiguousarray(blocked.transpose(0, 2, 4, 5, 3, 1))


def pack_depthwise(weight: Array, block: int) -> Array:
    """Weights [C, 1, H, W] as [C/b, H, W, b]."""
    c, _, h, w = weight.shape
    return np.ascontiguousarray(weight.reshape(c // block, block, h, w).transpose(0, 2, 3, 1))


def pack_straddling(weight: Array, groups: Straddling) -> Array:
    """Weights [O, I/g, H, W] as [O/b, groups.most, H, W, b, b], with zeros between groups."""
    o, i, h, w = weight.shape
    lanes = groups.lanes
    dense = np.zeros((o // lanes, groups.most * lanes, h, w, lanes), "float32")
    for channel in range(o):
        block, lane = divmod(channel, lanes)
        start = channel // groups.outputs * i - groups.base(block) * lanes
        dense[block, start : start + i, :, :, lane] = weight[channel]
    split = dense.reshape(o // lanes, groups.most, lanes, h, w, lanes)
    return np.ascontiguousarray(split.transpose(0, 1, 3, 4, 2, 5))


def convolution(
    data: te.Tensor,
    weight: te.Tensor,
    window: Window,
    groups: int,
    straddling: Straddling | None = None,
) -> te.Tensor:
    """Convolution of [N, I/i, H, W, i] with [O/o, I/g/i, H, W, i, o] to [N, O/o, H, W, o]."""
    batch, _, height, width, inner = (extent(d) for d in data.shape)
    blocks, group_inputs, kernel_h, kernel_w, _, outer = (int(d) for d in weight.shape)
    out_h, out_w = window.output((height, width), (kernel_h, kernel_w))
    group_outputs = blocks // groups
    padded = _pad(data, window)
    io = te.reduce_axis((0, group_inputs), name="io")
    ii = te.reduce_axis((0, inner), name="ii")
    kh, kw = te.reduce_axis((0, kernel_h), name="kh"), te.reduce_axis((0, kernel_w), name="kw")
    (sh, sw), (dh, dw) = window.strides, window.dilation

    def value(n: Any, o: Any, h: Any, w: Any, v: Any) -> Any:
        if straddling:
            block = straddling.base(o) + io
        else:
            block = io if groups == 1 else tirx.indexdiv(o, group_outputs) * group_inputs + io
        x = padded[n, block, h * sh + kh * dh, w * sw + kw * dw, ii]
        return te.sum(x * weight[o, io, kh, kw, ii, v], axis=[io, kh, kw, ii])

    return te.compute(
        (batch, blocks, out_h, out_w, outer),
        value,
        name="convolution_blocked",
        attrs={
            "tvmake.convolution": [*window.strides, *window.dilation, *window.padding, groups],
            "tvmake.straddling": [straddling.inputs, straddling.outputs] if straddling else [],
        },
    )


def depthwise(data: te.Tensor, weight: te.Tensor, window: Window) -> te.Tensor:
    """Depthwise convolution of [N, C/b, H, W, b] with [C/b, H, W, b]."""
    batch, blocks, height, width, block = (extent(d) for d in data.shape)
    _, kernel_h, kernel_w, _ = (int(d) for d in weight.shape)
    out_h, out_w = window.output((height, width), (kernel_h, kernel_w))
    padded = _pad(data, window)
    kh, kw = te.reduce_axis((0, kernel_h), name="kh"), te.reduce_axis((0, kernel_w), name="kw")
    (sh, sw), (dh, dw) = window.strides, window.dilation
    return te.compute(
        (batch, blocks, out_h, out_w, block),
        lambda n, c, h, w, v: te.sum(
            padded[n, c, h * sh + kh * dh, w * sw + kw * dw, v] * weight[c, kh, kw, v],
            axis=[kh, kw],
        ),
        name="depthwise_blocked",
        attrs={"tvmake.depthwise": [*window.strides, *window.dilation, *window.padding[:2]]},
    )


def pool(
    data: te.Tensor,
    kind: str,
    kernel: tuple[int, int],
    window: Window,
    *,
    ceil_mode: bool,
    count_include_pad: bool,
) -> te.Tensor:
    """Maximum ("max") or mean ("avg") over windows of [N, C/b, H, W, b]."""
    return topi.nn.pool2d(
        data,
        kernel,
        window.strides,
        window.dilation,
        window.padding,
        kind,
        ceil_mode,
        f"NCHW{int(data.shape[4])}c",
        count_include_pad,
    )


def _pad(data: te.Tensor, window: Window) -> te.Tensor:
    if not any(window.padding):
        return data
    top, left, bottom, right = window.padding
    return topi.nn.pad(data, (0, 0, top, left, 0), (0, 0, bottom, right, 0), name="padded")
