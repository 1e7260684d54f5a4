"""The compiler's way as a whole, over the planned arena, against onnxruntime."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from onnx import TensorProto

from python.arena_runner import run
from python.onnx_models import node, random, save, small_cnn, spec
from tvmake.compiler import ARTIFACTS, compile_model, emit
from tvmake.dump import Dump
from tvmake.reference import reference_outputs

if TYPE_CHECKING:
    from pathlib import Path

    from tvmake.compiler import CompiledModel


def defined_functions(path: Path) -> set[str]:
    """The functions that an object defines for others."""
    with path.open("rb") as file:
        tables = [s for s in ELFFile(file).iter_sections() if isinstance(s, SymbolTableSection)]
        kinds = [(symbol.name, symbol["st_info"]) for s in tables for symbol in s.iter_symbols()]
    return {
        name for name, info in kinds if dict(info) == {"bind": "STB_GLOBAL", "type": "STT_FUNC"}
    }


def check(path: Path, inputs: dict[str, np.ndarray], *entries: str, rtol: float = 2e-6) -> None:
    """Compile, run, compare every output with onnxruntime."""
    model = compile_model(spec(path, *entries))
    got = run(model, inputs)
    expected = reference_outputs(path, inputs, list(got))
    for name, value in got.items():
        scale = np.abs(expected[name]).max(initial=0.0)
        np.testing.assert_allclose(value, expected[name], atol=rtol * scale, rtol=0, err_msg=name)


def named_results(model: CompiledModel) -> list[str]:
    """The model's tensors that kernels are known to compute, in order."""
    tensors = (call.provenance.tensor for call in model.graph.calls if call.provenance)
    return [tensor for tensor in tensors if tensor]


def test_small_cnn(tmp_path: Path) -> None:
    check(small_cnn(tmp_path / "m.onnx"), {"x": random(1, 3, 12, 12)})


def test_batch_norm_is_folded_into_the_convolution(tmp_path: Path) -> None:
    model = compile_model(spec(small_cnn(tmp_path / "m.onnx")))
    first = next(call for call in model.graph.calls if "conv2d" in call.name)
    assert first.provenance is not None
    assert [source.op_type for source in first.provenance.sources] == [
        "Conv",
        "BatchNormalization",
        "Relu",
    ]
    sizes = [math.prod(model.graph.tensors[index].shape) for index in first.inputs]
    assert sizes == [3 * 12 * 12, 8 * 3 * 3 * 3, 8]  # no scale is left


def test_provenance_names_the_result(tmp_path: Path) -> None:
    model = compile_model(spec(small_cnn(tmp_path / "m.onnx")))
    assert named_results(model) == ["r1", "r2", "p", "f", "y"]


def test_provenance_of_equal_kernels(tmp_path: Path) -> None:
    nodes = [node("Conv", f"t{i} w{i}", f"c{i}", pads=[1, 1, 1, 1]) for i in range(4)]
    nodes = [n for i, c in enumerate(nodes) for n in (c, node("Relu", f"c{i}", f"t{i + 1}"))]
    weights = {f"w{i}": random(4, 4, 3, 3, seed=i) for i in range(4)}
    path = save(tmp_path / "m.onnx", nodes, {"t0": (1, 4, 6, 6)}, ["t4"], weights)
    model = compile_model(spec(path))
    assert named_results(model)[:3] == ["t1", "t2", "t3"]
    assert named_results(model)[-1] == "t4"
    convolutions = [call for call in model.graph.calls if "conv2d" in call.name]
    assert len({call.kernel for call in convolutions}) == 1
    for call, expected in zip(convolutions, range(4), strict=True):
        assert call.provenance
        assert [s.name for s in call.provenance.sources] == [
            f"node_c{expected}",
            f"node_t{expected + 1}",
        ]


def test_provenance_of_branches(tmp_path: Path) -> None:
    """A node that is folded away counts to what its result leads to, not to its neighbour."""
    nodes = [
        node("Conv", "x v", "long", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("BatchNormalization", "long g b m s", "normal"),
        node("Conv", "x w", "short", kernel_shape=[1, 1]),
        node("Add", "normal short", "sum"),
        node("Relu", "sum", "y"),
    ]
    norm = {name: np.abs(random(4, seed=i)) + 1 for i, name in enumerate("gbms")}
    weights = norm | {"v": random(4, 4, 3, 3), "w": random(4, 4, 1, 1)}
    path = save(tmp_path / "m.onnx", nodes, {"x": (1, 4, 6, 6)}, ["y"], weights)
    sources = [
        {source.name for source in call.provenance.sources}
        for call in compile_model(spec(path)).graph.calls
        if call.provenance and "conv2d" in call.name
    ]
    (long,) = (names for names in sources if "node_long" in names)
    (short,) = (names for names in sources if "node_short" in names)
    assert "node_normal" in long
    assert not {"node_long", "node_normal"} & short


def test_provenance_of_products(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w b", "h"), node("Relu", "h", "r"), node("Softmax", "r", "y")]
    weights = {"w": random(8, 6), "b": random(6)}
    path = save(tmp_path / "m.onnx", nodes, {"x": (3, 8)}, ["y"], weights)
    calls = compile_model(spec(path)).graph.calls
    sources = [[s.op_type for s in c.provenance.sources] for c in calls if c.provenance]
    assert sources == [["Gemm", "Relu"], ["Softmax"]]


def test_provenance_of_stacked_rows(tmp_path: Path) -> None:
    """Products of stacks are computed as ones of matrices; the views in between cancel."""
    nodes = [node("MatMul", f"t{i} w{i}", f"m{i}") for i in range(3)]
    nodes = [n for i, p in enumerate(nodes) for n in (p, node("Relu", f"m{i}", f"t{i + 1}"))]
    weights = {f"w{i}": random(8, 8, seed=i) for i in range(3)}
    path = save(tmp_path / "m.onnx", nodes, {"t0": (2, 3, 8)}, ["t3"], weights)
    calls = compile_model(spec(path)).graph.calls
    sources = [[s.name for s in c.provenance.sources] for c in calls if c.provenance]
    assert [names for names in sources if names] == [
        [f"node_m{i}", f"node_t{i + 1}"] for i in range(3)
    ]


@pytest.mark.parametrize(
    ("shape", "nodes"),
    [
        ((2, 3, 8), [node("Slice", "x four four two", "y")]),
        ((2, 0, 8), [node("Transpose", "x", "y", perm=[0, 2, 1])]),
        ((0, 8), [node("Softmax", "x", "y", axis=-1)]),
        ((3, 0), [node("ReduceSum", "x one", "y")]),
        ((3, 0), [node("ReduceMin", "x", "y", axes=[1])]),
        ((0, 3, 8, 8), [node("MaxPool", "x", "y", kernel_shape=[3, 3], strides=[2, 2])]),
    ],
    ids=lambda value: value[0].op_type if isinstance(value, list) else None,
)
def test_tensors_without_elements(
    shape: tuple[int, ...], nodes: list[onnx.NodeProto], tmp_path: Path
) -> None:
    weights = {name: np.array([n], "int64") for name, n in (("one", 1), ("two", 2), ("four", 4))}
    used = {k: w for k, w in weights.items() if k in nodes[0].input}
    check(save(tmp_path / "m.onnx", nodes, {"x": shape}, ["y"], used), {"x": random(*shape)})


def test_outputs_never_alias(tmp_path: Path) -> None:
    """An input, a weight, and one value twice, all handed out as outputs."""
    nodes = [
        node("Identity", "x", "same"),
        node("Reshape", "x shape", "view"),
        node("Identity", "w", "weight"),
        node("Relu", "x", "a"),
        node("Identity", "a", "b"),
    ]
    weights = {"w": random(3), "shape": np.array([6], "int64")}
    outputs = ["same", "view", "weight", "a", "b"]
    path = save(tmp_path / "m.onnx", nodes, {"x": (2, 3)}, outputs, weights)
    check(path, {"x": random(2, 3)})
    model = compile_model(spec(path))
    offsets = [model.plan.offsets[index] for index in (*model.graph.inputs, *model.graph.outputs)]
    assert len(set(offsets)) == len(offsets)
    assert -1 not in offsets


def test_in_place_where_an_input_dies(tmp_path: Path) -> None:
    nodes = [
        node("CumSum", "x rows", "p"),
        node("CumSum", "p columns", "q"),
        node("Add", "p q", "y"),  # the last use of both, element by element
    ]
    weights = {"rows": np.array(2), "columns": np.array(3)}
    path = save(tmp_path / "m.onnx", nodes, {"x": (1, 4, 16, 16)}, ["y"], weights)
    check(path, {"x": random(1, 4, 16, 16)})
    model = compile_model(spec(path))
    shared = [
        (call.inputs[i], call.outputs[o])
        for call in model.graph.calls
        for o, i in call.in_place
        if model.plan.offsets[call.inputs[i]] == model.plan.offsets[call.outputs[o]]
    ]
    assert shared


def test_outputs_option_cuts_the_graph(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    model = compile_model(spec(path, outputs=["r1"]))
    assert model.graph.output_names == ("r1",)
    assert named_results(model) == ["r1"]
    got = run(model, {"x": random(1, 3, 12, 12)})
    expected = reference_outputs(path, {"x": random(1, 3, 12, 12)}, ["r1"])
    np.testing.assert_allclose(got["r1"], expected["r1"], atol=1e-5)


def test_inputs_fix_dynamic_shapes(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "y")]
    path = save(tmp_path / "m.onnx", nodes, {"x": ("N", 4)}, ["y"], {"w": random(4, 3)})
    check(path, {"x": random(5, 4)}, "x=float32[5,4]")


def test_integers_and_gather(tmp_path: Path) -> None:
    nodes = [node("Gather", "table ids", "e"), node("ReduceMean", "e", "y", axes=[1], keepdims=0)]
    path = save(
        tmp_path / "m.onnx",
        nodes,
        {"ids": (2, 7)},
        ["y"],
        {"table": random(11, 8)},
        {"ids": TensorProto.INT64},
    )
    check(path, {"ids": np.arange(14).reshape(2, 7) % 11})


def test_compile_is_deterministic(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:  # separate caches: the second build compiles again
        emit(compile_model(spec(path)), folder, folder / "cache")
    for name in ARTIFACTS:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_a_changed_weight_recompiles_no_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    emit(compile_model(spec(path)), tmp_path / "out", tmp_path / "cache")
    before = (tmp_path / "out" / "kernels.o").stat()
    model = onnx.load(path)
    changed = np.frombuffer(model.graph.initializer[0].raw_data, "float32") * 2
    model.graph.initializer[0].raw_data = changed.tobytes()
    path.write_bytes(model.SerializeToString())
    compiled = compile_model(spec(path))
    monkeypatch.setattr("tvm.tirx.build", lambda *_, **__: pytest.fail("a kernel was compiled"))
    emit(compiled, tmp_path / "out", tmp_path / "cache")
    after = (tmp_path / "out" / "kernels.o").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_models_of_the_same_kernels_share_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    symbols = []
    for name in ("first", "second"):
        model = compile_model(dataclasses.replace(spec(path), name=name))
        emit(model, tmp_path / name, tmp_path / "cache")
        symbols.append(defined_functions(tmp_path / name / "kernels.o"))
        monkeypatch.setattr("tvm.tirx.build", lambda *_, **__: pytest.fail("compiled twice"))
    first, second = symbols
    assert first != second == {name.replace("_first_", "_second_") for name in first}


def test_an_unchanged_artifact_keeps_its_time(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    times = []
    for _ in range(2):
        emit(compile_model(spec(path)), tmp_path / "out", tmp_path / "cache")
        times.append([(tmp_path / "out" / name).stat().st_mtime_ns for name in ARTIFACTS])
    assert times[0] == times[1]


def test_dump_shows_every_stage(tmp_path: Path) -> None:
    compile_model(spec(small_cnn(tmp_path / "m.onnx")), Dump(tmp_path / "dump"))
    names = sorted(path.name for path in (tmp_path / "dump").iterdir())
    assert names == ["1-imported.py", "2-optimized.py", "3-kernels.py", "4-memory.txt"]
    assert "batch_norm" in (tmp_path / "dump" / "1-imported.py").read_text()
    assert "batch_norm" not in (tmp_path / "dump" / "2-optimized.py").read_text()
    assert "T.vectorized" in (tmp_path / "dump" / "3-kernels.py").read_text()
    assert "weights" in (tmp_path / "dump" / "4-memory.txt").read_text()


def test_graph_json_has_the_graph_executor_form(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    model = compile_model(spec(path))
    emit(model, tmp_path, tmp_path / "cache")
    graph = json.loads((tmp_path / "graph.json").read_text())
    entries = graph["node_row_ptr"][-1]
    assert len(graph["node_row_ptr"]) == len(graph["nodes"]) + 1
    for name in ("dltype", "shape", "storage_id", "device_index", "byte_offset"):
        assert len(graph["attrs"][name][1]) == entries, name
    for index, entry in enumerate(graph["nodes"]):
        assert entry["op"] == ("null" if index in graph["arg_nodes"] else "tvm_op")
        assert all(source < index for source, _, _ in entry["inputs"])
    assert graph["tvmake"]["arena_bytes"] == model.plan.arena_bytes
