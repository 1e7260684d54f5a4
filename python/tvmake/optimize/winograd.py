"""Winograd's minimal filtering for 3 x 3 convolutions on blocked layout.

A tile of m x m results takes (m + 2)² multiplications for each pair of channels in place of 9 m²:
y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
arXiv:1509.09308, sections 4.1 to 4.3). For a whole layer the products become (m + 2)² matrix
products over channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import te, tirx, topi

from tvmake.optimize import phases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvmake.optimize.blocked import Window
    from tvmake.schedule.cpu import CpuModel

    Array = np.ndarray[Any, Any]

TILES = (2, 4)
# Cycles, roughly: of a transform for each vector of a tile, and bytes of weights per cycle from
# memory, where they come from in a network that does not fit into the caches.
_TRANSFORM_CYCLES = 4.0
_COPY_CYCLES = 8.0  # of a vector
_WEIGHT_BYTES_PER_CYCLE = 6.0
_EFFICIENCY = 0.85

_MATRICES: dict[int, tuple[list[list[float]], list[list[float]], list[list[float]]]] = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}


@dataclass(frozen=True)
class Layer:
    """What the choice of an algorithm for a 3 x 3 convolution depends on."""

    inputs: int
    outputs: int
    images: int
    height: int
    width: int


def matrices(tile: int) -> tuple[Array, Array, Array]:
    """Bᵀ, G and Aᵀ of F(tile x tile, 3 x 3), in float64."""
    b, g, a = _MATRICES[tile]
    return np.array(b, "float64"), np.array(g, "float64"), np.array(a, "float64")


def choose(layer: Layer, cpu: CpuModel, dilation: Sequence[int] = (1, 1)) -> int:
    """The tile that should be the fastest, or 0 for direct convolution.

    One of a dilation is for the phases of the image, which are split and joined.
    """
    count, height, width = phases.size((layer.height, layer.width), dilation)
    split = replace(layer, images=layer.images * count, height=height, width=width)
    vectors = split.images * height * width * (layer.inputs + layer.outputs) / cpu.lanes(32)
    copying = _COPY_CYCLES * vectors if count > 1 else 0.0
    costs = {0: _direct_cycles(layer, cpu)} | {t: _cycles(split, t, cpu) + copying for t in TILES}
    return min(costs, key=lambda tile: costs[tile])


def _direct_cycles(layer: Layer, cpu: CpuModel) -> float:
    pairs = layer.inputs * layer.outputs
    positions = layer.images * layer.height * layer.width
    return _products(9 * pairs * positions, cpu) + _reading(9 * pairs)


def _cycles(layer: Layer, tile: int, cpu: CpuModel) -> float:
    pairs, points = layer.inputs * layer.outputs, (tile + 2) ** 2
    tiles = layer.images * -(-layer.height // tile) * -(-layer.width // tile)
    vectors = tiles * points * (layer.inputs + layer.outputs) / cpu.lanes(32)
    products = _products(points * pairs * tiles, cpu)
    return products + _TRANSFORM_CYCLES * vectors + _reading(points * pairs)


def _products(multiplications: int, cpu: CpuModel) -> float:
    return multiplications / (2 * cpu.lanes(32)) / _EFFICIENCY


def _reading(weights: int) -> float:
    return 4 * weights / _WEIGHT_BYTES_PER_CYCLE


def pack(weight: Array, tile: int, block: int) -> Array:
    """Weights [O, I, 3, 3] transformed, as [(tile + 2)², O/b, I/b, b of I, b of O]."""
    o, i, _, _ = weight.shape
    _, g, _ = matrices(tile)
    blocked = weight.reshape(o // block, block, i // block, block, 3, 3).transpose(4, 5, 0, 2, 3, 1)
    points = blocked.astype("float64", order="C").reshape(9, -1)
    transformed: Array = (np.kron(g, g) @ points).astype("float32")
    return transformed.reshape(-1, o // block, i // block, block, block)


def convolution(
    data: te.Tensor, weight: te.Tensor, before: te.Tensor, after: te.Tensor, window: Window
) -> te.Tensor:
    """Convolution of [N, I/b, H, W, b] with weights from `pack`.

    Args:
        data: the input.
        weight: the transformed weights.
        before: Bᵀ.
        after: Aᵀ.
        window: of stride and dilation 1.
    """
    n, blocks, height, width, lanes = (int(d) for d in data.shape)
    size, tile = int(before.shape[0]), int(after.shape[0])
    out_blocks = int(weight.shape[1])
    top, left, bottom, right = window.padding
    out_h, out_w = height + top + bottom - 2, width + left + right - 2
    rows, columns = -(-out_h // tile), -(-out_w // tile)
    pad_after = (rows * tile + 2 - height - top, columns * tile + 2 - width - left)
    padded = topi.nn.pad(data, (0, 0, top, left, 0), (0, 0, *pad_after, 0), name="winograd_padded")
    r, c = (te.reduce_axis((0, size), name=name) for name in "rc")
    moved = te.compute(
        (size, size, n * rows * columns, blocks, lanes),
        lambda i, j, t, b, v: te.sum(
            padded[
                tirx.indexdiv(t, rows * columns),
                b,
                tirx.indexmod(tirx.indexdiv(t, columns), rows) * tile + r,
                tirx.indexmod(t, columns) * tile + c,
                v,
            ]
            * (before[i, r] * before[j, c]),
            axis=[r, c],
        ),
        name="winograd_input",
    )
    io, ii = te.reduce_axis((0, blocks), name="io"), te.reduce_axis((0, lanes), name="ii")
    product = te.compute(
        (size, size, n * rows * columns, out_blocks, lanes),
        lambda i, j, t, o, v: te.sum(
            moved[i, j, t, io, ii] * weight[i * size + j, o, io, ii, v], axis=[io, ii]
        ),
        name="winograd_product",
    )
    i, j = (te.reduce_axis((0, size), name=name) for name in "ij")

    def value(image: Any, o: Any, h: Any, w: Any, v: Any) -> Any:
        at = (image * rows + tirx.indexdiv(h, tile)) * columns + tirx.indexdiv(w, tile)
        scale = after[tirx.indexmod(h, tile), i] * after[tirx.indexmod(w, tile), j]
        return te.sum(product[i, j, at, o, v] * scale, axis=[i, j])

    return te.compute(
        (n, out_blocks, out_h, out_w, lanes),
        value,
        name="winograd_blocked",
        attrs={"tvmake.winograd": [tile, *window.padding]},
    )
