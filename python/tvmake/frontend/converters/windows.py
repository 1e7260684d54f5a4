"""Sizes and paddings of convolutions and pools, by ONNX's rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .operator import Operator


@dataclass(frozen=True)
class Window:
    """A window that slides over the spatial axes; each entry has one value per axis.

    Attributes:
        after: padding at the end, as the model gives it.
        sizes: how often the window fits: the size of the result.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def pads(self) -> list[int]:
        """Paddings in ONNX's order."""
        return [*self.before, *self.after]


def window(operator: Operator, spatial: Sequence[int], kernel: Sequence[int]) -> Window:
    """The window of an operator over spatial axes of these sizes.

    Raises:
        ValueError: for attributes that contradict each other.
    """
    rank = len(spatial)
    strides = _per_axis(operator, "strides", rank)
    dilations = _per_axis(operator, "dilations", rank)
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = list(operator.attributes.get("pads", [0] * 2 * rank))
    mode = operator.text("auto_pad", "NOTSET")
    sizes = []
    if mode.startswith("SAME"):
        sizes = [-(-n // s) for n, s in zip(spatial, strides, strict=True)]
        total = [
            max((out - 1) * s + e - n, 0)
            for out, s, e, n in zip(sizes, strides, extents, spatial, strict=True)
        ]
        smaller, larger = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = [*larger, *smaller] if mode == "SAME_LOWER" else [*smaller, *larger]
    elif mode == "VALID":
        pads = [0] * 2 * rank
    elif mode != "NOTSET":
        raise ValueError(f"{operator.name} has auto_pad = {mode}")
    before, after = pads[:rank], pads[rank:]
    if not sizes:
        sizes = [
            _count(n, e, s, b, a, ceil=bool(operator.attributes.get("ceil_mode", 0)))
            for n, e, s, b, a in zip(spatial, extents, strides, before, after, strict=True)
        ]
    if min(sizes, default=1) < 1:
        raise ValueError(f"{operator.name} has a window larger than its padded input")
    return Window(
        tuple(int(k) for k in kernel), strides, dilations, tuple(before), tuple(after), tuple(sizes)
    )


def _count(size: int, extent: int, stride: int, before: int, after: int, *, ceil: bool) -> int:
    room = size + before + after - extent
    if not ceil:
        return room // stride + 1
    count = math.ceil(room / stride) + 1
    # A window that would start behind the input and its first padding is dropped.
    return count - 1 if (count - 1) * stride >= size + before else count


def _per_axis(operator: Operator, name: str, rank: int) -> tuple[int, ...]:
    return tuple(int(v) for v in operator.attributes.get(name, [1] * rank))
