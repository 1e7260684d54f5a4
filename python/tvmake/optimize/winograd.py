"""Winograd's minimal filtering for convolutions on blocked layout.

A tile of m x m results of a 3 x 3 kernel takes (m + 2)² multiplications for each pair of channels
in place of 9 m²: y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A (Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", arXiv:1509.09308, sections 4.1 to 4.3). For a whole layer the
products become (m + 2)² matrix products over channels. With steps of two they are (2 m + 1)².
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import te, tirx, topi

from tvmake.optimize import phases
from tvmake.schedule.filters import minimal_filter
from tvmake.schedule.winograd import ANNOTATION, WINOGRAD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvmake.optimize.blocked import Window
    from tvmake.schedule.cpu import CpuModel
    from tvmake.schedule.filters import Filter

    Array = np.ndarray[Any, Any]

TILES = (2, 4)
# Taps in each direction, and steps, of the kernels that it is for.
_KERNELS = ((3, 1), (4, 1), (5, 1), (3, 2), (5, 2))
# Cycles, roughly: of a transform for each vector of a tile, which are more where many points are
# written side by side, each into pages of its own. And bytes of weights per cycle from memory,
# where they come from in a network that does not fit into the caches.
_TRANSFORM_CYCLES = 4.0
_TRANSFORM_CYCLES_OF_POINT = 1 / 8
_COPY_CYCLES = 8.0  # of a vector
_WEIGHT_BYTES_PER_CYCLE = 6.0
_EFFICIENCY = 0.85


@dataclass(frozen=True)
class _Layer:
    """What the choice of an algorithm depends on.

    Attributes:
        inputs, outputs: channels.
        images, height, width: of the result.
    """

    inputs: int
    outputs: int
    images: int
    height: int
    width: int


def choose(
    weight: Sequence[int],
    window: Window,
    result: Sequence[int],
    cpu: CpuModel,
    direct: Sequence[int] | None = None,
) -> Filter | None:
    """The algorithm that should be the fastest, or None for direct convolution.

    One for a dilation is for the phases of the image, which are split and joined.

    Args:
        weight: extents [O, I, H, W].
        window: how the kernel moves.
        result: extents [N, O, H, W].
        cpu: the machine.
        direct: the weights' extents for direct convolution, where those are other ones, since the
            image is copied for this algorithm.
    """
    if len(result) != 4 or not _is_square(weight[2:], window):
        return None
    taps, stride, is_dilated = weight[2], window.strides[0], max(window.dilation) > 1
    if (taps, stride) not in _KERNELS or (is_dilated and stride > 1):
        return None
    if max(window.padding) >= taps and not is_dilated:
        return None  # phases have their padding
    layer = _Layer(weight[1], weight[0], result[0], result[2], result[3])
    count, height, width = phases.size(result[2:], window.dilation)
    split = replace(layer, images=layer.images * count, height=height, width=width)
    copied = layer.inputs * (is_dilated or direct is not None) + layer.outputs * is_dilated
    copying = _COPY_CYCLES * split.images * height * width * copied / cpu.lanes(32)
    filters = [minimal_filter(tile, taps, stride) for tile in TILES]
    best = min(filters, key=lambda each: _cycles(split, each, cpu))
    positions = layer.images * layer.height * layer.width
    otherwise = _direct_cycles(math.prod(direct or weight), positions, cpu)
    return best if _cycles(split, best, cpu) + copying < otherwise else None


def _is_square(kernel: Sequence[int], window: Window) -> bool:
    return kernel[0] == kernel[1] and window.strides[0] == window.strides[1]


def _direct_cycles(weights: int, positions: int, cpu: CpuModel) -> float:
    return _products(weights * positions, cpu) + _reading(weights)


def _cycles(layer: _Layer, chosen: Filter, cpu: CpuModel) -> float:
    pairs, points = layer.inputs * layer.outputs, chosen.size**2
    tiles = layer.images * -(-layer.height // chosen.tile) * -(-layer.width // chosen.tile)
    vectors = tiles * points * (layer.inputs + layer.outputs) / cpu.lanes(32)
    products = _products(points * pairs * tiles, cpu)
    reading = _reading(len(chosen.weights) ** 2 * pairs)
    cycles = max(_TRANSFORM_CYCLES, _TRANSFORM_CYCLES_OF_POINT * points)
    return products + cycles * vectors + reading


def _products(multiplications: int, cpu: CpuModel) -> float:
    lanes = cpu.lanes(32)
    return multiplications / (cpu.multiply_adds(lanes) * lanes) / _EFFICIENCY


def _reading(weights: int) -> float:
    return 4 * weights / _WEIGHT_BYTES_PER_CYCLE


def pack(weight: Array, chosen: Filter, inner: int, outer: int) -> Array:
    """Weights [O, I, k, k] transformed, as [points, O/o, I/i, i, o]."""
    o, i, *_ = weight.shape
    blocked = weight.reshape(o // outer, outer, i // inner, inner, -1).transpose(4, 0, 2, 3, 1)
    taps = blocked.astype("float64", order="C").reshape(chosen.taps**2, -1)
    of_taps = np.array(chosen.weights)
    transformed: Array = (np.kron(of_taps, of_taps) @ taps).astype("float32")
    return transformed.reshape(-1, *blocked.shape[1:])


def constants(chosen: Filter) -> tuple[Array, Array]:
    """Bᵀ and Aᵀ, as `convolution` takes them."""
    return np.array(chosen.before, "float32"), np.array(chosen.after, "float32")


def convolution(
    data: te.Tensor,
    weight: te.Tensor,
    before: te.Tensor,
    after: te.Tensor,
    window: Window,
    taps: int,
) -> te.Tensor:
    """Convolution of [N, I/i, H, W, i] with weights from `pack`, to [N, O/o, H, W, o].

    Args:
        data: the input.
        weight: the transformed weights.
        before: Bᵀ.
        after: Aᵀ.
        window: without dilation.
        taps: height and width of the kernel.
    """
    n, blocks, height, width, lanes = (int(d) for d in data.shape)
    size, tile, stride = int(before.shape[0]), int(after.shape[0]), window.strides[0]
    out_blocks, out_lanes = int(weight.shape[1]), int(weight.shape[4])
    top, left = window.before
    out_h, out_w = window.output((height, width), (taps, taps))
    rows, columns = -(-out_h // tile), -(-out_w // tile)
    whole = [(count * tile - 1) * stride + taps for count in (rows, columns)]
    known = (top + height, left + width)
    pad_after = [max(0, needed - own) for needed, own in zip(whole, known, strict=True)]
    padded = topi.nn.pad(data, (0, 0, top, left, 0), (0, 0, *pad_after, 0), name="winograd_padded")
    r, c = (te.reduce_axis((0, size), name=name) for name in "rc")
    moved = te.compute(
        (size, size, n * rows * columns, blocks, lanes),
        lambda i, j, t, b, v: te.sum(
            padded[
                tirx.indexdiv(t, rows * columns),
                b,
                tirx.indexmod(tirx.indexdiv(t, columns), rows) * tile * stride + r,
                tirx.indexmod(t, columns) * tile * stride + c,
                v,
            ]
            * (before[i, r] * before[j, c]),
            axis=[r, c],
        ),
        name="winograd_input",
    )
    io, ii = te.reduce_axis((0, blocks), name="io"), te.reduce_axis((0, lanes), name="ii")
    count = math.isqrt(int(weight.shape[0]))  # the last points in each direction share weights

    def multiplied(i: Any, j: Any, t: Any, o: Any, v: Any) -> Any:
        point = tirx.min(i, count - 1) * count + tirx.min(j, count - 1)
        return te.sum(moved[i, j, t, io, ii] * weight[point, o, io, ii, v], axis=[io, ii])

    shape = (size, size, n * rows * columns, out_blocks, out_lanes)
    product = te.compute(shape, multiplied, name="winograd_product")
    i, j = (te.reduce_axis((0, size), name=name) for name in "ij")

    def value(image: Any, o: Any, h: Any, w: Any, v: Any) -> Any:
        at = (image * rows + tirx.indexdiv(h, tile)) * columns + tirx.indexdiv(w, tile)
        scale = after[tirx.indexmod(h, tile), i] * after[tirx.indexmod(w, tile), j]
        return te.sum(product[i, j, at, o, v] * scale, axis=[i, j])

    return te.compute(
        (n, out_blocks, out_h, out_w, out_lanes),
        value,
        name=WINOGRAD,
        attrs={ANNOTATION: [tile, taps, stride, top, left]},
    )
