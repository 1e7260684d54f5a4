"""Matrix products, normalizations, reductions, element by element, and moving data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.cases import CHANNELS, SIZES, Cases, fitting, kernel_class


@kernel_class
def matrix_product(cases: Cases) -> None:
    extents = (1, 3, 7, 16, 33, 65, 130)
    m, k, n = fitting(lambda: [cases.pick(extents) for _ in range(3)], math.prod)
    kind = cases.pick(range(6))
    if kind == 5:  # as a sum of products
        equation = cases.choose("bij,bkj->bik", "bij,bkj->ikb", "bij,bkj->kbi")
        cases.add("Einsum", f"{cases.input(3, m, k)} {cases.input(3, n, k)}", equation=equation)
    elif kind == 0:  # constant weights
        cases.add("MatMul", f"{cases.input(m, k)} {cases.weight(k, n)}")
    elif kind == 1:  # dense with bias, transposed weights
        x, w, b = cases.input(m, k), cases.weight(n, k), cases.weight(n)
        cases.add("Gemm", f"{x} {w} {b}", transB=1)
    elif kind == 2:  # both operands transposed, scaled
        x, w = cases.input(k, m), cases.weight(n, k)
        cases.add("Gemm", f"{x} {w}", transA=1, transB=1, alpha=0.5)
    elif kind == 3:  # a batch, then bias and activation
        x = cases.input(cases.pick((1, 3)), m, k)
        y = cases.add("MatMul", f"{x} {cases.weight(k, n)}", keep=False)
        biased = cases.add("Add", f"{y} {cases.weight(n)}", keep=False)
        cases.add(cases.choose("Relu", "Sigmoid", "Tanh"), biased)
    else:  # batched, both operands computed; one may lack the batch
        left = cases.input(*([cases.pick((1, 3))] if cases.pick((0, 1)) else []), m, k)
        cases.add("MatMul", f"{left} {cases.input(3, k, n)}")


@kernel_class
def deep_product(cases: Cases) -> None:
    """Rows that are a power of two apart: a cache keeps few of them at once."""
    m, n = cases.pick((1, 5, 9, 16, 30)), cases.pick((1, 17, 40, 65, 130))
    k = cases.pick((512, 1024, 2048))
    x = cases.input(m, k)
    kind = cases.pick(range(3))
    if kind == 0:
        cases.add("MatMul", f"{x} {cases.weight(k, n)}")
    elif kind == 1:
        cases.add("MatMul", f"{x} {cases.input(k, n)}")
    else:  # columns of the second one lie one after the other
        columns = cases.add("Transpose", cases.input(n, k), keep=False, perm=[1, 0])
        cases.add("MatMul", f"{x} {columns}")


@kernel_class
def large_product(cases: Cases) -> None:
    """Much to multiply with constant weights, where fewer products of blocks may be enough."""
    m, k, n = cases.pick((128, 133, 150)), cases.pick((384, 448)), cases.pick((384, 512))
    weights = (cases.random.standard_normal((k, n)) / math.sqrt(k)).astype("float32")
    y = cases.add("MatMul", f"{cases.input(m, k)} {cases.weight(values=weights)}", keep=False)
    if cases.pick((0, 1)):
        y = cases.add("Add", f"{y} {cases.weight(n)}", keep=False)
    y = cases.add(cases.choose("Relu", "Sigmoid", "Tanh", "Identity"), y, keep=False)
    if cases.pick((0, 1)):
        y = cases.add("Add", f"{y} {cases.input(m, n)}", keep=False)
    cases.add("Identity", y)


@kernel_class
def product_of_computed_matrices(cases: Cases) -> None:
    """Both operands as they come, transposed, or with their heads between rows and columns."""
    extents = (1, 7, 8, 16, 33, 65)
    heads, m, k, n = fitting(
        lambda: [cases.pick((1, 3)), *(cases.pick(extents) for _ in range(3))], math.prod
    )
    orders = [(0, 1, 2, 3), (0, 1, 3, 2), (0, 2, 1, 3), (0, 2, 3, 1)]  # axes in the buffer

    def operand(batch: int, rows: int, columns: int) -> str:
        order = orders[cases.pick(range(len(orders)))]
        shape = (batch, heads, rows, columns)
        buffer = [0] * 4
        for axis, extent in zip(order, shape, strict=True):
            buffer[axis] = extent
        return cases.add("Transpose", cases.input(*buffer), keep=False, perm=list(order))

    y = cases.add("MatMul", f"{operand(2, m, k)} {operand(cases.pick((1, 2)), k, n)}", keep=False)
    if cases.pick((0, 1)):
        y = cases.add("Add", f"{y} {cases.input(2, 1, m, n)}", keep=False)
    cases.add("Relu", y)


@kernel_class
def attention(cases: Cases) -> None:
    heads, length, width = cases.pick((1, 3, 12)), cases.pick((5, 16, 33)), cases.pick((8, 17, 32))
    q, k, v = (cases.input(1, heads, length, width) for _ in range(3))
    kt = cases.add("Transpose", k, keep=False, perm=[0, 1, 3, 2])
    scores = cases.add("MatMul", f"{q} {kt}", keep=False)
    if cases.pick((0, 1)):
        scores = cases.add("Add", f"{scores} {cases.input(1, 1, 1, length)}", keep=False)
    probabilities = cases.add("Softmax", scores, keep=False, axis=-1)
    cases.add("MatMul", f"{probabilities} {v}")


@kernel_class
def softmax(cases: Cases) -> None:
    shape = [cases.pick(CHANNELS) for _ in range(3)]
    cases.add(cases.choose("Softmax", "LogSoftmax"), cases.input(*shape), axis=cases.pick(range(3)))


@kernel_class
def normalization(cases: Cases) -> None:
    channels, size = cases.pick(CHANNELS), cases.pick((2, 5, 14))
    x = cases.input(2, channels, size, size)
    kind = cases.pick(range(4))
    if kind == 0:
        axis = cases.pick((1, 3))
        shape = (channels, size, size) if axis == 1 else (size,)
        scale, offset = cases.weight(*shape), cases.weight(*shape)
        cases.add("LayerNormalization", f"{x} {scale} {offset}", axis=axis)
    elif kind == 1:
        cases.add("InstanceNormalization", f"{x} {cases.weight(channels)} {cases.weight(channels)}")
    elif kind == 2:  # no convolution before it
        variance = cases.weight(channels, values=np.linspace(0.5, 2, channels, dtype="float32"))
        parameters = " ".join(cases.weight(channels) for _ in range(3))
        cases.add("BatchNormalization", f"{x} {parameters} {variance}")
    else:
        _group_normalization(cases)


def _group_normalization(cases: Cases) -> None:
    """As PyTorch exports it: an instance norm of reshaped groups, then factors and offsets."""
    groups, inside, size = cases.pick((1, 2, 4)), cases.pick((1, 3, 4)), cases.pick((2, 5, 14))
    shape = (2, groups * inside, size, size)
    flat = cases.add(
        "Reshape", f"{cases.input(*shape)} {cases.integers(0, groups, -1)}", keep=False
    )
    ones = cases.weight(values=np.ones(groups, "float32"))
    zeros = cases.weight(values=np.zeros(groups, "float32"))
    normal = cases.add("InstanceNormalization", f"{flat} {ones} {zeros}", keep=False)
    back = cases.add("Reshape", f"{normal} {cases.integers(*shape)}", keep=False)
    scaled = cases.add("Mul", f"{back} {cases.weight(shape[1], 1, 1)}", keep=False)
    cases.add("Add", f"{scaled} {cases.weight(shape[1], 1, 1)}")


@kernel_class
def local_response_normalization(cases: Cases) -> None:
    """After a convolution, on blocked layout, or not."""
    channels, size = cases.pick((*CHANNELS, 20, 40)), cases.pick((1, 5, 14))
    x = cases.input(2, 3, size, size + 2)
    kind = cases.pick(range(4))
    if kind:
        x = cases.add("Conv", f"{x} {cases.weight(channels, 3, 1, 1)}", keep=False)
    attributes: dict[str, Any] = {
        "size": cases.pick((1, 3, 4, 5, 21)),
        "alpha": float(cases.random.uniform(1e-4, 1)),
        "beta": float(cases.random.choice([0.5, 0.75, 0.6, 1.25, 2.0])),
        "bias": float(cases.random.uniform(0.5, 2)),
    }
    y = cases.add("LRN", x, keep=kind < 2, **attributes)
    if kind == 2:
        cases.add("Relu", y)
    elif kind == 3:
        cases.add("MaxPool", y, kernel_shape=[1, 1], strides=[2, 1])


@kernel_class
def reduction(cases: Cases) -> None:
    x = cases.input(*(cases.pick(CHANNELS) for _ in range(4)))
    axes = sorted({cases.pick(range(4)), cases.pick(range(4))})
    keep = cases.pick((0, 1))
    kind = cases.choose("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSum", "ArgMax")
    if kind == "ArgMax":
        index = cases.add(kind, x, keep=False, axis=axes[0], keepdims=keep)
        cases.add("Cast", index, to=1)
    else:
        cases.add(kind, f"{x} {cases.integers(*axes)}", keepdims=keep)


@kernel_class
def long_rows(cases: Cases) -> None:
    """Reductions of what is side by side in memory, alone and with what comes before and after."""
    lengths = (16, 31, 64, 101, 197, 520)
    shape = [cases.pick((1, 3, 10)), cases.pick((1, 4, 9)), cases.pick(lengths)]
    if cases.pick((0, 1)):  # of two axes
        shape = [*shape[:2], cases.pick((1, 2, 7)), shape[2]]
    axes = list(range(cases.pick((0, 1, 2)), len(shape)))
    x, kind = cases.input(*shape), cases.pick(range(5))
    if kind == 0:  # of what is computed, then computed with
        square = cases.add("Mul", f"{x} {x}", keep=False)
        least = cases.add("ReduceMin", f"{square} {cases.integers(*axes)}", keep=False, keepdims=1)
        cases.add("Sub", f"{x} {least}")
    elif kind == 1:
        cases.add(cases.choose("Softmax", "LogSoftmax"), x, axis=-1)
    elif kind == 2:  # two of the same row
        sums = cases.add("ReduceSum", f"{x} {cases.integers(*axes)}", keep=False, keepdims=1)
        most = cases.add("ReduceMax", f"{x} {cases.integers(*axes)}", keep=False, keepdims=1)
        scaled = cases.add("Mul", f"{x} {cases.weight(shape[-1])}", keep=False)
        cases.add("Sum", f"{scaled} {sums} {most}")
    else:
        kinds = ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceL2", "ReduceLogSumExp")
        keep = cases.pick((0, 1))
        cases.add(cases.choose(*kinds), f"{x} {cases.integers(*axes)}", keepdims=keep)


@kernel_class
def sorting(cases: Cases) -> None:
    """The first of many, or of few; with elements that are equal, which keep their order."""
    shape = [cases.pick((1, 3, 7)), cases.pick((1, 2, 7, 40, 101)), cases.pick((1, 3, 16))]
    axis = cases.pick(range(3))
    count = cases.pick((1, 2, 5, 24), at_most=shape[axis])
    x = cases.input(*shape)
    if cases.pick((0, 1)):
        x = cases.add("Round", x, keep=False)
    operands = f"{x} {cases.integers(count)}"
    attributes = {"axis": axis, "largest": cases.pick((0, 1))}
    values, index = cases.add("TopK", operands, keep=False, outputs=2, **attributes).split()
    cases.add("Neg", values)
    cases.add("Cast", index, to=1)


@kernel_class
def elementwise_chain(cases: Cases) -> None:
    shape = [cases.pick(CHANNELS) for _ in range(3)]
    x, y = cases.input(*shape), cases.input(shape[0], 1, shape[2])
    value = cases.add("Add", f"{x} {y}", keep=False)
    for op_type in ("Tanh", "Sigmoid", "Exp", "Neg", "Abs", "Sqrt", "Softplus", "Erf"):
        if cases.pick((0, 1)):
            if op_type == "Sqrt":
                value = cases.add("Abs", value, keep=False)
            value = cases.add(op_type, value, keep=False)
    cases.add("Mul", f"{value} {cases.weight(shape[2])}")


@kernel_class
def activation(cases: Cases) -> None:
    x = cases.input(1, cases.pick(CHANNELS), cases.pick((1, 7, 23)))
    kind = cases.choose("HardSwish", "HardSigmoid", "LeakyRelu", "Elu", "Clip", "SiLU", "GELU")
    if kind == "SiLU":
        cases.add("Mul", f"{x} {cases.add('Sigmoid', x, keep=False)}")
    elif kind == "GELU":
        half, one, root = (cases.weight(values=np.float32(v)) for v in (0.5, 1.0, 2**0.5))
        erf = cases.add("Erf", cases.add("Div", f"{x} {root}", keep=False), keep=False)
        factor = cases.add("Add", f"{erf} {one}", keep=False)
        cases.add("Mul", f"{cases.add('Mul', f'{x} {factor}', keep=False)} {half}")
    elif kind == "Clip":
        bounds = [cases.weight(values=np.float32(v)) for v in (-0.5, 0.75)]
        cases.add("Clip", f"{x} {' '.join(bounds)}")
    else:
        cases.add(kind, x)


@kernel_class
def data_movement(cases: Cases) -> None:
    a, b, c = (cases.pick((2, 4, 6, 18)) for _ in range(3))
    x = cases.input(a, b, c)
    kind = cases.pick(range(5))
    if kind == 0:
        cases.add("Transpose", x, perm=[int(p) for p in cases.random.permutation(3)])
    elif kind == 1:
        bounds = " ".join(cases.integers(*v) for v in ([0, 1], [a, b], [0, 1], [1, 2]))
        cases.add("Slice", f"{x} {bounds}")
    elif kind == 2:
        mode = cases.choose("constant", "reflect", "edge")
        cases.add("Pad", f"{x} {cases.integers(0, 1, 1, 1, 0, 1)}", mode=mode)
    elif kind == 3:
        cases.add("Expand", f"{x} {cases.integers(3, a, b, c)}")
    else:
        cases.add("Tile", f"{x} {cases.integers(1, 2, 3)}")


@kernel_class
def columns_in_another_order(cases: Cases) -> None:
    """Padded, enlarged, reversed, repeated, every second one; with what is computed around it."""
    rows, width = cases.pick((2, 3, 9)), cases.pick((7, 16, 30, 67))
    x = cases.add(cases.choose("Relu", "Identity"), cases.input(2, 3, rows, width), keep=False)
    kind = cases.pick(range(4))
    if kind == 0:
        mode = cases.choose("constant", "reflect", "edge", "wrap")
        above, below, left, right = (cases.pick((0, 1, 2, 6), at_most=rows - 1) for _ in range(4))
        pads = cases.integers(0, 0, above, left, 0, 0, below, right)
        operands = f"{x} {pads} {cases.weight()}" if mode == "constant" else f"{x} {pads}"
        y = cases.add("Pad", operands, keep=False, mode=mode)
    elif kind == 1:
        scales = np.array([1, 1, cases.pick((1, 2)), cases.pick((2, 3, 4, 5))], "float32")
        y = cases.add(
            "Resize",
            f"{x} _ {cases.weight(values=scales)}",
            keep=False,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    elif kind == 2:
        step = cases.pick((-3, -2, -1, 2, 3, 5))
        bounds = (-2, -1000) if step < 0 else (1, 1000)
        slices = " ".join(cases.integers(number) for number in (*bounds, 3, step))
        y = cases.add("Slice", f"{x} {slices}", keep=False)
    else:
        y = cases.add("Tile", f"{x} {cases.integers(1, 1, 2, 3)}", keep=False)
    cases.add(cases.choose("Neg", "Identity"), y)


@kernel_class
def gather(cases: Cases) -> None:
    rows, width = cases.pick((2, 5, 33)), cases.pick((1, 7, 16, 33))
    indices = cases.random.integers(0, rows, (2, width))
    x, kind = cases.input(rows, width), cases.choose("Gather", "GatherElements", "GatherND")
    if kind == "Gather":
        axis = cases.pick((0, 1))
        extent = (rows, width)[axis]
        within = cases.random.integers(-extent, extent, (2, cases.pick((1, 5, 8))))
        cases.add("Gather", f"{x} {cases.weight(values=within)}", axis=axis)
    elif kind == "GatherElements":
        cases.add("GatherElements", f"{x} {cases.weight(values=indices)}", axis=0)
    else:
        cases.add("GatherND", f"{x} {cases.weight(values=indices[:, :1])}")


@kernel_class
def concat_and_split(cases: Cases) -> None:
    """Parts that are computed, used elsewhere too, and joined again."""
    axis, size = cases.pick((1, 2)), cases.pick((1, 5, 8))
    widths = [cases.pick((1, 3, 8, 16)) for _ in range(3)]
    shape = [1, size, size, 7]
    shape[axis] = sum(widths)
    parts = cases.add(
        "Split",
        f"{cases.input(*shape)} {cases.integers(*widths)}",
        keep=False,
        outputs=3,
        axis=axis,
    ).split()
    parts[0] = cases.add("Relu", parts[0], keep=False)
    parts[1] = cases.add("Tanh", parts[1])
    order = [parts[i] for i in cases.random.permutation(3)]
    joined = cases.add("Concat", " ".join([*order, parts[0]]), keep=False, axis=axis)
    cases.add("Sigmoid", joined)


@kernel_class
def joined_transposes(cases: Cases) -> None:
    """The heads of a detector: results of several sizes, transposed, flattened and joined."""
    batch, kept = cases.pick((1, 2)), cases.pick(CHANNELS)
    axis = cases.pick((1, 2))
    pieces = []
    for _ in range(cases.pick((2, 3))):
        rows, columns = cases.pick(SIZES), cases.pick((1, 4, 7))
        x = cases.input(batch, rows, columns, kept)
        turned = cases.add("Transpose", x, keep=False, perm=[0, 3, 1, 2])
        flat = cases.add("Reshape", f"{turned} {cases.integers(0, 0, -1)}", keep=False)
        if axis == 1:
            flat = cases.add("Transpose", flat, keep=False, perm=[0, 2, 1])
        pieces.append(flat)
    joined = cases.add("Concat", " ".join(pieces), keep=False, axis=axis)
    cases.add(cases.choose("Relu", "Identity"), joined)


@kernel_class
def upsampled_channels(cases: Cases) -> None:
    """The neck of a detector: between convolutions, a result is enlarged and joined by another."""
    channels, others = cases.pick((8, 16, 24, 33)), cases.pick((8, 16))
    size, scale = cases.pick((1, 5, 8)), cases.pick((2, 3))
    weights = cases.weight(channels, 8, 1, 1), cases.weight(others, 8, 1, 1)
    small = cases.add("Conv", f"{cases.input(1, 8, size, 4)} {weights[0]}", keep=False)
    scales = cases.weight(values=np.array([1, 1, scale, 2], "float32"))
    large = cases.add(
        "Resize",
        f"{small} _ {scales}",
        keep=False,
        mode=cases.choose("nearest", "linear", "cubic"),
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    other = cases.add("Conv", f"{cases.input(1, 8, size * scale, 8)} {weights[1]}", keep=False)
    joined = cases.add("Concat", f"{large} {other}", keep=False, axis=1)
    cases.add("Conv", f"{joined} {cases.weight(8, channels + others, 1, 1)}")


@kernel_class
def resize(cases: Cases) -> None:
    channels, size = cases.pick(CHANNELS), cases.pick((1, 5, 8, 14))
    x = cases.input(1, channels, size, size)
    mode: dict[str, Any] = {
        "nearest": {"nearest_mode": cases.choose("floor", "round_prefer_floor")},
        "linear": {},
    }
    name = cases.choose(*mode)
    transform = cases.choose("asymmetric", "half_pixel") if size > 1 else "asymmetric"
    scale = cases.pick((2, 3))
    scales = cases.weight(values=np.array([1, 1, scale, 2], "float32"))
    cases.add(
        "Resize",
        f"{x} _ {scales}",
        mode=name,
        coordinate_transformation_mode=transform,
        **mode[name],
    )


@kernel_class
def tile(cases: Cases) -> None:
    """LLVM's loop vectorizer, which is left out, got plain loops of this wrong with AVX-512."""
    shape = [cases.pick((2, 3, 4, 5)) for _ in range(4)]
    cases.add("Tile", f"{cases.input(*shape)} {cases.integers(7, 6, 4, 2)}")
