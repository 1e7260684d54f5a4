"""Moving elements of images: crops, patches, blocks."""

from __future__ import annotations

import math
from typing import Any

from tvm import relax, te, tirx

from .operator import Converter, Operator, static_shape
from .windows import window


def _center_crop_pad(operator: Operator) -> relax.Expr:
    shape = operator.shape(0)
    axes = [int(axis) % len(shape) for axis in operator.attributes.get("axes", range(len(shape)))]
    wanted = operator.constant(1)
    if wanted is None or len(wanted) != len(axes):
        raise ValueError(f"CenterCropPad needs a size for each of {len(axes)} axes")
    value = operator.operand(0)
    begins, ends, pads = [0] * len(shape), list(shape), [0] * 2 * len(shape)
    for axis, size in zip(axes, (int(size) for size in wanted), strict=True):
        if size < shape[axis]:
            begins[axis] = (shape[axis] - size) // 2
            ends[axis] = begins[axis] + size
        else:
            pads[2 * axis] = (size - shape[axis]) // 2
            pads[2 * axis + 1] = size - shape[axis] - pads[2 * axis]
    if ends != shape:
        value = operator.emit(relax.op.strided_slice(value, list(range(len(shape))), begins, ends))
    return operator.emit(relax.op.nn.pad(value, pads)) if any(pads) else value


def _col2im(operator: Operator) -> relax.Expr:
    """Each pixel is the sum of the patches' elements that lie on it."""
    batch, rows, blocks = operator.shape(0)
    image = [int(size) for size in _required(operator, 1)]
    kernel = [int(size) for size in _required(operator, 2)]
    win = window(operator, image, kernel)
    channels = rows // math.prod(kernel)
    if math.prod(win.sizes) != blocks or channels * math.prod(kernel) != rows:
        raise ValueError(f"Col2Im of {rows} x {blocks} does not fit an image of {image}")
    dtype = str(operator.operand(0).ty.dtype)

    def compute(data: te.Tensor) -> te.Tensor:
        axes = [te.reduce_axis((0, size), name=f"k{i}") for i, size in enumerate(kernel)]

        def element(n: Any, c: Any, *place: Any) -> Any:
            row, column, inside = c, tirx.const(0, "int32"), []
            for axis, position in enumerate(place):
                offset = position + win.before[axis] - axes[axis] * win.dilations[axis]
                step = win.strides[axis]
                block = tirx.floordiv(offset, step)
                inside += [offset >= 0, tirx.floormod(offset, step) == 0, block < win.sizes[axis]]
                row = row * kernel[axis] + axes[axis]
                column = column * win.sizes[axis] + block
            zero = tirx.const(0, dtype)
            taken = tirx.if_then_else(tirx.all(*inside), data(n, row, column), zero)
            return te.sum(taken, axis=axes)

        return te.compute((batch, channels, *image), element, name="col2im")

    return operator.call_te(compute, operator.operand(0))


def _split(operator: Operator) -> relax.Expr | None:
    """Split with parts that are empty; TVM's wants every part to have elements."""
    sizes = operator.constant(1) if len(operator.inputs) > 1 else operator.attributes.get("split")
    if sizes is None or all(size > 0 for size in sizes):
        return None
    value, shape = operator.operand(0), operator.shape(0)
    axis = int(operator.attributes.get("axis", 0)) % len(shape)
    dtype = str(value.ty.dtype)
    parts, begin = [], 0
    for size in map(int, sizes):
        if size:
            part = relax.op.strided_slice(value, [axis], [begin], [begin + size])
        else:
            part = relax.op.zeros([0 if i == axis else dim for i, dim in enumerate(shape)], dtype)
        parts.append(operator.emit(part))
        begin += size
    return relax.Tuple(parts)


def _required(operator: Operator, index: int) -> Any:
    value = operator.constant(index)
    if value is None:
        raise ValueError(f"{operator.name} lacks its operand {index}")
    return value


def _space_to_depth(operator: Operator) -> relax.Expr:
    batch, channels, height, width = operator.shape(0)
    block = int(operator.attributes["blocksize"])
    if height % block or width % block:
        raise ValueError(f"SpaceToDepth of {height} x {width} in blocks of {block}")
    split = [batch, channels, height // block, block, width // block, block]
    order = [0, 3, 5, 1, 2, 4] if operator.text("mode", "DCR") == "DCR" else [0, 1, 3, 5, 2, 4]
    value = operator.emit(relax.op.reshape(operator.operand(0), split))
    value = operator.emit(relax.op.permute_dims(value, order))
    result = [batch, channels * block * block, height // block, width // block]
    return operator.emit(relax.op.reshape(value, result))


def _conv_transpose(operator: Operator) -> relax.Expr | None:
    """ConvTranspose to a given shape; TVM converts all others."""
    wanted = operator.attributes.get("output_shape")
    if wanted is None:
        return None
    shape, kernel = operator.shape(0)[2:], operator.shape(1)[2:]
    rank = len(shape)
    wanted = [int(size) for size in wanted][-rank:]
    strides = [int(s) for s in operator.attributes.get("strides", [1] * rank)]
    dilations = [int(d) for d in operator.attributes.get("dilations", [1] * rank)]
    # The whole result, of which a part is wanted; what lies beyond it is zero.
    full = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(shape, strides, kernel, dilations, strict=True)
    ]
    surplus = [f - w for f, w in zip(full, wanted, strict=True)]
    upper = operator.text("auto_pad", "NOTSET") != "SAME_UPPER"
    begins = [max(t, 0) - max(t, 0) // 2 if upper else max(t, 0) // 2 for t in surplus]
    ends = [max(t, 0) - b for t, b in zip(surplus, begins, strict=True)]
    functions = {
        1: relax.op.nn.conv1d_transpose,
        2: relax.op.nn.conv2d_transpose,
        3: relax.op.nn.conv3d_transpose,
    }
    layout = {1: ("NCW", "IOW"), 2: ("NCHW", "IOHW"), 3: ("NCDHW", "IODHW")}[rank]
    value = operator.emit(
        functions[rank](
            operator.operand(0),
            operator.operand(1),
            strides=strides,
            padding=[*begins, *ends],
            dilation=dilations,
            groups=int(operator.attributes.get("group", 1)),
            data_layout=layout[0],
            kernel_layout=layout[1],
        )
    )
    missing = [max(-t, 0) for t in surplus]
    if any(missing):
        pads = [0, 0, 0, 0, *(part for size in missing for part in (0, size))]
        value = operator.emit(relax.op.nn.pad(value, pads))
    bias = operator.optional(2)
    if bias is None:
        return value
    spread = [1, static_shape(bias)[0], *[1] * rank]
    return operator.emit(relax.op.add(value, operator.emit(relax.op.reshape(bias, spread))))


CONVERTERS: dict[str, Converter] = {
    "CenterCropPad": _center_crop_pad,
    "Col2Im": _col2im,
    "ConvTranspose": _conv_transpose,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
}
