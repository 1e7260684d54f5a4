"""Operators on images against onnxruntime, and against ONNX's reference where that lacks them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from python.arena_runner import run
from python.converter_cases import Cases, random
from python.onnx_models import node, save, spec
from tvmake.compiler import compile_model

if TYPE_CHECKING:
    from pathlib import Path


def test_max_pool_with_indices(tmp_path: Path) -> None:
    cases = Cases()
    x = cases.input(np.round(random(2, 3, 7, 9) * 2))  # with ties
    cases.add("MaxPool", x, results=2, kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 1, 1])
    cases.add("MaxPool", x, results=2, kernel_shape=[2, 2], dilations=[2, 2], storage_order=1)
    cases.add("MaxPool", x, results=2, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    line = cases.input(random(1, 2, 11))
    cases.add("MaxPool", line, results=2, kernel_shape=[4], auto_pad="SAME_UPPER", strides=[3])
    cases.check(tmp_path)


def test_max_unpool(tmp_path: Path) -> None:
    cases = Cases()
    x = cases.input(random(1, 2, 3, 4))
    places = np.arange(24).reshape(1, 2, 3, 4) * 4 + 1
    indices = cases.input(places, "int64")
    cases.add("MaxUnpool", f"{x} {indices}", kernel_shape=[2, 2], strides=[2, 2])
    cases.check(tmp_path)


def test_indices_that_lie_nowhere_are_dropped(tmp_path: Path) -> None:
    nodes = [node("MaxUnpool", "x i", "y", kernel_shape=[2], strides=[2])]
    path = save(tmp_path / "m.onnx", nodes, {"x": (1, 1, 3), "i": (1, 1, 3)}, ["y"], types={"i": 7})
    inputs = {
        "x": np.array([[[1, 2, 3]]], "float32"),
        "i": np.array([[[1 << 40, -5, 2]]], "int64"),
    }
    result = run(compile_model(spec(path)), inputs)["y"]
    np.testing.assert_array_equal(result, [[[0, 0, 3, 0, 0, 0]]])


def test_transposed_convolution_to_a_shape(tmp_path: Path) -> None:
    cases = Cases()
    x, w, b = cases.input(random(1, 4, 3, 3)), cases.weight(random(4, 3, 3, 3)), random(6)
    bias = cases.weight(b)
    for mode in ("SAME_UPPER", "SAME_LOWER"):
        cases.add(
            "ConvTranspose",
            f"{x} {w} {bias}",
            tolerance=2e-6,
            strides=[3, 2],
            output_shape=[8, 6],
            auto_pad=mode,
            group=2,
        )
    cases.add("ConvTranspose", f"{x} {w}", tolerance=2e-6, strides=[3, 2], output_shape=[10, 8])
    cases.check(tmp_path)


def test_padding_behind_a_convolution_is_written(tmp_path: Path) -> None:
    cases = Cases()
    x, w = cases.input(random(1, 8, 6, 6)), cases.weight(random(16, 8, 3, 3))
    (y,) = cases.add("Conv", f"{x} {w}", tolerance=1e-5)
    cases.tolerances.pop(y)  # read by the next operator alone, so that they fuse
    cases.add("Pad", f"{y} {cases.weight([0, 0, 1, 2, 0, 0, 1, 2], 'int64')}", tolerance=1e-5)
    cases.check(tmp_path)


def test_affine_grid(tmp_path: Path) -> None:
    cases = Cases(opset=20)
    theta, size = cases.input(random(2, 2, 3)), cases.weight([2, 3, 4, 5], "int64")
    for aligned in (0, 1):
        cases.add("AffineGrid", f"{theta} {size}", align_corners=aligned, tolerance=1e-6)
    cases.check(tmp_path)


def test_roi_align(tmp_path: Path) -> None:
    cases = Cases()
    x = cases.input(random(2, 3, 10, 9))
    regions = cases.input([[1, 2, 9, 12], [0, 0, 17.5, 18.5], [4, 3, 8.2, 6.1]])
    rows = cases.input([1, 0, 1], "int64")
    size: dict[str, Any] = {
        "output_height": 3,
        "output_width": 4,
        "spatial_scale": 0.5,
        "tolerance": 1e-5,
    }
    for mode in ("half_pixel", "output_half_pixel"):
        for ratio in (0, 2):
            cases.add(
                "RoiAlign",
                f"{x} {regions} {rows}",
                coordinate_transformation_mode=mode,
                sampling_ratio=ratio,
                **size,
            )
    cases.check(tmp_path)


REFERENCE: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "CenterCropPad": (
        node("CenterCropPad", "x s", "y", axes=[-2, 3]),
        {"x": random(1, 2, 7, 4)},
        {"s": np.array([4, 9], "int64")},
    ),
    "Col2Im": (
        node("Col2Im", "x s k", "y", pads=[1, 0, 1, 2], strides=[2, 1], dilations=[1, 2]),
        {"x": random(2, 12, 15)},
        {"s": np.array([5, 7], "int64"), "k": np.array([2, 3], "int64")},
    ),
    "DeformConv": (
        node("DeformConv", "x w o b m", "y", pads=[1, 0, 1, 1], group=2, offset_group=2),
        {
            "x": random(1, 4, 6, 5),
            "o": random(1, 16, 7, 5, seed=1) * 2,
            "m": abs(random(1, 8, 7, 5, seed=2)),
        },
        {"w": random(2, 2, 2, 2, seed=3), "b": random(2, seed=4)},
    ),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_against_the_reference(tmp_path: Path, name: str) -> None:
    operator, inputs, weights = REFERENCE[name]
    shapes = {key: value.shape for key, value in inputs.items()}
    path = save(tmp_path / "m.onnx", [operator], shapes, ["y"], weights, opset=22)
    result = run(compile_model(spec(path)), inputs)["y"]
    expected: Any = ReferenceEvaluator(str(path)).run(None, inputs)
    np.testing.assert_allclose(result, expected[0], rtol=1e-5, atol=1e-5)
