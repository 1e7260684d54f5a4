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

from tvmake.optimize.channels import Channels

if TYPE_CHECKING:
    from collections.abc import Callable

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


def pack_depthwise(weight: Array, channels: Channels) -> Array:
    """Weights [C, 1, H, W] as [C/b, H, W, b]."""
    return np.ascontiguousarray(channels.spread(weight[:, 0]).transpose(0, 2, 3, 1))


def join_groups(weight: Array, groups: int, together: int) -> Array:
    """Weights [O, I/g, H, W] for groups of which so many are one, with zeros between them."""
    o, i, h, w = weight.shape
    joined = np.zeros((groups // together, together, o // groups, together, i, h, w), weight.dtype)
    split = weight.reshape(groups // together, together, o // groups, i, h, w)
    for group in range(together):
        joined[:, group, :, group] = split[:, group]
    return joined.reshape(o, together * i, h, w)


def pack_gathering(weight: Array, groups: int, block: int) -> Array:
    """Weights [O, I/g, H, W] as [g·⌈O/g/b⌉, 1, H, W, I/g, b]: each group begins at a vector."""
    outputs = Channels.grouped(groups, len(weight) // groups, block)
    return np.ascontiguousarray(outputs.spread(weight).transpose(0, 3, 4, 2, 1)[:, None])


def convolution(data: te.Tensor, weight: te.Tensor, window: Window, groups: int) -> te.Tensor:
    """Convolution of [N, I/i, H, W, i] with [O/o, I/g/i, H, W, i, o] to [N, O/o, H, W, o]."""

    def channel(group: Any, block: Any, lane: Any) -> tuple[Any, Any]:
        first = 0 if groups == 1 else group * int(weight.shape[1])
        return first + block, lane

    return _convolution(data, weight, window, groups, channel, gathers=False)


def gathering_convolution(
    data: te.Tensor, weight: te.Tensor, places: te.Tensor, window: Window
) -> te.Tensor:
    """Convolution of [N, B, H, W, b], whose channels are anywhere, to [N, O/o, H, W, o].

    Args:
        data: input.
        weight: [O/o, 1, H, W, I/g, o].
        places: int32[g, I/g], the lane of each input channel, counted through all blocks.
        window: how the kernel moves.
    """
    inner = int(data.shape[4])

    def channel(group: Any, _: Any, index: Any) -> tuple[Any, Any]:
        place = places[group, index]
        return tirx.indexdiv(place, inner), tirx.indexmod(place, inner)

    return _convolution(data, weight, window, int(places.shape[0]), channel, gathers=True)


def _convolution(
    data: te.Tensor,
    weight: te.Tensor,
    window: Window,
    groups: int,
    channel: Callable[[Any, Any, Any], tuple[Any, Any]],
    *,
    gathers: bool,
) -> te.Tensor:
    """A convolution whose inputs are at channel(group, io, ii) -> block and lane."""
    batch, _, height, width, _ = (extent(d) for d in data.shape)
    blocks, outer_inputs, kernel_h, kernel_w, inner_inputs, outer = map(int, weight.shape)
    out_h, out_w = window.output((height, width), (kernel_h, kernel_w))
    padded = _pad(data, window)
    io = te.reduce_axis((0, outer_inputs), name="io")
    ii = te.reduce_axis((0, inner_inputs), name="ii")
    kh, kw = te.reduce_axis((0, kernel_h), name="kh"), te.reduce_axis((0, kernel_w), name="kw")
    (sh, sw), (dh, dw) = window.strides, window.dilation

    def value(n: Any, o: Any, h: Any, w: Any, v: Any) -> Any:
        block, lane = channel(tirx.indexdiv(o, blocks // groups), io, ii)
        x = padded[n, block, h * sh + kh * dh, w * sw + kw * dw, lane]
        return te.sum(x * weight[o, io, kh, kw, ii, v], axis=[io, kh, kw, ii])

    numbers = [*window.strides, *window.dilation, *window.padding, groups, int(gathers)]
    return te.compute(
        (batch, blocks, out_h, out_w, outer),
        value,
        name="convolution_blocked",
        attrs={"tvmake.convolution": numbers},
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


def block(data: te.Tensor, places: te.Tensor) -> te.Tensor:
    """[N, C, H, W] as [N, B, H, W, b], with channel places[B, b] in each lane."""
    batch, _, height, width = data.shape
    blocks, lanes = places.shape
    return te.compute(
        (batch, blocks, height, width, lanes),
        lambda n, c, h, w, v: data[n, places[c, v], h, w],
        name="in_blocks",
    )


def move(data: te.Tensor, places: te.Tensor) -> te.Tensor:
    """[N, B, H, W, b] as [N, D, H, W, d], with the channels at places[D, d]."""
    batch, _, height, width, inner = data.shape
    blocks, lanes = places.shape

    def value(n: Any, c: Any, h: Any, w: Any, v: Any) -> Any:
        place = places[c, v]
        return data[n, tirx.indexdiv(place, inner), h, w, tirx.indexmod(place, inner)]

    return te.compute((batch, blocks, height, width, lanes), value, name="moved")


def plain(data: te.Tensor, places: te.Tensor) -> te.Tensor:
    """[N, B, H, W, b] as [N, C, H, W], with the channels at places[C]."""
    batch, _, height, width, inner = data.shape

    def value(n: Any, c: Any, h: Any, w: Any) -> Any:
        place = places[c]
        return data[n, tirx.indexdiv(place, inner), h, w, tirx.indexmod(place, inner)]

    return te.compute((batch, places.shape[0], height, width), value, name="plain")


def _pad(data: te.Tensor, window: Window) -> te.Tensor:
    if not any(window.padding):
        return data
    top, left, bottom, right = window.padding
    return topi.nn.pad(data, (0, 0, top, left, 0), (0, 0, bottom, right, 0), name="padded")
