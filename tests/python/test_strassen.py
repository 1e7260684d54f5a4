"""Convolutions and products by Strassen's algorithm, against float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tvm
from tvm import te

from python.arena_runner import run
from python.onnx_models import node, save, spec
from tvmake.compiler import compile_model
from tvmake.optimize import strassen
from tvmake.optimize.blocked import Window
from tvmake.schedule.cpu import CpuModel
from tvmake.schedule.strassen import IMAGE, RESULT, WEIGHTS, strassen_convolution
from tvmake.spec import TargetSpec

if TYPE_CHECKING:
    from pathlib import Path

AVX2, AVX512 = CpuModel(256, 16), CpuModel(512, 32, broadcasts_in_operand=True)


def test_seven_products_are_the_product_of_matrices() -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(-9, 9, (2, 2, 2))
    tables = zip(np.array(IMAGE), np.array(WEIGHTS), strict=True)
    products = [np.sum(image * a) * np.sum(weights * b) for image, weights in tables]
    result = [[sum(products[q] for q in sums) for sums in row] for row in RESULT]
    np.testing.assert_array_equal(result, a @ b)


@pytest.mark.parametrize("cpu", [AVX2, AVX512])
@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "stride", "pays"),
    [
        *((256, 1024, 14, 1, True), (1024, 256, 14, 1, True), (128, 512, 28, 1, True)),
        (256, 512, 28, 2, True),
        (512, 2048, 7, 1, False),  # an odd number of positions
        (8, 2048, 28, 1, False),  # one block of channels has no halves
        (256, 64, 56, 1, False),  # much to add, and little to multiply with it
        (96, 576, 14, 1, False),  # no time to be won
    ],
)
def test_it_is_chosen_where_it_pays(
    inputs: int, outputs: int, size: int, stride: int, pays: bool, cpu: CpuModel
) -> None:
    window = Window((stride,) * 2, (0,) * 4, (1, 1))
    shapes = ((outputs, inputs, 1, 1), window, (1, outputs, size, size))
    assert (
        strassen.convolution_pays(*shapes, (min(inputs, cpu.lanes(32)), cpu.lanes(32)), cpu) == pays
    )


@pytest.mark.parametrize("cpu", [AVX2, AVX512])
@pytest.mark.parametrize(
    ("rows", "depth", "columns", "pays"),
    [
        *((128, 768, 768, True), (128, 3072, 768, True), (197, 384, 1536, True)),
        (128, 384, 384, True),
        (32, 384, 1536, False),  # few rows for so many weights to read
        (1, 4096, 4096, False),
        (1024, 64, 64, False),  # little to multiply with what is added
    ],
)
def test_products_are_by_it_where_it_pays(
    rows: int, depth: int, columns: int, pays: bool, cpu: CpuModel
) -> None:
    assert strassen.product_pays(rows, depth, columns, cpu.lanes(32), cpu) == pays


def test_what_is_added_to_a_product_is_overwritten(tmp_path: Path) -> None:
    """A residual block; what is added to the first product is also what is multiplied."""
    random = np.random.default_rng(0)
    data = random.standard_normal((129, 512)).astype("float32")
    weights: dict[str, Any] = {
        name: (random.standard_normal((512, 512)) / 32).astype("float32") for name in "abc"
    }
    nodes = [
        *(node("Tanh", "x", "h"), node("MatMul", "h a", "p"), node("Add", "p h", "q")),
        *(node("MatMul", "q b", "r"), node("Relu", "r", "s")),
        *(node("MatMul", "s c", "t"), node("Add", "t q", "y")),
        node("Neg", "y", "z"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": data.shape}, ["z"], weights)
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", "x86-64-v3")))
    offsets = model.plan.offsets
    products = [call for call in model.graph.calls if "strassen" in call.kernel]
    first, _, last = (
        [offsets[call.outputs[o]] == offsets[call.inputs[i]] for o, i in call.in_place]
        for call in products
    )
    assert first == [False]
    assert last == [True]
    a, b, c = (weights[name].astype("float64") for name in "abc")
    h = np.tanh(data.astype("float64"))
    q = h @ a + h
    expected = -(np.maximum(q @ b, 0) @ c + q)
    got = run(model, {"x": data})["z"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
@pytest.mark.parametrize(
    ("batch", "inputs", "outputs", "height", "width", "stride"),
    [
        *((1, 512, 512, 14, 14, 1), (2, 320, 768, 13, 16, 1), (1, 512, 512, 27, 28, 2)),
        (1, 544, 1056, 10, 15, 1),
    ],
)
def test_sizes_and_steps(
    batch: int, inputs: int, outputs: int, height: int, width: int, stride: int, cpu: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    random = np.random.default_rng(height)
    data = random.standard_normal((batch, inputs, height, width)).astype("float32")
    weight = random.standard_normal((outputs, inputs, 1, 1)).astype("float32")
    bias = random.standard_normal(outputs).astype("float32")
    nodes = [node("Conv", "x w b", "c", strides=[stride] * 2), node("Relu", "c", "y")]
    path = save(tmp_path / "m.onnx", nodes, {"x": data.shape}, ["y"], {"w": weight, "b": bias})
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", cpu)))
    assert any("strassen" in name for name in model.graph.kernels)
    matrix = weight[:, :, 0, 0].astype("float64")
    product = np.einsum("nchw,oc->nohw", data[:, :, ::stride, ::stride], matrix, optimize=True)
    expected = np.maximum(product + bias[:, None, None], 0)
    got = run(model, {"x": data})["y"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_what_is_added_is_overwritten(tmp_path: Path) -> None:
    """A residual block, whose last convolution adds to what began it."""
    random = np.random.default_rng(0)
    data = random.standard_normal((1, 64, 14, 14)).astype("float32")
    shapes = {"a": (1024, 64), "d": (256, 1024), "e": (1024, 256)}
    weights: dict[str, Any] = {
        name: (random.standard_normal((*shape, 1, 1)) / 16).astype("float32")
        for name, shape in shapes.items()
    }
    nodes = [
        *(node("Conv", "x a", "p"), node("Relu", "p", "q")),
        *(node("Conv", "q d", "r"), node("Relu", "r", "s")),
        *(node("Conv", "s e", "t"), node("Add", "t q", "u"), node("Relu", "u", "y")),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": data.shape}, ["y"], weights)
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", "x86-64-v3")))
    offsets = model.plan.offsets
    last = [call for call in model.graph.calls if "strassen" in call.kernel][-1]
    assert any(offsets[last.outputs[o]] == offsets[last.inputs[i]] for o, i in last.in_place)
    matrices = {name: w[:, :, 0, 0].astype("float64") for name, w in weights.items()}

    def layer(x: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
        return np.asarray(np.einsum("nchw,oc->nohw", x, matrices[name], optimize=True))

    before = np.maximum(layer(data, "a"), 0)
    inner = np.maximum(layer(before, "d"), 0)
    expected = np.maximum(layer(inner, "e") + before, 0)
    got = run(model, {"x": data})["y"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_what_is_added_may_be_one_row_for_all() -> None:
    """Then height and width are not one axis."""
    random = np.random.default_rng(0)
    shapes = ((1, 4, 6, 7, 8), (32, 32, 1, 1), (1, 4, 1, 7, 8))
    data, weight, row = (random.standard_normal(shape).astype("float32") for shape in shapes)
    operands = [data, strassen.pack_convolution(weight, 8, 8), *strassen.constants(), row]
    tensors = [te.placeholder(array.shape, name=f"p{i}") for i, array in enumerate(operands)]
    window = Window((1, 1), (0,) * 4, (1, 1))
    image, weights, *tables, rows = tensors
    product = strassen.convolution(image, weights, tables[0], tables[1], window)
    added = te.compute(
        product.shape, lambda n, o, h, w, v: product[n, o, h, w, v] + rows[n, o, 0, w, v]
    )
    function = te.create_prim_func([*tensors, added])
    kernel = strassen_convolution(function, AVX2)
    assert kernel is not None
    result = tvm.runtime.tensor(np.full(data.shape, np.nan, "float32"))
    compiled = tvm.compile(kernel.with_attr("global_symbol", "main"), target="llvm")
    compiled(*map(tvm.runtime.tensor, operands), result)
    blocks = weight[:, :, 0, 0].reshape(4, 8, 4, 8).astype("float64")
    expected = np.einsum("ncyxi,ovci->noyxv", data, blocks) + row
    np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("goal", ["SIZE", "PRECISE"])
def test_other_goals_multiply_directly(goal: str, tmp_path: Path) -> None:
    shapes = {"x": (1, 512, 14, 14), "p": (128, 512)}
    weights: dict[str, Any] = {
        "w": np.ones((512, 512, 1, 1), "float32"),
        "v": np.ones((512, 512), "float32"),
    }
    nodes = [node("Conv", "x w", "y"), node("MatMul", "p v", "q")]
    path = save(tmp_path / "m.onnx", nodes, shapes, ["y", "q"], weights)
    model = compile_model(
        spec(path, target=TargetSpec("x86_64-linux-gnu", "x86-64-v3"), optimize=goal)
    )
    assert not any("strassen" in name for name in model.graph.kernels)
