"""Shapes and control flow known at run time only, run by the executor, against onnxruntime."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from python import dynamic_models
from python.onnx_models import node, random, save, small_cnn, spec
from python.opened_model import OpenedModel, open_model
from tvmake.compiler import compile_model, emit
from tvmake.errors import SpecError, UnsupportedError

Array = np.ndarray[Any, Any]


@dataclass
class Opened(OpenedModel):
    """A compiled model, open, beside onnxruntime's."""

    reference: Any

    def check(self, **inputs: Array) -> None:
        """Run once, and compare shapes and values."""
        wanted = self.reference.run(None, inputs)
        for got, expected in zip(self.run(**inputs), wanted, strict=True):
            assert got.shape == expected.shape
            scale = np.abs(expected).max(initial=0.0)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * scale)


def opened(folder: Path, path: Path, *inputs: str, **options: Any) -> Opened:
    """Compile a model, and open it."""
    model = open_model(folder, path, *inputs, **options)
    return Opened(model.compiled, model.module, onnxruntime.InferenceSession(str(path)))


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """A network with bounds on batch, height and width."""
    folder = tmp_path_factory.mktemp("bounded")
    path = dynamic_models.cnn(folder / "m.onnx")
    return opened(folder, path, "x=float32[N<=4,3,H,W]", "H<=24", "W<=32")


def test_random_shapes(bounded: Opened) -> None:
    generator = np.random.default_rng(0)
    shapes = [(1, 3, 1, 1), (4, 3, 24, 32)]
    for _ in range(8):
        n, h, w = (int(generator.integers(1, most + 1)) for most in (4, 24, 32))
        shapes.append((n, 3, h, w))
    for seed, shape in enumerate(shapes):
        bounded.check(x=random(*shape, seed=seed))


def test_bounds_fix_the_memory(bounded: Opened) -> None:
    assert bounded.compiled.executor[0] == "vm"
    assert "N, H, W" in bounded.compiled.executor[1]
    plan = bounded.compiled.plan
    assert -2 not in plan.offsets  # nothing is allocated later
    assert plan.arena_bytes < 2 * plan.live_bytes


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 3, 8, 8), r"'x': got shape \[5, 3, 8, 8\].*N is at most 4.*INPUTS"),
        ((1, 4, 8, 8), r"expected \[N<=4, 3, H<=24, W<=32\]: axis 1 is 3"),
        ((1, 3, 8), "expected rank 4"),
        ((0, 3, 8, 8), "N is at least 1"),
    ],
)
def test_wrong_shapes(bounded: Opened, shape: tuple[int, ...], message: str) -> None:
    before = random(2, 3, 9, 7)
    bounded.check(x=before)
    with pytest.raises(ValueError, match=message):
        bounded.run(x=np.zeros(shape, np.float32))
    bounded.check(x=before)


def test_a_run_without_shapes(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx", [node("Add", "a b", "y")], {"a": ("N", 3), "b": ("N", 3)}, ["y"]
    )
    model = opened(tmp_path, path)
    with pytest.raises(ValueError, match=r"input 'a' has no shape yet, expected \[N, 3\]"):
        model.module["run"]()
    with pytest.raises(ValueError, match="'b' has N = 3, input 'a' has N = 2; they must agree"):
        model.run(a=random(2, 3), b=random(3, 3))
    model.check(a=random(4, 3), b=random(4, 3, seed=1))


def test_encoder(tmp_path: Path) -> None:
    """Unbounded: memory grows with the sequence, and results stay right after it has."""
    model = opened(tmp_path, dynamic_models.encoder(tmp_path / "m.onnx"))
    for n, s in ((1, 1), (2, 7), (1, 33), (3, 16), (1, 2)):
        model.check(x=random(n, s, 32, seed=s))


def test_branches(tmp_path: Path) -> None:
    model = opened(tmp_path, dynamic_models.branches(tmp_path / "m.onnx"))
    for n in (1, 5, 3):
        for taken in (True, False):
            model.check(x=random(n, 6, seed=n), c=np.array([taken]))


def test_only_the_taken_branch_runs(tmp_path: Path) -> None:
    model = opened(tmp_path, dynamic_models.branches(tmp_path / "m.onnx"))
    calls = model.compiled.graph.calls
    guards = {value for call in calls for _, value in call.guards}
    assert guards == {True, False}
    product = next(call for call in calls if "matmul" in call.kernel)
    assert [value for _, value in product.guards] == [True]


def test_shapes_that_depend_on_data(tmp_path: Path) -> None:
    model = opened(tmp_path, dynamic_models.selected(tmp_path / "m.onnx"), "A<=20", "B<=20")
    assert -2 not in model.compiled.plan.offsets  # as many elements as there are, at most
    for seed, (a, b) in enumerate(((3, 4), (1, 1), (20, 20))):
        x = random(a, b, seed=seed)
        x[np.abs(x) < 0.5] = 0
        model.check(x=x, mask=random(a, seed=seed) > 0)
    model.check(x=np.zeros((2, 3), np.float32), mask=np.array([False, False]))


@pytest.mark.parametrize("by_center", [False, True])
def test_boxes_that_overlap_no_better_one(tmp_path: Path, by_center: bool) -> None:
    model = opened(tmp_path, dynamic_models.detection(tmp_path / "m.onnx", by_center=by_center))
    counts = set()
    for seed, (batch, n) in enumerate(((1, 1), (2, 40), (1, 200), (3, 5))):
        generator = np.random.default_rng(seed)
        boxes = generator.uniform(0, 1, (batch, n, 4)).astype("float32")
        scores = generator.uniform(0, 1, (batch, 3, n)).astype("float32").round(1)  # some are equal
        model.check(boxes=boxes, scores=scores)
        counts.add(model.run(boxes=boxes, scores=scores)[0].shape[0])
    assert len(counts) == 4


@pytest.mark.parametrize("ascending", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_distinct_rows(tmp_path: Path, axis: int | None, ascending: int) -> None:
    options = {"sorted": ascending, **({} if axis is None else {"axis": axis})}
    nodes = [node("Unique", "x", "values first which count", **options)]
    types = dict.fromkeys(("first", "which", "count"), onnx.TensorProto.INT64)
    outputs = ["values", *types]
    path = save(tmp_path / "m.onnx", nodes, {"x": (5, 6, 7)}, outputs, types=types)
    model = opened(tmp_path, path)
    for seed in range(3):
        # Few different rows along any axis.
        generator = np.random.default_rng(seed)
        x = generator.integers(0, 2, (2, 2, 2)).astype("float32")
        model.check(x=x[np.ix_(*(generator.integers(0, 2, n) for n in (5, 6, 7)))])
    model.check(x=random(5, 6, 7))


def test_a_limit_of_boxes_that_is_an_input(tmp_path: Path) -> None:
    model = opened(tmp_path, dynamic_models.detection(tmp_path / "m.onnx", limit=None))
    boxes, scores = random(1, 30, 4), np.abs(random(1, 3, 30, seed=1))
    for limit in (0, 1, 3, 1000):
        model.check(boxes=boxes, scores=scores, limit=np.array([limit]))


def test_a_loop_of_as_many_turns_as_an_input_says(tmp_path: Path) -> None:
    model = opened(tmp_path, dynamic_models.counted_loop(tmp_path / "m.onnx"))
    for turns, n in ((3, 2), (0, 2), (1, 7), (10, 1), (2, 3)):
        model.check(x=random(n, 5), y=random(n, 5, seed=1), turns=np.array(turns))


def test_a_loop_that_ends_by_what_it_computes(tmp_path: Path) -> None:
    model = opened(tmp_path, dynamic_models.searching_loop(tmp_path / "m.onnx"))
    counts = set()
    for scale, limit, start in (
        (1, 50, True),
        (1e4, 50, True),
        (1, 3, True),
        (1, 0, True),
        (1, 9, False),
    ):
        inputs = {"x": np.abs(random(4)) * np.float32(scale) + 1, "limit": np.array(limit)}
        inputs["start"] = np.array(start)
        model.check(**inputs)
        counts.add(len(model.run(**inputs)[1]))
    assert len(counts) == 4


def test_channels_that_are_no_whole_blocks(tmp_path: Path) -> None:
    model = opened(tmp_path, dynamic_models.odd_channels(tmp_path / "m.onnx"))
    for shape in ((1, 15, 7, 6), (3, 15, 1, 9)):
        model.check(x=random(*shape))


def test_a_loop_over_blocked_layouts(tmp_path: Path) -> None:
    model = opened(tmp_path, dynamic_models.convolving_loop(tmp_path / "m.onnx"))
    for turns in (2, 0, 4):
        model.check(image=random(1, 8, 6, 5), turns=np.array(turns))


def test_loops_in_loops(tmp_path: Path) -> None:
    model = opened(tmp_path, dynamic_models.nested_loops(tmp_path / "m.onnx"))
    for turns in (0, 1, 2, 5):
        model.check(x=random(3), turns=np.array(turns))


def test_a_long_loop_is_not_unrolled(tmp_path: Path) -> None:
    step = [node("Identity", "go", "on"), node("Mul", "v v", "s"), node("Sub", "s half", "w")]
    loop = onnx.helper.make_node(
        "Loop",
        ["turns", "", "x"],
        ["y"],
        name="long",
        body=dynamic_models.body(step, "i go v", "on w"),
    )
    weights = {"turns": np.array(10_000), "half": np.array(0.5, "float32")}
    path = save(tmp_path / "m.onnx", [loop], {"x": (3,)}, ["y"], weights)
    model = opened(tmp_path, path)
    assert model.compiled.executor == ("vm", "it has control flow")
    assert len(model.compiled.graph.calls) < 30
    model.check(x=np.array([0.1, 0.5, 1.0], "float32"))


def test_control_flow_on_the_graph_executor_is_refused(tmp_path: Path) -> None:
    for make in (dynamic_models.branches, dynamic_models.nested_loops):
        path = make(tmp_path / "m.onnx")
        inputs = ["x=float32[2,6]"] if make is dynamic_models.branches else []
        with pytest.raises(UnsupportedError, match=r"known at run time only(.|\n)*EXECUTOR vm"):
            compile_model(spec(path, *inputs, executor="graph"))


def test_a_scan_over_an_axis_of_open_length(tmp_path: Path) -> None:
    model = opened(tmp_path, dynamic_models.scan(tmp_path / "m.onnx"), "T<=9")
    assert -2 not in model.compiled.plan.offsets  # what it collects has a bound
    for length in (1, 5, 9, 2):
        model.check(x=random(length, 4), y=random(4, length, seed=1))


def test_what_a_loop_carries_keeps_its_shape(tmp_path: Path) -> None:
    grow = dynamic_models.body(
        [node("Identity", "go", "on"), node("Concat", "v v", "w", axis=0)], "i go v", "on w"
    )
    loop = onnx.helper.make_node("Loop", ["turns", "", "x"], ["y"], name="grow", body=grow)
    types = {"turns": onnx.TensorProto.INT64}
    path = save(tmp_path / "m.onnx", [loop], {"x": (3,), "turns": ()}, ["y"], types=types)
    with pytest.raises(
        UnsupportedError, match=r"carries is float32 \[3\] before a turn, float32 \[6\] after"
    ):
        compile_model(spec(path))


def test_shapes_that_are_inputs(tmp_path: Path) -> None:
    model = opened(tmp_path, dynamic_models.requested(tmp_path / "m.onnx"))

    def inputs(
        n: int, shape: list[int], extents: list[int], count: list[int], cut: list[int]
    ) -> dict[str, Array]:
        numbers = dict(zip(("from", "until", "by"), map(np.array, count), strict=True))
        return {
            "x": random(n, 4, seed=n),
            "row": random(1, 3),
            "shape": np.array(shape),
            "extents": np.array(extents),
            "start": np.array(cut[:1]),
            "stop": np.array(cut[1:]),
            **numbers,
        }

    model.check(**inputs(2, [4, 2], [5, 3], [0, 10, 3], [0, 1]))
    model.check(**inputs(3, [-1, 6], [1, 1], [5, -5, -2], [-2, 100]))
    model.check(**inputs(6, [0, -1], [2, 3], [3, 3, 1], [4, 2]))
    with pytest.raises(ValueError, match="cannot be reshaped"):
        model.run(**inputs(2, [3, 2], [5, 3], [0, 1, 1], [0, 1]))


def test_numbers_of_64_bits_keep_them(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("ConstantOfShape", "s", "y", value=onnx.numpy_helper.from_array(np.array([1 << 40]))),
        node("Add", "s offset", "z"),
    ]
    types = dict.fromkeys(("y", "z"), onnx.TensorProto.INT64)
    weights = {"offset": np.array([1 << 40])}
    path = save(tmp_path / "m.onnx", nodes, {"x": ("N", 3)}, ["y", "z"], weights, types)
    model = opened(tmp_path, path)
    (y, z), expected = model.run(x=random(2, 3)), model.reference.run(None, {"x": random(2, 3)})
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(z, expected[1])


def test_a_static_model_uses_the_graph_executor(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    assert compile_model(spec(path)).executor == ("graph", "all shapes are static")
    fixed = dynamic_models.cnn(tmp_path / "d.onnx")
    model = compile_model(spec(fixed, "x=float32[1,3,8,8]"))
    assert model.executor[0] == "graph"
    assert not model.graph.symbols


def test_the_manifest_tells_what_is_dynamic(tmp_path: Path) -> None:
    path = dynamic_models.cnn(tmp_path / "m.onnx")
    model = opened(tmp_path, path, "x=float32[N<=4,3,H,W]")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["executor"] == "vm"
    (x,), (y, _) = manifest["inputs"], manifest["outputs"]
    assert (x["shape"], x["dims"]) == ([-1, 3, -1, -1], ["N", 3, "H", "W"])
    assert (x["max_shape"], x["bytes"]) == ([4, 3, -1, -1], 0)
    assert (y["shape"], y["max_shape"], y["bytes"]) == ([-1, 32], [4, 32], 4 * 32 * 4)
    assert model.module["get_input_info"]()["shape"]["x"] == (-1, 3, -1, -1)


def test_compiling_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    path = dynamic_models.encoder(tmp_path / "m.onnx")
    for name in "ab":
        emit(compile_model(spec(path)), tmp_path / name, tmp_path / f"cache-{name}")
    for file in ("graph.json", "kernels.o", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (["x=float32[N,3,8,8]"], {"executor": "graph"}, "has a symbolic dimension"),
        (["x=float32[N<=2,3,H,W]", "N<=3"], {}, "bounds 'N' by 3 and by 2"),
        (["x=float32[N<=0,3,H,W]"], {}, "has dimension 'N<=0'"),
        (["M<=3"], {}, r"bounds 'M', which is no dimension(.|\n)*one of: N, H, W"),
        (["x=float32[N,4,H,W]"], {}, "contradicts the model"),
    ],
)
def test_wrong_requests(
    tmp_path: Path, inputs: list[str], options: dict[str, Any], message: str
) -> None:
    path = dynamic_models.cnn(tmp_path / "m.onnx")
    with pytest.raises(SpecError, match=message):
        compile_model(spec(path, *inputs, **options))


def test_the_graph_executor_wants_static_shapes(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"inputs of dynamic shape(.|\n)*or EXECUTOR vm"):
        compile_model(spec(dynamic_models.cnn(tmp_path / "m.onnx"), executor="graph"))
