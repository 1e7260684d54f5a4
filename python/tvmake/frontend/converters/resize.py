"""Resize and Upsample in all modes, one axis after another.

Where a result's element lies in the source, and with which weights its neighbours count, is known
at compile time: each axis has a table of indices and one of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from tvm import relax

from tvmake.kernels.resize import ANNOTATION, Resize, Taps, resized

from .operator import Converter, Operator

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Axis:
    """What happens to one axis.

    Attributes:
        scale: size of the result by that of the source; the size itself is rounded.
        region: start and end of the part that is resized, as fractions of the axis.
    """

    axis: int
    source: int
    size: int
    scale: float
    region: tuple[float, float]

    @property
    def is_identity(self) -> bool:
        return self.size == self.source and self.scale == 1.0 and self.region == (0.0, 1.0)


def _resize(operator: Operator) -> relax.Expr:
    value = operator.operand(0)
    for axis in _axes(operator):
        if not axis.is_identity:
            value = _along(operator, value, axis, _taps(operator, axis))
    return value


def _upsample(operator: Operator) -> relax.Expr:
    shape = operator.shape(0)
    given = operator.attributes.get("scales")
    scales = operator.constant(1) if given is None else given
    mode = operator.text("mode", "nearest")
    rules = {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    plain = Operator(
        "Upsample", operator.inputs, rules, operator.opset, 1, operator.builder
    )  # fmt: skip
    value = operator.operand(0)
    if scales is None or len(scales) != len(shape):
        raise ValueError("Upsample needs one scale for each axis")
    for index, (size, scale) in enumerate(zip(shape, scales, strict=True)):
        axis = _Axis(index, size, int(size * float(scale)), float(scale), (0.0, 1.0))
        if not axis.is_identity:
            value = _along(operator, value, axis, _taps(plain, axis))
    return value


def _axes(operator: Operator) -> list[_Axis]:
    shape = operator.shape(0)
    rank = len(shape)
    old = operator.opset < 11  # then the only other operand are the scales
    axes = [int(axis) % rank for axis in operator.attributes.get("axes", range(rank))]
    roi = None if old or not _uses_region(operator) else operator.constant(1)
    scales = _filled(operator.constant(1 if old else 2))
    sizes = None if old else _filled(operator.constant(3))
    wanted = sizes if sizes is not None else scales
    if wanted is None or len(wanted) != len(axes):
        raise ValueError(f"{operator.name} needs a scale or a size for each of {len(axes)} axes")
    chosen = [shape[axis] for axis in axes]
    if sizes is None:
        factors = [float(scale) for scale in wanted]
        results = [int(np.floor(np.float32(f) * n)) for f, n in zip(wanted, chosen, strict=True)]
    else:
        factors, results = _from_sizes(operator, [int(size) for size in sizes], chosen)
    if min(results) < 1 or min(chosen) < 1:
        raise ValueError(f"{operator.name} from {chosen} to {results}")
    return [
        _Axis(axis, source, size, factor, _region(roi, i, len(axes)))
        for i, (axis, source, size, factor) in enumerate(
            zip(axes, chosen, results, factors, strict=True)
        )
    ]


def _filled(values: _Array | None) -> _Array | None:
    """Exporters give an empty tensor for an operand that is left out."""
    return values if values is not None and values.size else None


def _uses_region(operator: Operator) -> bool:
    return operator.text("coordinate_transformation_mode", "") == "tf_crop_and_resize"


def _region(roi: _Array | None, index: int, count: int) -> tuple[float, float]:
    return (0.0, 1.0) if roi is None else (float(roi[index]), float(roi[index + count]))


def _from_sizes(
    operator: Operator, sizes: Sequence[int], sources: Sequence[int]
) -> tuple[list[float], list[int]]:
    factors = [size / source for size, source in zip(sizes, sources, strict=True)]
    policy = operator.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return factors, list(sizes)
    factor = {"not_larger": min, "not_smaller": max}[policy](factors)
    return [factor] * len(sizes), [int(factor * source + 0.5) for source in sources]


def _taps(operator: Operator, axis: _Axis) -> Taps:
    places = _places(operator, axis)
    mode = operator.text("mode", "nearest")
    shrink = min(axis.scale, 1.0) if operator.attributes.get("antialias", 0) else 1.0
    if mode == "nearest":
        first, weights = _nearest(operator, places), np.ones((axis.size, 1))
    elif mode == "linear":
        first, weights = _spread(places, shrink, 1, lambda x: np.clip(1 - x, 0, 1))
    elif mode == "cubic":
        alpha = float(operator.attributes.get("cubic_coeff_a", -0.75))
        first, weights = _spread(places, shrink, 2, lambda x: _cubic(x, alpha))
    else:
        raise ValueError(f"{operator.name} has mode = {mode}")
    indices = first[:, None] + np.arange(weights.shape[1])
    if operator.attributes.get("exclude_outside", 0):
        weights = np.where((indices >= 0) & (indices < axis.source), weights, 0.0)
        weights = weights / weights.sum(1, keepdims=True)
    is_outside = np.zeros(axis.size, bool)
    if _uses_region(operator):
        is_outside = (places < 0) | (places > axis.source - 1)
    return Taps(np.clip(indices, 0, axis.source - 1), weights, is_outside)


def _places(operator: Operator, axis: _Axis) -> _Array:
    """The coordinate in the source of each element of the result."""
    x = np.arange(axis.size, dtype=np.float64)
    length = axis.scale * axis.source  # of the result, not rounded
    mode = operator.text("coordinate_transformation_mode", "half_pixel")
    half = (x + 0.5) / axis.scale - 0.5
    if mode == "half_pixel":
        return half
    if mode == "pytorch_half_pixel":
        return half if length > 1 else np.full_like(x, -0.5)
    if mode == "half_pixel_symmetric":
        return axis.source / 2 * (1 - axis.size / length) + half
    if mode == "asymmetric":
        return x / axis.scale
    if mode == "align_corners":
        return x * (axis.source - 1) / (length - 1) if length != 1 else np.zeros_like(x)
    if mode == "tf_half_pixel_for_nn":
        return (x + 0.5) / axis.scale
    if mode == "tf_crop_and_resize":
        start, end = axis.region
        last = axis.source - 1
        if length == 1:
            return np.full_like(x, (start + end) / 2 * last)
        return start * last + x * (end - start) * last / (length - 1)
    raise ValueError(f"{operator.name} has coordinate_transformation_mode = {mode}")


def _nearest(operator: Operator, places: _Array) -> _Array:
    mode = operator.text("nearest_mode", "round_prefer_floor")
    rounded = {
        "round_prefer_floor": lambda: np.ceil(places - 0.5),
        "round_prefer_ceil": lambda: np.floor(places + 0.5),
        "floor": lambda: np.floor(places),
        "ceil": lambda: np.ceil(places),
    }
    if mode not in rounded:
        raise ValueError(f"{operator.name} has nearest_mode = {mode}")
    return np.asarray(rounded[mode]()).astype(np.int64)


def _spread(places: _Array, shrink: float, radius: int, kernel: Any) -> tuple[_Array, _Array]:
    """First neighbour and weights for a kernel of this radius, stretched by 1 / shrink."""
    base = np.floor(places)
    start = int(np.floor(-radius / shrink)) + 1
    steps = np.arange(start, 2 - start)
    weights = kernel(np.abs(shrink * (steps[None, :] - (places - base)[:, None])))
    return base.astype(np.int64) + start, weights / weights.sum(1, keepdims=True)


def _cubic(x: _Array, a: float) -> _Array:
    """Keys, "Cubic convolution interpolation for digital image processing" (1981), eq. 15."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _along(operator: Operator, value: relax.Expr, axis: _Axis, taps: Taps) -> relax.Expr:
    """Resize one axis."""
    dtype = str(value.ty.dtype)
    extrapolation = float(operator.attributes.get("extrapolation_value", 0.0))
    how = Resize(axis.axis, bool(taps.is_outside.any()), extrapolation)
    tables = taps.tables(dtype if dtype == "float64" else "float32")
    function = partial(resized, how=how, indices=taps.indices)
    operands = value, *(relax.const(table) for table in tables)
    return operator.call_te(function, *operands, name="resize", **{ANNOTATION: how.annotation})


CONVERTERS: dict[str, Converter] = {"Resize": _resize, "Upsample": _upsample}
