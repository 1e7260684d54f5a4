"""Convolutions and pooling of every rank."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kernels.cases import CHANNELS, SIZES, Cases, fitting, kernel_class

_CUBE_SIZES = (1, 2, 5, 7, 14)


@kernel_class
def convolution(cases: Cases) -> None:
    _convolution(cases, 2)


@kernel_class
def convolution_of_other_ranks(cases: Cases) -> None:
    _convolution(cases, cases.pick((1, 3)))


def _convolution(cases: Cases, rank: int) -> None:
    groups = cases.pick((1, 1, 1, 2, 3))
    inner, outer = (cases.pick((1, 3, 5, 8, 17)) * groups for _ in range(2))
    kernel = [cases.pick((1, 2, 3, 5)) for _ in range(rank)]
    dilations = [cases.pick((1, 1, 2)) for _ in range(rank)]
    sizes = _sizes(cases, _reach(kernel, dilations), inner * outer // groups * math.prod(kernel))
    x = cases.input(cases.pick((1, 2)), inner, *sizes)
    w = cases.weight(outer, inner // groups, *kernel)
    attributes: dict[str, Any] = {
        "group": groups,
        "dilations": dilations,
        "strides": [cases.pick((1, 1, 2, 3)) for _ in range(rank)],
        "pads": [int(p) for p in cases.random.integers(0, 3, 2 * rank)],
    }
    if cases.pick((0, 1)):  # fused with what usually follows
        y = cases.add("Conv", f"{x} {w} {cases.weight(outer)}", keep=False, **attributes)
        cases.add("Relu", y)
    else:
        cases.add("Conv", f"{x} {w}", **attributes)


@kernel_class
def three_by_three_convolution(cases: Cases) -> None:
    """What residual networks are made of, and what fast algorithms are for."""
    inner, outer = cases.pick((3, 8, 16, 32)), cases.pick((8, 16, 24, 32))
    sizes = _sizes(cases, [3, 3], inner * outer * 9)
    y = cases.add(
        "Conv",
        f"{cases.input(1, inner, *sizes)} {cases.weight(outer, inner, 3, 3)}",
        keep=False,
        pads=[cases.pick((0, 1))] * 4,
    )
    cases.add("Relu", y)


@kernel_class
def filtered_convolution(cases: Cases) -> None:
    """Kernels of 3 to 5 taps with steps of one and two, and larger ones over pictures."""
    if cases.pick((0, 1, 1)):
        inner, size, stride = cases.pick((8, 16, 24)), cases.pick((3, 4, 5)), cases.pick((1, 2, 2))
    else:
        inner, size, stride = cases.pick((1, 3)), cases.pick((5, 6, 7)), 2
    outer = cases.pick((16, 24, 40))
    extents = [int(extent) for extent in cases.random.integers(9, 42, 2)]
    y = cases.add(
        "Conv",
        f"{cases.input(cases.pick((1, 2)), inner, *extents)} "
        f"{cases.weight(outer, inner, size, size)} {cases.weight(outer)}",
        keep=False,
        strides=[stride] * 2,
        pads=[int(pad) for pad in cases.random.integers(0, size, 4)],
    )
    cases.add("Relu", y)


@kernel_class
def pointwise_convolution(cases: Cases) -> None:
    """Kernels of one element over many channels, where fewer products may be enough."""
    inner, outer = cases.pick((128, 160, 192)), cases.pick((512, 640))
    extents = [cases.pick((13, 14, 16, 18)) for _ in range(2)]
    stride = cases.pick((1, 1, 2))
    y = cases.add(
        "Conv",
        f"{cases.input(cases.pick((1, 2)), inner, *(stride * extent for extent in extents))} "
        f"{cases.weight(outer, inner, 1, 1)} {cases.weight(outer)}",
        keep=False,
        strides=[stride] * 2,
    )
    cases.add("Relu", y)


@kernel_class
def convolution_beyond_borders(cases: Cases) -> None:
    """Much padding, other before than after an axis: sums at the borders have fewer products."""
    rank = cases.pick((1, 2, 2, 2, 2, 3))
    groups = cases.pick((1, 1, 1, 2))
    inner, outer = cases.pick((1, 3, 4, 8, 16)) * groups, cases.pick((8, 16, 17, 40)) * groups
    kernel = [cases.pick((1, 3, 3, 5, 7) if rank < 3 else (1, 2, 3)) for _ in range(rank)]
    dilations = [cases.pick((1, 1, 1, 2, 4)) for _ in range(rank)]
    reach = _reach(kernel, dilations)
    sizes = _sizes(cases, [1] * rank, inner * outer // groups * math.prod(kernel))
    least = [max(0, r - size) for r, size in zip(reach, sizes, strict=True)]
    before, after = (
        [low + int(cases.random.integers(0, r)) for low, r in zip(least, reach, strict=True)]
        for _ in range(2)
    )
    x = cases.input(cases.pick((1, 2)), inner, *sizes)
    attributes: dict[str, Any] = {
        "group": groups,
        "dilations": dilations,
        "strides": [cases.pick((1, 2, 2, 3)) for _ in range(rank)],
        "pads": [*before, *after],
    }
    operands = (
        f"{x} {cases.weight(outer, inner // groups, *kernel)} {cases.weight(outer)}" for _ in "ab"
    )
    first, second = (cases.add("Conv", each, keep=False, **attributes) for each in operands)
    cases.add("Concat", f"{first} {cases.add('Relu', second, keep=False)} {first}", axis=1)


@kernel_class
def dilated_convolution(cases: Cases) -> None:
    """What segments pictures, with phases of different sizes, some outside of the image."""
    inner, outer = 16, cases.pick((16, 24, 32))
    dilations = [cases.pick((1, 2, 3, 6)) for _ in range(2)]
    before, after = [[cases.pick((0, d - 1, d, d, d + 1)) for d in dilations] for _ in range(2)]
    least = [2 * d + 1 - b - a for d, b, a in zip(dilations, before, after, strict=True)]
    sizes = _sizes(cases, least, inner * outer * 9)
    x = cases.input(cases.pick((1, 2)), inner, *sizes)
    operands = f"{x} {cases.weight(outer, inner, 3, 3)} {cases.weight(outer)}"
    attributes: dict[str, Any] = {"dilations": dilations, "pads": [*before, *after]}
    y = cases.add("Conv", operands, keep=False, **attributes)
    cases.add("Concat", f"{y} {cases.add('Relu', y, keep=False)} {y}", axis=1)


@kernel_class
def depthwise_convolution(cases: Cases) -> None:
    channels = cases.pick((*CHANNELS, 8, 16, 24, 32))
    kernel = [cases.pick((1, 3, 5, 7)) for _ in range(2)]
    multiplier = cases.pick((1, 1, 1, 2))
    dilations = [cases.pick((1, 1, 2)) for _ in range(2)]
    reach = _reach(kernel, dilations)
    sizes = _sizes(cases, reach, channels * multiplier * math.prod(kernel))
    x = cases.input(cases.pick((1, 2)), channels, *sizes)
    w = cases.weight(channels * multiplier, 1, *kernel)
    attributes: dict[str, Any] = {
        "group": channels,
        "dilations": dilations,
        "strides": [cases.pick((1, 1, 2, 3)) for _ in range(2)],
        "pads": [cases.pick((0, r // 2, r // 2, r - 1)) for r in (*reach, *reach)],
    }
    if cases.pick((0, 1)):
        bounds = [cases.weight(values=np.array(bound, np.float32)) for bound in (0, 6)]
        y = cases.add(
            "Conv", f"{x} {w} {cases.weight(channels * multiplier)}", keep=False, **attributes
        )
        cases.add("Clip", f"{y} {' '.join(bounds)}")
    else:
        cases.add("Conv", f"{x} {w}", **attributes)


@kernel_class
def inverted_residual(cases: Cases) -> None:
    """What mobile networks are made of: expand, filter and weigh each channel, project."""
    channels, expanded = cases.pick((8, 16, 24)), cases.pick((8, 32, 40))
    kernel, activation = cases.pick((3, 5)), cases.choose("Relu", "HardSwish")
    sizes = [cases.pick((1, 2, 5, 7, 14)) for _ in range(2)]  # more takes the reference minutes
    x = cases.input(cases.pick((1, 2)), channels, *sizes)

    def convolution(data: str, outer: int, inner: int, size: int = 1, group: int = 1) -> str:
        shape = (outer, inner // group, size, size)
        values = cases.random.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
        weight = cases.weight(values=values.astype("float32"))  # that keeps errors from growing
        operands = f"{data} {weight} {cases.weight(outer)}"
        return cases.add("Conv", operands, keep=False, group=group, pads=[size // 2] * 4)

    y = cases.add(activation, convolution(x, expanded, channels), keep=False)
    y = convolution(y, expanded, expanded, kernel, expanded)
    y = cases.add(activation, y, keep=False)
    axes = cases.integers(-1, -2)
    mean = cases.add("ReduceMean", f"{y} {axes}", keep=False, keepdims=1)
    gate = cases.add("Relu", convolution(mean, 8, expanded), keep=False)
    gate = cases.add("HardSigmoid", convolution(gate, expanded, 8), keep=False)
    y = cases.add("Mul", f"{y} {gate}", keep=False)
    y = cases.add("Add", f"{x} {convolution(y, channels, expanded)}")
    cases.add("ReduceMean", f"{y} {axes}", keepdims=0)


@kernel_class
def grouped_convolution(cases: Cases) -> None:
    """Groups of any size, which vectors do not divide."""
    groups = cases.pick((2, 3, 4, 5, 8))
    inner, outer = (cases.pick((1, 2, 3, 5, 8, 17, 34)) * groups for _ in range(2))
    kernel = cases.pick((1, 1, 3))
    sizes = _sizes(cases, [kernel] * 2, inner * outer // groups * kernel**2)
    y = cases.add(
        "Conv",
        f"{cases.input(cases.pick((1, 2)), inner, *sizes)} "
        f"{cases.weight(outer, inner // groups, kernel, kernel)} {cases.weight(outer)}",
        keep=False,
        group=groups,
        strides=[cases.pick((1, 1, 2))] * 2,
        pads=[cases.pick((0, kernel // 2))] * 4,
    )
    cases.add("Relu", y)


@kernel_class
def shuffled_channels(cases: Cases) -> None:
    """Grouped convolutions around a shuffle and a depthwise one, and a residual."""
    before, after = cases.pick((1, 2, 3, 4, 6)), cases.pick((1, 2, 3, 4, 6))
    channels = math.lcm(before, after) * cases.pick((1, 3, 4, 5, 8))
    sizes = _sizes(cases, [1, 1], channels * (channels // before + channels // after + 9))
    x = cases.input(1, channels, *sizes)
    w = cases.weight(channels, channels // before, 1, 1)
    y = cases.add("Conv", f"{x} {w}", keep=False, group=before)
    y = cases.add("Relu", y, keep=False)
    y = channel_shuffle(cases, y, before, (1, channels, *sizes))
    w = cases.weight(channels, 1, 3, 3)
    y = cases.add("Conv", f"{y} {w}", keep=False, group=channels, pads=[1] * 4)
    w = cases.weight(channels, channels // after, 1, 1)
    y = cases.add("Conv", f"{y} {w} {cases.weight(channels)}", keep=False, group=after)
    cases.add("Add", f"{x} {y}")


def channel_shuffle(cases: Cases, x: str, groups: int, shape: tuple[int, ...]) -> str:
    """The first channels of all groups, then the second ones."""
    n, channels, height, width = shape
    split = cases.integers(n, groups, channels // groups, height, width)
    y = cases.add("Reshape", f"{x} {split}", keep=False)
    y = cases.add("Transpose", y, keep=False, perm=[0, 2, 1, 3, 4])
    return cases.add("Reshape", f"{y} {cases.integers(*shape)}", keep=False)


@kernel_class
def transposed_convolution(cases: Cases) -> None:
    rank, groups = cases.pick((1, 2, 2, 2, 3)), cases.pick((1, 1, 2))
    inner, outer = (cases.pick((1, 3, 8, 16)) * groups for _ in range(2))
    kernel = [cases.pick((1, 2, 3, 4)) for _ in range(rank)]
    strides = [cases.pick((1, 2, 3)) for _ in range(rank)]
    dilations = [cases.pick((1, 1, 2)) for _ in range(rank)]
    sizes = _sizes(cases, [1] * rank, inner * outer // groups * math.prod(kernel))
    reach = _reach(kernel, dilations)
    # Less than a stride, and no more padding than the smallest picture can lose.
    extra = [int(cases.random.integers(0, s)) for s in strides]
    pads = [min(int(cases.random.integers(0, 2)), (r - 1) // 2) for r in reach]
    y = cases.add(
        "ConvTranspose",
        f"{cases.input(1, inner, *sizes)} {cases.weight(inner, outer // groups, *kernel)}",
        keep=rank != 2,
        group=groups,
        strides=strides,
        dilations=dilations,
        pads=pads * 2,
        output_padding=extra,
    )
    if rank == 2:
        cases.add("Relu", y)


@kernel_class
def pooling_between_convolutions(cases: Cases) -> None:
    """On blocked layout, with windows that reach beyond the image, and what follows."""
    channels, kernel = cases.pick((8, 16, 20, 33)), [cases.pick((1, 2, 3, 5)) for _ in range(2)]
    sizes = _sizes(cases, kernel, 20 * channels * math.prod(kernel))
    x = cases.input(cases.pick((1, 2)), 3, *sizes)
    y = cases.add("Conv", f"{x} {cases.weight(channels, 3, 1, 1)}", keep=False)
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": [cases.pick((1, 1, 2, 3)) for _ in range(2)],
        "pads": [cases.pick((0, min(kernel) // 2))] * 4,  # onnx's own mixes up the axes
    }
    if cases.pick((0, 1)):
        y = cases.add("MaxPool", y, keep=False, **attributes)
    else:
        counts = cases.pick((0, 1))
        y = cases.add("AveragePool", y, keep=False, count_include_pad=counts, **attributes)
    cases.add("Sub", f"{y} {cases.weight(1, channels, 1, 1)}")


@kernel_class
def pooling(cases: Cases) -> None:
    rank, channels = cases.pick((1, 2, 2, 2, 3)), cases.pick(CHANNELS)
    kernel = [cases.pick((2, 3, 5)) for _ in range(rank)]
    sizes = _sizes(cases, kernel, 20 * channels * math.prod(kernel))
    x = cases.input(1, channels, *sizes)
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": [cases.pick((1, 2, 3)) for _ in range(rank)],
        "pads": [int(p) for p in cases.random.integers(0, 2, 2 * rank)],
    }
    kind = cases.pick(range(3))
    if kind == 0:
        attributes["pads"] = attributes["pads"][:rank] * 2
        cases.add("MaxPool", x, ceil_mode=cases.pick((0, 1)), **attributes)
    elif kind == 1:
        cases.add("AveragePool", x, count_include_pad=cases.pick((0, 1)), **attributes)
    else:
        cases.add(cases.choose("GlobalAveragePool", "GlobalMaxPool"), x)


@kernel_class
def pooling_of_wide_rows(cases: Cases) -> None:
    """On plain layout: windows with gaps, and far from one another, and what follows."""
    rank = cases.pick((1, 2, 2, 3))
    kernel = [*(cases.pick((1, 2, 3)) for _ in range(rank - 1)), cases.pick((2, 3, 4))]
    sizes = [*(cases.pick((5, 9)) for _ in range(rank - 1)), cases.pick((11, 40, 65, 97))]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": [cases.pick((1, 2, 3, 4, 5)) for _ in range(rank)],
        "pads": [cases.pick((0, min(kernel) // 2))] * 2 * rank,  # onnx's own mixes up the axes
    }
    x = cases.input(2, 3, *sizes)
    if cases.pick((0, 1)):
        dilations = [cases.pick((1, 2)) for _ in range(rank)]
        y = cases.add("MaxPool", x, keep=False, dilations=dilations, **attributes)
    else:
        counts = cases.pick((0, 1))
        y = cases.add("AveragePool", x, keep=False, count_include_pad=counts, **attributes)
    cases.add(cases.choose("Relu", "Neg", "Identity"), y)


@kernel_class
def volume_network(cases: Cases) -> None:
    """What networks for video and scans are made of: blocks of channels all the way through."""
    channels, outer = cases.pick((8, 16, 24)), cases.pick((8, 16, 40))
    sizes = [cases.pick((2, 3, 5)) for _ in range(3)]

    def convolution(
        data: str, outer: int, inner: int, size: int, dilation: int = 1, **attributes: Any
    ) -> str:
        shape = (outer, inner // attributes.get("group", 1), size, size, size)
        values = cases.random.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
        weight = cases.weight(values=values.astype("float32"))  # that keeps errors from growing
        operands = f"{data} {weight} {cases.weight(outer)}"
        attributes["pads"] = [size // 2 * dilation] * 6
        return cases.add("Conv", operands, keep=False, dilations=[dilation] * 3, **attributes)

    x = convolution(cases.input(cases.pick((1, 2)), 3, *sizes), channels, 3, 3)
    parameters = " ".join(cases.weight(channels) for _ in range(3))
    variance = cases.weight(values=np.linspace(0.5, 2, channels, dtype="float32"))
    x = cases.add("BatchNormalization", f"{x} {parameters} {variance}", keep=False)
    x = cases.add("Relu", x, keep=False)
    strides = [cases.pick((1, 2)) for _ in range(3)]
    y = cases.add("Relu", convolution(x, channels, channels, 3), keep=False)
    y = cases.add("Add", f"{x} {convolution(y, channels, channels, 3, group=channels)}")
    y = convolution(y, outer, channels, 1, strides=strides)
    z = convolution(x, 8, channels, 3, cases.pick((1, 2)), strides=strides)
    kind = cases.choose("MaxPool", "AveragePool")
    joined = cases.add("Concat", f"{y} {z}", axis=1)
    cases.add(kind, joined, kernel_shape=[2, 2, 2], pads=[1] * 6, strides=[1, 2, 1])
    cases.add("GlobalAveragePool", joined)


def _reach(kernel: list[int], dilations: list[int]) -> list[int]:
    return [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]


def _sizes(cases: Cases, at_least: list[int], work: int) -> list[int]:
    """Extents of a picture; `work` is that of one position."""
    choices = SIZES if len(at_least) < 3 else _CUBE_SIZES
    sizes: list[int] = fitting(
        lambda: [cases.pick(choices, reach) for reach in at_least],
        lambda drawn: math.prod(drawn) * work if max(drawn) > 7 else 0,
    )
    return sizes
