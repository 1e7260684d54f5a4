"""Reading images between their pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from .operator import Converter, Operator
from .windows import window


def _affine_grid(operator: Operator) -> relax.Expr:
    """The places that an affine map takes the pixels of an image to, in [-1, 1]."""
    size = operator.constant(1)
    if size is None:
        raise ValueError("AffineGrid lacks its size")
    batch, _, *spatial = (int(dim) for dim in size)
    aligned = bool(operator.attributes.get("align_corners", 0))
    axes = [_centers(length, aligned) for length in spatial]
    grid = np.meshgrid(*axes, indexing="ij")
    # x first, as the map's columns have it; the last column is the shift.
    places = np.stack([*(part.reshape(-1) for part in reversed(grid)), np.ones(grid[0].size)])
    theta = operator.operand(0)
    points = relax.const(places.astype(str(theta.ty.dtype)))
    moved = operator.emit(relax.op.matmul(theta, points))
    moved = operator.emit(relax.op.permute_dims(moved, [0, 2, 1]))
    return operator.emit(relax.op.reshape(moved, [batch, *spatial, len(spatial)]))


def _centers(length: int, aligned: bool) -> Any:
    if aligned:
        return np.linspace(-1.0, 1.0, length) if length > 1 else np.array([-1.0])
    return (np.arange(length) * 2 + 1) / length - 1


def _bilinear(image: Any, y: Any, x: Any, height: int, width: int) -> Any:
    """A pixel between pixels; zero outside. `image` reads the pixel of a row and a column."""

    def bounded(value: Any, size: int) -> Any:
        # Beyond these everything is zero anyway; also rids us of NaN and infinity.
        low, high = tirx.const(-2.0, "float32"), tirx.const(float(size + 1), "float32")
        return tirx.max(tirx.min(value, high), low)

    y, x = bounded(y, height), bounded(x, width)
    top, left = tirx.floor(y), tirx.floor(x)
    result = None
    for row in (0, 1):
        for column in (0, 1):
            i = top.astype("int32") + row
            j = left.astype("int32") + column
            down, right = y - top, x - left
            one = tirx.const(1.0, "float32")
            weight = (down if row else one - down) * (right if column else one - right)
            inside = tirx.all(i >= 0, i < height, j >= 0, j < width)
            i = tirx.max(tirx.min(i, height - 1), 0)
            j = tirx.max(tirx.min(j, width - 1), 0)
            zero = tirx.const(0.0, "float32")
            part = tirx.Select(inside, image(i, j).astype("float32") * weight, zero)
            result = part if result is None else result + part
    return result


def _deform_conv(operator: Operator) -> relax.Expr:
    """Deformable convolution v2 (Zhu et al., 2018): sample the patches, then one product."""
    shape, weights = operator.shape(0), operator.shape(1)
    if len(shape) != 4:
        raise ValueError(f"DeformConv over {len(shape) - 2} spatial axes; 2 are possible")
    batch, channels, height, width = shape
    kernel = weights[2:]
    win = window(operator, shape[2:], kernel)
    groups = int(operator.attributes.get("group", 1))
    offset_groups = int(operator.attributes.get("offset_group", 1))
    dtype = str(operator.operand(0).ty.dtype)
    area, rows, columns = math.prod(kernel), win.sizes[0], win.sizes[1]

    def sample(x: te.Tensor, offset: te.Tensor, *masks: te.Tensor) -> te.Tensor:
        def element(n: Any, c: Any, k: Any, i: Any, j: Any) -> Any:
            group = tirx.floordiv(c, channels // offset_groups)
            first = (group * area + k) * 2
            place = [tirx.floordiv(k, kernel[1]), tirx.floormod(k, kernel[1])]
            at = [
                (p * s + o * d - b).astype("float32") + offset(n, first + a, i, j).astype("float32")
                for a, (p, s, o, d, b) in enumerate(
                    zip((i, j), win.strides, place, win.dilations, win.before, strict=True)
                )
            ]
            value = _bilinear(lambda y, z: x(n, c, y, z), at[0], at[1], height, width)
            if masks:
                value = value * masks[0](n, group * area + k, i, j).astype("float32")
            return value.astype(dtype)

        return te.compute((batch, channels, area, rows, columns), element, name="patches")

    mask = operator.optional(4)
    operands = [operator.operand(0), operator.operand(2), *([] if mask is None else [mask])]
    emit = operator.emit
    patches = operator.call_te(sample, *operands, name="deform_sample")
    inner = channels // groups * area
    patches = emit(relax.op.reshape(patches, [batch, groups, inner, rows * columns]))
    outer = weights[0]
    matrix = emit(relax.op.reshape(operator.operand(1), [1, groups, outer // groups, inner]))
    result = emit(relax.op.matmul(matrix, patches))
    result = emit(relax.op.reshape(result, [batch, outer, rows, columns]))
    bias = operator.optional(3)
    if bias is None:
        return result
    return emit(relax.op.add(result, emit(relax.op.reshape(bias, [1, outer, 1, 1]))))


def _roi_align(operator: Operator) -> relax.Expr:
    """Averages over regions. Batch indices are clipped; TVM's kernel would read any memory."""
    if operator.text("mode", "avg") != "avg":
        raise ValueError("RoiAlign with mode = max; avg is possible")
    emit = operator.emit
    batch, scale = operator.shape(0)[0], float(operator.attributes.get("spatial_scale", 1.0))
    old = "half_pixel" if operator.opset >= 16 else "output_half_pixel"
    aligned = operator.text("coordinate_transformation_mode", old) == "half_pixel"
    regions = operator.operand(1)
    dtype = str(regions.ty.dtype)
    if aligned:  # half a pixel of the feature map, in the regions' own unit
        regions = emit(relax.op.subtract(regions, relax.const(0.5 / scale, dtype)))
    rows = emit(relax.op.clip(emit(relax.op.astype(operator.operand(2), dtype)), 0, batch - 1))
    rows = emit(relax.op.reshape(rows, [-1, 1]))
    return emit(
        relax.op.vision.roi_align(
            operator.operand(0),
            emit(relax.op.concat([rows, regions], 1)),
            pooled_size=(
                int(operator.attributes.get("output_height", 1)),
                int(operator.attributes.get("output_width", 1)),
            ),
            spatial_scale=scale,
            sample_ratio=int(operator.attributes.get("sampling_ratio", 0)),
            aligned=aligned,
            layout="NCHW",
            mode="avg",
        )
    )


CONVERTERS: dict[str, Converter] = {
    "AffineGrid": _affine_grid,
    "DeformConv": _deform_conv,
    "RoiAlign": _roi_align,
}
