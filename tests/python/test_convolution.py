"""Convolutions written out: direct and by Winograd's algorithm, against float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from python.arena_runner import run
from python.onnx_models import node, save, spec
from tvmake.compiler import compile_model
from tvmake.kernels.dense import block_vectors
from tvmake.optimize import blocked, cells, winograd
from tvmake.optimize.blocked import Window
from tvmake.schedule.convolution import Piece
from tvmake.schedule.cpu import CpuModel
from tvmake.schedule.filters import minimal_filter, transform
from tvmake.schedule.loops import scratch
from tvmake.schedule.tiles import choose_pieces, choose_tile, parts
from tvmake.spec import TargetSpec

if TYPE_CHECKING:
    from pathlib import Path

    from tvmake.compiler import CompiledModel

    Array = np.ndarray[Any, Any]

SSE2, AVX2, AVX512 = CpuModel(128, 16), CpuModel(256, 16), CpuModel(512, 32, True)


@pytest.mark.parametrize("extent", [1, 5, 6, 7, 49, 55, 3136])
def test_parts_cover_a_loop_in_even_steps(extent: int) -> None:
    pieces = parts(extent, 6)
    covered = [
        p.start + s * p.step + i for p in pieces for s in range(p.count) for i in range(p.step)
    ]
    assert covered == list(range(extent))
    assert max(p.step for p in pieces) - min(p.step for p in pieces) <= 1


@pytest.mark.parametrize("cpu", [SSE2, AVX2, AVX512])
@pytest.mark.parametrize("columns", [1, 7, 14, 56, 3136])
def test_tile_fits_into_the_registers(cpu: CpuModel, columns: int) -> None:
    tile = choose_tile((columns if columns < 50 else 1, columns, 64), cpu.lanes(32), cpu)
    assert tile.sums + tile.vectors <= cpu.vector_registers - (not cpu.broadcasts_in_operand)
    assert columns == 1 or tile.sums >= 8  # else the multiply-adds wait for one another


@pytest.mark.parametrize(
    ("depth", "vectors"),
    [(768, 2), (1000, 2), (512, 2), (1024, 4), (3072, 4)],
)
def test_products_keep_to_the_sets_of_the_cache(depth: int, vectors: int) -> None:
    """Rows that are multiples of 4096 bytes apart have one set of 8 lines, of 2048 bytes two."""
    cpu = CpuModel(512, 32, broadcasts_in_operand=True, l1_ways=8)
    assert block_vectors(128, 1024, depth, cpu) == vectors
    assert cpu.lines_apart(4 * 1024) == 8
    assert cpu.lines_apart(4 * 512) == 16
    assert cpu.lines_apart(4) == (32 << 10) // 64


@pytest.mark.parametrize("tile", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("taps", [2, 3, 4, 5])
def test_minimal_filters_are_exact(tile: int, taps: int, stride: int) -> None:
    filter_ = minimal_filter(tile, taps, stride)
    random = np.random.default_rng(tile)
    data = random.standard_normal(filter_.size)
    weights = random.standard_normal(taps)
    points = np.array(filter_.weights) @ weights
    shared = points[np.minimum(np.arange(filter_.size), len(points) - 1)]
    moved = np.array(transform(filter_.before, list(data)))
    np.testing.assert_allclose(moved, np.array(filter_.before) @ data, atol=1e-12)
    expected = [data[stride * i : stride * i + taps] @ weights for i in range(tile)]
    np.testing.assert_allclose(transform(filter_.after, list(shared * moved)), expected, atol=1e-12)


def test_minimal_filters_that_would_lose_digits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"F\(6, 5\) takes 9 points, here are 7"):
        minimal_filter(6, 5)


@pytest.mark.parametrize(
    ("tile", "taps", "stride", "size", "weights"),
    [(4, 3, 1, 6, 6), (4, 4, 1, 7, 7), (4, 3, 2, 9, 6), (2, 5, 2, 7, 7)],
)
def test_minimal_filters_multiply_little(
    tile: int, taps: int, stride: int, size: int, weights: int
) -> None:
    filter_ = minimal_filter(tile, taps, stride)
    assert (filter_.size, len(filter_.weights)) == (size, weights)


@pytest.mark.parametrize(
    ("channels", "image", "kernel", "stride", "dilation", "tile"),
    [
        *((64, 56, 3, 1, 1, 4), (8, 3, 3, 1, 1, 0), (128, 56, 3, 1, 2, 4), (8, 112, 3, 1, 2, 0)),
        *((128, 56, 3, 2, 1, 4), (16, 320, 3, 2, 1, 0), (64, 28, 5, 1, 1, 4), (64, 28, 3, 3, 1, 0)),
        *((64, 56, 1, 1, 1, 0), (64, 56, 7, 1, 1, 0), (64, 56, 3, 2, 2, 0)),
    ],
)
def test_winograd_is_chosen_where_it_pays(
    channels: int, image: int, kernel: int, stride: int, dilation: int, tile: int
) -> None:
    padding = dilation * (kernel // 2)
    window = Window((stride,) * 2, (padding,) * 4, (dilation,) * 2)
    result = (1, channels, *window.output((image, image), (kernel, kernel)))
    chosen = winograd.choose((channels, channels, kernel, kernel), window, result, AVX2)
    assert (chosen.tile if chosen else 0) == tile


@pytest.mark.parametrize("cpu", [AVX2, AVX512])
@pytest.mark.parametrize(("channels", "image", "tile"), [(128, 28, 4), (256, 14, 4), (512, 7, 2)])
def test_large_tiles_are_taken_where_weights_are_few(
    channels: int, image: int, tile: int, cpu: CpuModel
) -> None:
    """With AVX-512 too, where multiply-adds of twice the width begin half as often."""
    window = Window((1, 1), (1,) * 4, (1, 1))
    weight, result = (channels, channels, 3, 3), (1, channels, image, image)
    chosen = winograd.choose(weight, window, result, cpu)
    assert chosen is not None
    assert chosen.tile == tile


@pytest.mark.parametrize(("kernel", "tile"), [(7, 4), (5, 0)])
def test_cells_are_weighed_against_the_pixels_that_they_stand_for(kernel: int, tile: int) -> None:
    pixels = Window((2, 2), (kernel // 2,) * 4, (1, 1))
    weight = np.ones((16, 3, kernel, kernel), "float32")
    in_cells, result = cells.weights(weight, pixels), (1, 16, 16, 16)
    window = cells.moves(pixels, (32, 32), in_cells.shape[2:], result[2:])
    chosen = winograd.choose(in_cells.shape, window, result, AVX2, weight.shape)
    assert (chosen.tile if chosen else 0) == tile
    assert winograd.choose(in_cells.shape, window, result, AVX2)


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
@pytest.mark.parametrize(
    ("inputs", "size", "kernel", "stride", "pads"),
    [
        *((96, 31, 3, 2, (1, 1, 1, 1)), (96, 32, 3, 2, (0, 0, 1, 1)), (40, 30, 5, 2, (2, 2, 2, 2))),
        *((32, 21, 5, 1, (2, 2, 2, 2)), (32, 22, 4, 1, (1, 1, 2, 2)), (96, 33, 3, 2, (0, 2, 0, 1))),
        *((3, 61, 7, 2, (3, 3, 3, 3)), (3, 60, 7, 2, (2, 2, 3, 3)), (3, 63, 7, 2, (0, 5, 6, 1))),
        *((3, 62, 6, 2, (2, 2, 2, 2)), (5, 59, 5, 2, (2, 2, 2, 2)), (3, 60, 7, 2, (0, 0, 0, 0))),
    ],
)
def test_minimal_filters_of_two_dimensions(
    inputs: int,
    size: int,
    kernel: int,
    stride: int,
    pads: tuple[int, ...],
    cpu: str,
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(size)
    data = random.standard_normal((2, inputs, size, size + 3)).astype("float32")
    weight = random.standard_normal((80, inputs, kernel, kernel)).astype("float32")
    nodes = [
        node("Conv", "x w", "c", pads=list(pads), strides=[stride] * 2),
        node("Relu", "c", "y"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": data.shape}, ["y"], {"w": weight})
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", cpu)))
    assert any("winograd" in name for name in model.graph.kernels)
    got = run(model, {"x": data})["y"]
    around = ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
    padded = np.pad(data, around)
    expected = np.maximum(_convolution(padded, weight, (stride, stride), padding=0), 0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("batch", "height", "width", "goal"),
    [
        *((1, 1, 1, "SPEED"), (2, 7, 9, "SPEED"), (1, 14, 13, "SPEED"), (1, 33, 20, "SPEED")),
        (1, 43, 35, "SPEED"),  # two groups of tiles, of which one is not full
        *((2, 7, 9, "PRECISE"), (1, 14, 13, "SIZE")),
    ],
)
def test_convolution_of_any_size(
    batch: int, height: int, width: int, goal: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(height)
    data = random.standard_normal((batch, 64, height, width)).astype("float32")
    weight = (random.standard_normal((64, 64, 3, 3)) / 24).astype("float32")
    residual = random.standard_normal(data.shape).astype("float32")
    nodes = [
        node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
        node("Add", "c r", "s"),
        node("Relu", "s", "y"),
    ]
    shapes: dict[str, Any] = {"x": data.shape, "r": residual.shape}
    path = save(tmp_path / "m.onnx", nodes, shapes, ["y"], {"w": weight})
    target = TargetSpec("x86_64-linux-gnu", "x86-64-v3")
    model = compile_model(spec(path, target=target, optimize=goal))
    got = run(model, {"x": data, "r": residual})["y"]
    expected = np.maximum(_convolution(data, weight) + residual, 0)
    fast = any("winograd" in name for name in model.graph.kernels)
    assert fast == (goal == "SPEED" and height > 1)
    bound = 1e-3 if fast else 1e-5
    np.testing.assert_allclose(got, expected, rtol=0, atol=bound * np.abs(expected).max())


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
def test_tasks_that_share_a_large_picture(cpu: str, tmp_path: Path) -> None:
    """Each of them transforms and multiplies in memory of its own."""
    random = np.random.default_rng(0)
    data = random.standard_normal((2, 16, 181, 178)).astype("float32")
    weight = (random.standard_normal((16, 16, 3, 3)) / 12).astype("float32")
    nodes = [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "y")]
    path = save(tmp_path / "m.onnx", nodes, {"x": data.shape}, ["y"], {"w": weight})
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", cpu)))
    (kernel,) = (text for name, text in _sources(model).items() if "winograd" in name)
    assert kernel.count("T.parallel(") == 1  # not one for each step
    assert "moved: T.Buffer" in kernel  # is in the arena, not taken from the heap
    got = run(model, {"x": data})["y"]
    expected = np.maximum(_convolution(data, weight), 0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


_GROUPS = [
    *((4, 34, 34), (2, 20, 28), (4, 68, 68), (3, 8, 24), (2, 12, 8), (2, 16, 16)),
    *((6, 3, 3), (7, 5, 2), (3, 17, 5), (32, 4, 4), (5, 1, 9), (2, 1, 1)),
]


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
@pytest.mark.parametrize(("groups", "inputs", "outputs"), _GROUPS)
def test_groups_of_any_size(
    groups: int, inputs: int, outputs: int, cpu: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(groups)
    data = random.standard_normal((1, groups * inputs, 7, 5)).astype("float32")
    weight = random.standard_normal((groups * outputs, inputs, 1, 1)).astype("float32")
    nodes = [node("Conv", "x w", "y", group=groups)]
    path = save(tmp_path / "m.onnx", nodes, {"x": data.shape}, ["y"], {"w": weight})
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", cpu)))
    got = run(model, {"x": data})["y"]
    each = data.astype("float64").reshape(groups, inputs, 35)
    expected = weight.astype("float64").reshape(groups, outputs, inputs) @ each
    np.testing.assert_allclose(
        got, expected.reshape(got.shape), rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "strides"),
    [
        *((480, 24, 3, (2, 2)), (64, 48, 1, (2, 2)), (3, 16, 1, (3, 1)), (20, 8, 1, (1, 2))),
        *((3, 24, 7, (2, 2)), (3, 16, 11, (4, 4)), (6, 16, 5, (1, 1)), (1, 8, 3, (1, 1))),
        *((3, 24, 4, (4, 4)), (3, 40, 3, (2, 5)), (2, 16, 2, (3, 2))),  # no element read twice
    ],
)
def test_strides_and_sums_in_pieces(
    inputs: int, outputs: int, kernel: int, strides: tuple[int, int], cpu: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(inputs)
    data = random.standard_normal((2, inputs, 13, 11)).astype("float32")
    weight = random.standard_normal((outputs, inputs, kernel, kernel)).astype("float32")
    pads = [kernel // 2] * 4
    nodes = [node("Conv", "x w", "c", pads=pads, strides=strides), node("Relu", "c", "y")]
    path = save(tmp_path / "m.onnx", nodes, {"x": data.shape}, ["y"], {"w": weight})
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", cpu)))
    got = run(model, {"x": data})["y"]
    expected = np.maximum(_convolution(data, weight, strides), 0)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_sums_are_cut_where_their_weights_crowd_the_cache() -> None:
    assert choose_pieces(100 << 10, 8 << 10, AVX2) == 1
    assert choose_pieces(270 << 10, 8 << 10, AVX2) == 17
    assert choose_pieces(270 << 10, 80 << 10, AVX2) == 1  # more sums than are worth keeping


@pytest.mark.parametrize(("steps", "count"), [(64, 27), (60, 5), (3, 3)])
def test_pieces_follow_one_another(steps: int, count: int) -> None:
    pieces = [Piece(scratch("sums", 8), index, count) for index in range(count)]
    starts = [piece.share(steps)[0] for piece in pieces]
    following = [piece.following(steps) for piece in pieces]
    assert following == [*((0, start) for start in starts[1:]), (1, starts[0])]


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3"])
@pytest.mark.parametrize(
    ("kind", "size", "groups"),
    [("conv2d_blocked", 1, 1), ("winograd", 3, 1), ("depthwise", 3, 64)],
)
def test_results_overwrite_what_is_added_to_them(
    kind: str, size: int, groups: int, cpu: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(size)
    data = random.standard_normal((1, 64, 19, 23)).astype("float32")
    first = random.standard_normal((64, 64, 1, 1)).astype("float32")
    weight = random.standard_normal((64, 64 // groups, size, size)).astype("float32")
    nodes = [
        node("Conv", "x a", "f"),
        node("Relu", "f", "r"),
        node("Conv", "r w", "c", group=groups, pads=[size // 2] * 4),
        node("CumSum", "r columns", "q"),  # is no part of the kernel before it or after it
        node("Add", "c q", "s"),
        node("Relu", "s", "y"),
    ]
    weights: dict[str, Any] = {"a": first, "w": weight, "columns": np.array(3)}
    path = save(tmp_path / "m.onnx", nodes, {"x": data.shape}, ["y"], weights)
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", cpu)))
    offsets = model.plan.offsets
    (last,) = (call for call in model.graph.calls if kind in call.kernel and len(call.in_place) > 0)
    assert any(offsets[last.outputs[o]] == offsets[last.inputs[i]] for o, i in last.in_place)
    assert offsets[last.outputs[0]] != offsets[last.inputs[0]]  # the image, which others read yet
    before = np.maximum(_convolution(data, first), 0)
    if groups > 1:
        weight = blocked.join_groups(weight, groups, groups)
    expected = np.maximum(_convolution(before, weight) + np.cumsum(before, axis=3), 0)
    got = run(model, {"x": data})["y"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_mobile_networks_stay_on_blocked_layout(tmp_path: Path) -> None:
    """Each convolution is one kernel with what follows it, and only inputs are transposed."""
    nodes = [
        node("Conv", "x w", "a"),
        node("Clip", "a zero six", "b"),
        node("Conv", "b d", "c", group=16, pads=[1, 1, 1, 1]),
        node("HardSwish", "c", "e"),
        node("GlobalAveragePool", "e", "m"),
        node("Conv", "m s", "g"),
        node("HardSigmoid", "g", "h"),
        node("Mul", "e h", "f"),
        node("ReduceMean", "f", "y", axes=[-1, -2], keepdims=0),
    ]
    random = np.random.default_rng(0)
    weights: dict[str, Any] = {
        name: random.standard_normal(shape).astype("float32")
        for name, shape in {"w": (16, 8, 1, 1), "d": (16, 1, 3, 3), "s": (16, 16, 1, 1)}.items()
    }
    bounds = {"zero": np.array(0, "float32"), "six": np.array(6, "float32")}
    path = save(tmp_path / "m.onnx", nodes, {"x": (1, 8, 9, 9)}, ["y"], {**weights, **bounds})
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", "x86-64-v3")))
    words = ("transpose", "conv2d", "depthwise", "mean")
    kinds = [word for call in model.graph.calls for word in words if word in call.kernel]
    assert kinds == ["transpose", "conv2d", "depthwise", "mean", "conv2d", "mean"]


def test_detectors_stay_on_blocked_layout_where_they_enlarge(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "a"),
        node("Conv", "z w", "b"),
        node("Resize", "a _ scales", "c", mode="nearest", nearest_mode="floor"),
        node("Concat", "c b", "d", axis=1),
        node("Conv", "d v", "y"),
    ]
    random = np.random.default_rng(0)
    weights: dict[str, Any] = {
        name: random.standard_normal(shape).astype("float32")
        for name, shape in {"w": (16, 8, 1, 1), "v": (8, 32, 1, 1)}.items()
    }
    scales = np.array([1, 1, 2, 2], "float32")
    inputs = {"x": (1, 8, 9, 9), "z": (1, 8, 18, 18)}
    path = save(tmp_path / "m.onnx", nodes, inputs, ["y"], {**weights, "scales": scales})
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", "x86-64-v3")))
    kinds = ["transpose" for call in model.graph.calls if "transpose" in call.kernel]
    assert len(kinds) == len(inputs) + 1  # inputs, and the result


def test_what_a_convolution_scales_is_no_part_of_it(tmp_path: Path) -> None:
    """Squeeze-and-excite: the end of its convolution would be as large as the picture."""
    nodes = [
        node("GlobalAveragePool", "x", "m"),
        node("Conv", "m w", "c"),
        node("Sigmoid", "c", "s"),
        node("Mul", "x s", "z"),
        node("Conv", "z w", "y"),
    ]
    random = np.random.default_rng(0)
    weight = random.standard_normal((16, 16, 1, 1)).astype("float32")
    data = random.standard_normal((1, 16, 61, 40)).astype("float32")
    path = save(tmp_path / "m.onnx", nodes, {"x": data.shape}, ["y"], {"w": weight})
    model = compile_model(spec(path, target=TargetSpec("x86_64-linux-gnu", "x86-64-v3")))
    names = [call.kernel for call in model.graph.calls]
    assert not any("conv2d" in name and "multiply" in name for name in names), names
    assert any("conv2d" in name and "sigmoid" in name for name in names), names
    matrix = weight[:, :, 0, 0].astype("float64")
    scale = 1 / (1 + np.exp(-data.astype("float64").mean((2, 3)) @ matrix.T))
    expected = np.einsum("nchw,oc->nohw", data * scale[..., None, None], matrix)
    got = run(model, {"x": data})["y"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def _sources(model: CompiledModel) -> dict[str, str]:
    return {name: str(function) for name, function in model.graph.kernels.items()}


def _convolution(
    data: Array,
    weight: Array,
    strides: tuple[int, int] = (1, 1),
    padding: int | None = None,
) -> Array:
    """In float64, with padding of half the kernel if it is not given."""
    kernel = weight.shape[2:]
    around = [size // 2 if padding is None else padding for size in kernel]
    pads = ((0, 0), (0, 0), *((size, size) for size in around))
    padded = np.pad(data.astype("float64"), pads)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, (2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1]]
    result: Array = np.einsum("nchwij,ocij->nohw", windows, weight.astype("float64"), optimize=True)
    return result
