"""Dilated convolutions as plain ones: pictures of every d-th row and column, each for itself.

The elements of a kernel of dilation d are d rows and columns apart, so they stay within one of d²
such pictures, the phases of the image (Holschneider et al., "A real-time algorithm for signal
analysis with the help of the wavelet transform", 1989).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tvm import te, tirx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvmake.optimize.blocked import Window


def size(result: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Of the phases of a convolution's result: how many for each image, height and width."""
    extents = (-(-extent // step) for extent, step in zip(result, dilation, strict=True))
    return (math.prod(dilation), *extents)


def plain(window: Window) -> Window:
    """How the kernel moves over a phase, which has its padding."""
    return replace(window, padding=(0,) * 4, dilation=(1, 1))


def split(
    data: te.Tensor, window: Window, kernel: Sequence[int], result: Sequence[int]
) -> te.Tensor:
    """[N, C/b, H, W, b] as [N·d², C/b, h, w, b], with the padding, for a result of such a size."""
    n, blocks, height, width, lanes = (int(extent) for extent in data.shape)
    (down, across), (top, left) = window.dilation, window.before
    count, *of_result = size(result, window.dilation)
    rows, columns = (extent + k - 1 for extent, k in zip(of_result, kernel, strict=True))

    def value(image: Any, block: Any, row: Any, column: Any, lane: Any) -> Any:
        phase = tirx.indexmod(image, count)
        y = row * down + tirx.indexdiv(phase, across) - top
        x = column * across + tirx.indexmod(phase, across) - left
        inside = tirx.all(y >= 0, y < height, x >= 0, x < width)
        found = data[tirx.indexdiv(image, count), block, y, x, lane]
        return tirx.if_then_else(inside, found, tirx.const(0.0, data.dtype))

    return te.compute((n * count, blocks, rows, columns, lanes), value, name="phases")


def join(data: te.Tensor, window: Window, result: Sequence[int]) -> te.Tensor:
    """[N·d², C/b, h, w, b] as [N, C/b, H, W, b]: the result, of that height and width."""
    images, blocks, _, _, lanes = (int(extent) for extent in data.shape)
    down, across = window.dilation

    def value(image: Any, block: Any, row: Any, column: Any, lane: Any) -> Any:
        phase = (image * down + tirx.indexmod(row, down)) * across + tirx.indexmod(column, across)
        return data[phase, block, tirx.indexdiv(row, down), tirx.indexdiv(column, across), lane]

    shape = (images // (down * across), blocks, *result, lanes)
    return te.compute(shape, value, name="joined")
