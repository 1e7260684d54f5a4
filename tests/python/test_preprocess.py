"""PREPROCESS: what the steps mean, against Pillow; what is compiled, against NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from python.arena_runner import run
from python.onnx_models import node, save, spec
from tvmake.compiler import compile_model
from tvmake.errors import SpecError
from tvmake.preprocess import Image, dense, taps

METHODS = {
    "bilinear": Pillow.Resampling.BILINEAR,
    "bicubic": Pillow.Resampling.BICUBIC,
    "box": Pillow.Resampling.BOX,
    "nearest": Pillow.Resampling.NEAREST,
}
SIZES = [((47, 63), (23, 31)), ((10, 7), (23, 31)), ((65, 33), (32, 33)), ((5, 5), (1, 1))]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_resizing_is_pillows(method: str, source: tuple[int, int], target: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).random(source, dtype=np.float32) * 255
    expected = Pillow.fromarray(pixels).resize(target[::-1], METHODS[method])
    rows, columns = (
        dense(taps(source[axis], target[axis], method), source[axis]) for axis in (0, 1)
    )
    result = rows @ pixels.astype("float64") @ columns.T
    np.testing.assert_allclose(result, np.asarray(expected), atol=1e-4)


def test_linear_is_opencvs() -> None:
    """Half-pixel centers, two taps, edges repeated: worked out by hand for 4 pixels to 8 and 2."""
    line = np.array([0.0, 8.0, 16.0, 24.0])
    np.testing.assert_allclose(dense(taps(4, 8, "linear"), 4) @ line, [0, 2, 6, 10, 14, 18, 22, 24])
    np.testing.assert_allclose(dense(taps(4, 2, "linear"), 4) @ line, [4, 20])


def test_a_picture_as_pillow_and_torchvision_prepare_it() -> None:
    """The way of most classifiers: resize, to [0, 1], normalize, channels first."""
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    resized = np.asarray(Pillow.fromarray(pixels).resize((21, 17), Pillow.Resampling.BILINEAR))
    expected = ((resized / 255 - mean) / std).transpose(2, 0, 1)[None]
    image = Image.parse(
        "x=image(uint8, HWC, size=40x60, scale=1/255, mean=0.485 0.456 0.406, "
        "std=0.229 0.224 0.225)"
    )
    result = image.apply(pixels, (1, 3, 17, 21))
    # Pillow rounds to whole levels between the steps.
    np.testing.assert_allclose(result, expected, atol=1.01 / 255 / 0.224)


CASES = {
    "bytes": ("x=image(uint8, HWC)", (1, 3, 6, 5)),
    "normalized": ("x=image(HWC, scale=1/255, mean=0.4 0.5 0.6, std=0.2 0.3 0.4)", (1, 3, 6, 5)),
    "smaller": ("x=image(uint8, HWC, size=37x53, std=58)", (1, 3, 16, 24)),
    "larger": ("x=image(uint8, HWC, size=9x7, resize=bicubic)", (1, 3, 16, 24)),
    "one direction": ("x=image(uint8, HWC, size=16x31, resize=linear)", (1, 3, 16, 24)),
    "swapped": ("x=image(uint8, HWC, swap, mean=1 2 3)", (1, 3, 6, 5)),
    "swapped with alpha": ("x=image(uint8, HWC, swap)", (1, 4, 6, 5)),
    "grey": ("x=image(uint8, HWC, size=20x30, resize=nearest, scale=0.5)", (1, 1, 8, 9)),
    "channels first": ("x=image(uint8, CHW, size=20x30)", (1, 3, 8, 9)),
    "channels last model": ("x=image(uint8, CHW, size=20x30, mean=3 4 5)", (1, 8, 9, 3)),
    "batch": ("x=image(uint16, NHWC, size=20x30, scale=1/1000)", (2, 3, 8, 9)),
    "floats": ("x=image(float32, NCHW, size=20x30, resize=box)", (2, 3, 8, 9)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_compiled(tmp_path: Path, case: str) -> None:
    text, shape = CASES[case]
    path = save(tmp_path / "m.onnx", [node("Relu", "x", "y")], {"x": shape}, ["y"])
    image = Image.parse(text)
    model = compile_model(spec(path, preprocess=(image,)))
    (tensor,) = (model.graph.tensors[index] for index in model.graph.inputs)
    assert (tensor.dtype, tensor.shape) == (image.dtype, image.source_shape(shape))
    generator = np.random.default_rng(2)
    pixels: Any = generator.integers(0, 256, tensor.shape).astype(image.dtype)
    expected = np.maximum(image.apply(pixels, shape), 0)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(run(model, {"x": pixels})["y"], expected, atol=2e-6 * scale)


def test_an_integer_input_is_rounded_and_saturates(tmp_path: Path) -> None:
    from onnx import TensorProto

    path = save(
        tmp_path / "m.onnx",
        [node("Identity", "x", "y")],
        {"x": (1, 1, 1, 6)},
        ["y"],
        types={"x": TensorProto.INT8, "y": TensorProto.INT8},
    )
    model = compile_model(spec(path, preprocess=(Image.parse("x=image(HWC, mean=100.4)"),)))
    pixels = np.array([0, 1, 100, 101, 200, 255], "uint8").reshape(1, 6, 1)
    result = run(model, {"x": pixels})["y"].reshape(-1)
    np.testing.assert_array_equal(result, [-100, -99, 0, 1, 100, 127])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "cannot read PREPROCESS entry"),
        ("x=image(uint9)", "which is no step"),
        ("x=image(uint8, HWC, CHW)", "gives 'layout' twice"),
        ("x=image(sclae=2)", "did you mean 'scale'"),
        ("x=image(size=480)", "height and width"),
        ("x=image(size=0x5)", "height and width"),
        ("x=image(std=0)", "other than 0"),
        ("x=image(scale=1/0)", "a number or a fraction"),
        ("x=image(resize=cubic)", "bilinear or bicubic"),
    ],
)
def test_wrong_entries(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        Image.parse(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("z=image(HWC)", (1, 3, 6, 5), "which is no input of the model"),
        ("x=image(HWC)", (2, 3, 6, 5), "takes one image, but the model takes 2"),
        ("x=image(HWC)", (1, 5, 4, 7), "is not that of images"),
        ("x=image(HWC)", (1, 3, 4, 3), "is not that of images"),
        ("x=image(HWC)", (3, 4), "is not that of images"),
        ("x=image(HWC, mean=1 2)", (1, 3, 6, 5), "has 2 values for mean"),
        ("x=image(HWC, swap)", (1, 1, 6, 5), "swaps channels"),
    ],
)
def test_entries_that_do_not_fit(
    tmp_path: Path, text: str, shape: tuple[int, ...], message: str
) -> None:
    path = save(tmp_path / "m.onnx", [node("Relu", "x", "y")], {"x": shape}, ["y"])
    with pytest.raises(SpecError, match=message):
        compile_model(spec(path, preprocess=(Image.parse(text),)))
