"""Convolutions of few channels with steps of two, as ones with steps of one over cells of pixels.

A cell is a square of 2 x 2 pixels, which are the channels of a block: four times the channels, a
quarter of the positions, and a kernel of half the size, padded with zeros to whole cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import te, tirx

from tvmake.optimize.blocked import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[Any, Any]

SIDE = 2
PIXELS = SIDE * SIDE


def fit(window: Window) -> bool:
    """Whether a convolution takes the steps that cells are for."""
    return window.strides == (SIDE, SIDE) and window.dilation == (1, 1)


def weights(weight: Array, window: Window) -> Array:
    """Weights [O, I, H, W] as [O, 4 I, h, w], a kernel of cells."""
    outputs, inputs, *kernel = weight.shape
    extents = [
        first + (size - 1 - pad) // SIDE + 1
        for size, pad, first in zip(kernel, window.before, _cells_before(window), strict=True)
    ]
    pixels = np.zeros((outputs, inputs, *(SIDE * extent for extent in extents)), weight.dtype)
    top, left = (SIDE * n - p for n, p in zip(_cells_before(window), window.before, strict=True))
    pixels[:, :, top : top + kernel[0], left : left + kernel[1]] = weight
    rows, columns = extents
    cut = pixels.reshape(outputs, inputs, rows, SIDE, columns, SIDE).transpose(0, 1, 3, 5, 2, 4)
    return np.ascontiguousarray(cut).reshape(outputs, inputs * PIXELS, rows, columns)


def moves(
    window: Window, size: Sequence[int], kernel: Sequence[int], result: Sequence[int]
) -> Window:
    """How the kernel of cells moves.

    Args:
        window: how that of pixels does.
        size: height and width of the image, in pixels.
        kernel: height and width of the kernel, in cells.
        result: height and width of the result.
    """
    first = _cells_before(window)
    needed = (extent + k - 1 - f for extent, k, f in zip(result, kernel, first, strict=True))
    after = (n - -(-extent // SIDE) for n, extent in zip(needed, size, strict=True))
    return Window((1, 1), (*first, *after), (1, 1))


def cut(data: te.Tensor) -> te.Tensor:
    """[N, C, H, W] as [N, C, H/2, W/2, 4]."""
    batch, channels, height, width = (int(extent) for extent in data.shape)
    count = [-(-extent // SIDE) for extent in (height, width)]

    def value(n: Any, c: Any, row: Any, column: Any, pixel: Any) -> Any:
        y = row * SIDE + tirx.indexdiv(pixel, SIDE)
        x = column * SIDE + tirx.indexmod(pixel, SIDE)
        if height % SIDE == width % SIDE == 0:
            return data[n, c, y, x]
        zero = tirx.const(0.0, data.dtype)
        return tirx.if_then_else(tirx.all(y < height, x < width), data[n, c, y, x], zero)

    return te.compute((batch, channels, *count, PIXELS), value, name="cells")


def _cells_before(window: Window) -> tuple[int, ...]:
    """How many cells a kernel reaches before that of the result, down and across."""
    return tuple(-(-pad // SIDE) for pad in window.before)
