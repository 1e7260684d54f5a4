"""Strassen's algorithm: where it pays, its weights, and convolutions by it on blocked layout.

A convolution with kernels of one element is a product of matrices, positions by input channels by
output channels. Cut in halves each, it takes seven products of blocks in place of eight (see
`schedule/strassen.py`).
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import te, tirx

from tvmake.schedule.strassen import ANNOTATION, IMAGE, RESULT, STRASSEN, WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tvmake.optimize.blocked import Window
    from tvmake.schedule.cpu import CpuModel

    Array = np.ndarray[Any, Any]

# Cycles, roughly: to begin one more parallel loop; for a byte of a block of the image, of which
# four sums are made, which other cores may then read; and for a sum of the result, of which some
# are put aside. And bytes of the weights' additional blocks per cycle from memory.
_LAUNCH_CYCLES = 20e3
_CYCLES_OF_BYTE = 1.0
_CYCLES_OF_SUM = 18.0
_WEIGHT_BYTES_PER_CYCLE = 12.0
_LEAST_GAIN = 0.02


def convolution_pays(
    weight: Sequence[int],
    window: Window,
    result: Sequence[int],
    blocks: tuple[int, int],
    cpu: CpuModel,
) -> bool:
    """Whether it should be faster than direct convolution.

    Args:
        weight: extents [O, I, H, W].
        window: how the kernel moves.
        result: extents [N, O, H, W].
        blocks: width of a block of input channels, and of output channels.
        cpu: the machine.
    """
    outputs, inputs, *kernel = weight
    batch, _, *size = result
    positions = math.prod(size)
    is_single = math.prod(kernel) == 1 and not any(window.padding)
    inner, outer = blocks
    if not is_single or positions % 2 or inputs // inner % 2 or outputs // outer % 2:
        return False
    return product_pays(batch * positions, inputs, outputs, outer, cpu)


def product_pays(rows: int, depth: int, columns: int, width: int, cpu: CpuModel) -> bool:
    """Whether a product of [rows, depth] with constant [depth, columns] should take less time.

    Args:
        rows: how many the data and the result have.
        depth: products in a sum.
        columns: of the result.
        width: of a vector of the result.
        cpu: the machine.
    """
    lanes = cpu.lanes(32)
    direct = rows * depth * columns / (lanes * cpu.multiply_adds(lanes))
    cost = (
        _LAUNCH_CYCLES
        + _CYCLES_OF_BYTE * rows * depth
        + _CYCLES_OF_SUM * rows * columns / 4 / width / cpu.multiply_adds(lanes)
        + 3 * depth * columns / _WEIGHT_BYTES_PER_CYCLE
    )
    return direct / 8 - cost > _LEAST_GAIN * direct


def pack_convolution(weight: Array, inner: int, outer: int) -> Array:
    """Weights [O, I, 1, 1] as those of the products, [7, O/2/o, I/2/i, i, o]."""
    o, i, *_ = weight.shape
    packed = np.empty((len(WEIGHTS), o // 2 // outer, i // 2 // inner, inner, outer), "float32")
    for product, block in enumerate(_sums_of_weights(weight.reshape(o, i).T)):
        blocked = block.reshape(i // 2 // inner, inner, o // 2 // outer, outer)
        packed[product] = blocked.transpose(2, 0, 1, 3)
    return packed


def pack_product(weights: Array, width: int) -> Array:
    """Weights [K, N] as those of the products, [7, N/2/width, K/2, width]."""
    depth, columns = weights.shape
    packed = np.empty((len(WEIGHTS), columns // 2 // width, depth // 2, width), "float32")
    for product, block in enumerate(_sums_of_weights(weights)):
        blocked = block.reshape(depth // 2, columns // 2 // width, width)
        packed[product] = blocked.transpose(1, 0, 2)
    return packed


def _sums_of_weights(weights: Array) -> Iterator[Array]:
    """What of weights [I, O] each product is of, [I/2, O/2] in float64."""
    depth, columns = weights.shape
    halves = weights.reshape(2, depth // 2, 2, columns // 2)
    for signs in WEIGHTS:
        total = np.zeros((depth // 2, columns // 2))
        for row, column in itertools.product(range(2), repeat=2):
            if sign := signs[row][column]:
                total += sign * halves[row, :, column]
        yield total


def constants() -> tuple[Array, Array]:
    """What products are of, [7, 2, 2], and results of them, [2, 2, 7], as `convolution` wants."""
    results = [[[float(q in sums) for q in range(len(IMAGE))] for sums in row] for row in RESULT]
    return np.array(IMAGE, "float32"), np.array(results, "float32")


def convolution(
    data: te.Tensor, weight: te.Tensor, image: te.Tensor, result: te.Tensor, window: Window
) -> te.Tensor:
    """Convolution of [N, I/i, H, W, i] with weights from `pack`, to [N, O/o, H, W, o]."""
    n, _, *size, lanes = (int(d) for d in data.shape)
    products, out_half, half_blocks, _, out_lanes = (int(d) for d in weight.shape)
    height, width = window.output(size, (1, 1))
    half = height * width // 2
    row, side = te.reduce_axis((0, 2), name="row"), te.reduce_axis((0, 2), name="side")

    def moved(q: Any, image_index: Any, b: Any, p: Any, v: Any) -> Any:
        place = p + row * half
        h, w = tirx.indexdiv(place, width), tirx.indexmod(place, width)
        x = data[
            image_index,
            b + side * half_blocks,
            h * window.strides[0],
            w * window.strides[1],
            v,
        ]
        return te.sum(x * image[q, row, side], axis=[row, side])

    shape = (products, n, half_blocks, half, lanes)
    blocks_of_image = te.compute(shape, moved, name="strassen_input")
    io, ii = te.reduce_axis((0, half_blocks), name="io"), te.reduce_axis((0, lanes), name="ii")
    product = te.compute(
        (products, n, out_half, half, out_lanes),
        lambda q, at, o, p, v: te.sum(
            blocks_of_image[q, at, io, p, ii] * weight[q, o, io, ii, v], axis=[io, ii]
        ),
        name="strassen_product",
    )
    q = te.reduce_axis((0, products), name="q")

    def value(at: Any, o: Any, h: Any, w: Any, v: Any) -> Any:
        place = h * width + w
        known = product[q, at, tirx.indexmod(o, out_half), tirx.indexmod(place, half), v]
        scale = result[tirx.indexdiv(place, half), tirx.indexdiv(o, out_half), q]
        return te.sum(known * scale, axis=[q])

    return te.compute(
        (n, 2 * out_half, height, width, out_lanes),
        value,
        name=STRASSEN,
        attrs={ANNOTATION: list(window.strides)},
    )
