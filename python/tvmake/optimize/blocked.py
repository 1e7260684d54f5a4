"""Operators on blocked activations: NCHW split into blocks of b channels, [N, C/b, H, W, b].

What has a depth has it before its height: [N, C/b, D, H, W, b].

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
from tvmake.schedule.convolution import ANNOTATION, CONVOLUTION
from tvmake.schedule.depthwise import DEPTHWISE, DEPTHWISE_ANNOTATION, POOL, POOL_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Window:
    """How a kernel moves over height and width, or over depth, height and width."""

    strides: tuple[int, ...]
    padding: tuple[int, ...]  # before all axes, then after all: top, left, bottom, right
    dilation: tuple[int, ...]

    @property
    def before(self) -> tuple[int, ...]:
        """The padding before each axis."""
        return self.padding[: len(self.strides)]

    @property
    def after(self) -> tuple[int, ...]:
        """The padding after each axis."""
        return self.padding[len(self.strides) :]

    def output(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """The extents of the result."""
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, self.dilation, strict=True)]
        axes = zip(size, self.before, self.after, reach, self.strides, strict=True)
        return tuple((n + b + a - r) // stride + 1 for n, b, a, r, stride in axes)

    def source(self, places: Sequence[Any], taps: Sequence[Any]) -> list[Any]:
        """Where in the padded input an element of the kernel lies, for a place in the result."""
        axes = zip(places, taps, self.strides, self.dilation, strict=True)
        return [place * stride + tap * step for place, tap, stride, step in axes]


def extent(dim: Any) -> Any:
    """A dimension as an int; a dynamic one as it is."""
    return int(dim) if isinstance(dim, int | tirx.IntImm) else dim


def pack_convolution(weight: Array, inner: int, outer: int) -> Array:
    """Weights [O, I/g, H, W] as [O/o, I/g/i, H, W, i, o]."""
    o, i, *kernel = weight.shape
    blocked = weight.reshape(o // outer, outer, i // inner, inner, *kernel)
    return np.ascontiguousarray(np.moveaxis(blocked, (3, 1), (-2, -1)))


def pack_depthwise(weight: Array, channels: Channels) -> Array:
    """Weights [C, 1, H, W] as [C/b, H, W, b]."""
    return np.ascontiguousarray(np.moveaxis(channels.spread(weight[:, 0]), 1, -1))


def join_groups(weight: Array, groups: int, together: int) -> Array:
    """Weights [O, I/g, H, W] for groups of which so many are one, with zeros between them."""
    o, i, *kernel = weight.shape
    sizes = (groups // together, together, o // groups)
    joined = np.zeros((*sizes, together, i, *kernel), weight.dtype)
    split = weight.reshape(*sizes, i, *kernel)
    for group in range(together):
        joined[:, group, :, group] = split[:, group]
    return joined.reshape(o, together * i, *kernel)


def pack_gathering(weight: Array, groups: int, block: int) -> Array:
    """Weights [O, I/g, H, W] as [g·⌈O/g/b⌉, 1, H, W, I/g, b]: each group begins at a vector."""
    outputs = Channels.grouped(groups, len(weight) // groups, block)
    moved = np.moveaxis(outputs.spread(weight), (2, 1), (-2, -1))
    return np.ascontiguousarray(moved[:, None])


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
    inner = int(data.shape[-1])

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
    batch, _, *size, _ = (extent(d) for d in data.shape)
    blocks, outer_inputs, *kernel, inner_inputs, outer = map(int, weight.shape)
    padded = _pad(data, window)
    io = te.reduce_axis((0, outer_inputs), name="io")
    ii = te.reduce_axis((0, inner_inputs), name="ii")
    taps = _taps(kernel)

    def value(n: Any, o: Any, *place: Any) -> Any:
        *at, v = place
        block, lane = channel(tirx.indexdiv(o, blocks // groups), io, ii)
        x = padded(n, block, *window.source(at, taps), lane)
        return te.sum(x * weight(o, io, *taps, ii, v), axis=[io, *taps, ii])

    numbers = [*window.strides, *window.dilation, *window.padding, groups, int(gathers)]
    return te.compute(
        (batch, blocks, *window.output(size, kernel), outer),
        value,
        name=CONVOLUTION,
        attrs={ANNOTATION: numbers},
    )


def depthwise(data: te.Tensor, weight: te.Tensor, window: Window) -> te.Tensor:
    """Depthwise convolution of [N, C/b, H, W, b] with [C/b, H, W, b]."""
    batch, blocks, *size, block = (extent(d) for d in data.shape)
    _, *kernel, _ = (int(d) for d in weight.shape)
    padded = _pad(data, window)
    taps = _taps(kernel)

    def value(n: Any, c: Any, *place: Any) -> Any:
        *at, v = place
        product = padded(n, c, *window.source(at, taps), v) * weight(c, *taps, v)
        return te.sum(product, axis=taps)

    return te.compute(
        (batch, blocks, *window.output(size, kernel), block),
        value,
        name=DEPTHWISE,
        attrs={DEPTHWISE_ANNOTATION: [*window.strides, *window.dilation, *window.before]},
    )


def pool_3d(
    data: te.Tensor,
    kind: str,
    kernel: Sequence[int],
    window: Window,
    *,
    ceil_mode: bool,
    count_include_pad: bool,
) -> te.Tensor:
    """Maximum ("max") or mean ("avg") over windows of [N, C/b, D, H, W, b]."""
    return topi.nn.pool3d(
        data,
        kernel,
        window.strides,
        window.dilation,
        window.padding,
        kind,
        ceil_mode,
        f"NCDHW{int(data.shape[-1])}c",
        count_include_pad,
    )


def pool(
    data: te.Tensor,
    kind: str,
    kernel: Sequence[int],
    window: Window,
    size: Sequence[Any],
    *,
    counts_padding: bool,
) -> te.Tensor:
    """Maximum ("max") or mean ("avg") over windows of [N, C/b, H, W, b].

    Args:
        data: the input.
        kind: "max" or "avg".
        kernel: height and width of a window.
        window: how it moves.
        size: height and width of the result: windows may reach beyond the padding.
        counts_padding: whether a mean is over the whole window, in place of what lies in the image.
    """
    batch, blocks, height, width, lanes = (extent(d) for d in data.shape)
    (sh, sw), (dh, dw), (top, left, _, _) = window.strides, window.dilation, window.padding
    kh, kw = _taps(kernel)
    is_max = kind == "max"
    reduced, empty = (
        (te.max, tirx.min_value("float32")) if is_max else (te.sum, tirx.const(0.0, "float32"))
    )

    def value(n: Any, c: Any, h: Any, w: Any, v: Any) -> Any:
        row, column = h * sh + kh * dh - top, w * sw + kw * dw - left
        inside = tirx.all(row >= 0, row < height, column >= 0, column < width)
        x = tirx.if_then_else(inside, data[n, c, row, column, v], empty)
        return reduced(x, axis=[kh, kw])

    numbers = [int(is_max), *kernel, *window.strides, *window.dilation, top, left]
    shape = (batch, blocks, *size, lanes)
    result = te.compute(shape, value, name=POOL, attrs={POOL_ANNOTATION: numbers})
    if is_max:
        return result

    def mean(n: Any, c: Any, h: Any, w: Any, v: Any) -> Any:
        count = tirx.const(kernel[0] * kernel[1], "float32")
        if not counts_padding:
            rows = _within(h * sh - top, kernel[0], height)
            columns = _within(w * sw - left, kernel[1], width)
            count = tirx.max(rows * columns, 1).astype("float32")
        return result[n, c, h, w, v] / count

    return te.compute(shape, mean, name="mean")


def _within(first: Any, count: int, size: Any) -> Any:
    """How many of neighbouring positions lie in an image."""
    return tirx.min(first + count, size) - tirx.max(first, 0)


def block(data: te.Tensor, places: te.Tensor) -> te.Tensor:
    """[N, C, H, W] as [N, B, H, W, b], with channel places[B, b] in each lane."""
    batch, _, *size = data.shape
    blocks, lanes = places.shape

    def value(n: Any, c: Any, *place: Any) -> Any:
        *at, v = place
        return data(n, places[c, v], *at)

    return te.compute((batch, blocks, *size, lanes), value, name="in_blocks")


def move(data: te.Tensor, places: te.Tensor) -> te.Tensor:
    """[N, B, H, W, b] as [N, D, H, W, d], with the channels at places[D, d]."""
    batch, _, *size, inner = data.shape
    blocks, lanes = places.shape

    def value(n: Any, c: Any, *position: Any) -> Any:
        *at, v = position
        place = places[c, v]
        return data(n, tirx.indexdiv(place, inner), *at, tirx.indexmod(place, inner))

    return te.compute((batch, blocks, *size, lanes), value, name="moved")


def plain(data: te.Tensor, places: te.Tensor) -> te.Tensor:
    """[N, B, H, W, b] as [N, C, H, W], with the channels at places[C]."""
    batch, _, *size, inner = data.shape

    def value(n: Any, c: Any, *at: Any) -> Any:
        place = places[c]
        return data(n, tirx.indexdiv(place, inner), *at, tirx.indexmod(place, inner))

    return te.compute((batch, places.shape[0], *size), value, name="plain")


def _pad(data: te.Tensor, window: Window) -> te.Tensor:
    if not any(window.padding):
        return data
    return topi.nn.pad(data, (0, 0, *window.before, 0), (0, 0, *window.after, 0), name="padded")


def _taps(kernel: Sequence[int]) -> list[Any]:
    """An axis of the sum for each extent of the kernel, depth first."""
    names = ("kd", "kh", "kw")[-len(kernel) :]
    return [te.reduce_axis((0, size), name=name) for size, name in zip(kernel, names, strict=True)]
