"""Bad models and bad requests: what is said, each with a passing twin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from python.onnx_models import node, random, save, small_cnn, spec
from tvmake.errors import ModelError, SpecError, UnsupportedError
from tvmake.frontend import import_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good model."""
    return small_cnn(tmp_path / "m.onnx")


def test_a_good_model_passes(path: Path) -> None:
    model = import_model(spec(path))
    assert model.inputs == ("x",)
    assert model.outputs == ("y",)
    assert model.details["opset"] == 17


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist") as error:
        import_model(spec(tmp_path / "nothing.onnx"))
    assert "nothing.onnx" in str(error.value)


def test_unknown_format(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"'\.h5' is not a model format"):
        import_model(spec(tmp_path / "model.h5"))


@pytest.mark.parametrize("content", [b"", b"hello, I am a text", b"\x89PNG\r\n\x1a\n" + b"\0" * 99])
def test_not_onnx(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"not an ONNX model|empty"):
        import_model(spec(path))


def test_every_truncation_is_told(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(1, len(whole) - 1, len(whole) // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"truncated or damaged|breaks the ONNX rules"):
            import_model(spec(path))


def test_missing_external_data(path: Path) -> None:
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert import_model(spec(path)).files == (str(path), str(path.parent / "weights"))
    (path.parent / "weights").unlink()
    with pytest.raises(ModelError, match="external data file 'weights' is missing"):
        import_model(spec(path))


def test_all_unsupported_operators_at_once(tmp_path: Path) -> None:
    nodes = [
        node("Relu", "x", "a"),
        helper.make_node("Frobnicate", ["a"], ["b"], name="first", domain="com.example"),
        helper.make_node("Frobnicate", ["b"], ["c"], name="second", domain="com.example"),
        node("StringNormalizer", "c", "d"),
        node("Relu", "d", "y"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": (2,)}, ["y"])
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 2
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError) as error:
        import_model(spec(path))
    text = str(error.value)
    assert "com.example.Frobnicate (nodes first, second)" in text
    assert "StringNormalizer (node node_d)" in text
    assert "com.example.Frobnicate: give the model a function of ONNX operators" in text
    assert "StringNormalizer: prepare text in the program" in text
    assert "Relu" not in text


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        ("Convolve", "ONNX has no operator Convolve"),
        ("GridSample", "operator GridSample is not in opset 12"),
    ],
)
def test_operators_that_the_opset_lacks(tmp_path: Path, operator: str, message: str) -> None:
    nodes = [node(operator, "x", "y")]
    path = save(tmp_path / "m.onnx", nodes, {"x": (2,)}, ["y"], opset=12)
    with pytest.raises(ModelError, match=message):
        import_model(spec(path))


def test_dynamic_shape_without_inputs(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "y")]
    shape = ("batch", 4)
    path = save(tmp_path / "m.onnx", nodes, {"x": shape}, ["y"], {"w": random(4, 3)})
    with pytest.raises(UnsupportedError) as error:
        import_model(spec(path, executor="graph"))
    assert "x=float32[batch,4]" in str(error.value)
    assert "INPUTS x=float32[1,4]" in str(error.value)
    assert import_model(spec(path, "x=float32[2,4]")).inputs == ("x",)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("x=float32[1,3,12,13]", r"contradicts the model(.|\n)*x=float32\[1,3,12,12\]"),
        ("x=float32[1,3,12]", "contradicts the model"),
        ("x=float16[1,3,12,12]", "contradicts the model"),
        ("X1=float32[1,3,12,12]", "no input of the model"),
    ],
)
def test_inputs_that_contradict(path: Path, entry: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        import_model(spec(path, entry))


def test_nearest_input_is_suggested(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [node("Relu", "pixels", "y")], {"pixels": (4,)}, ["y"])
    with pytest.raises(SpecError, match="did you mean 'pixels'"):
        import_model(spec(path, "pixel=float32[4]"))
    import_model(spec(path, "pixels=float32[4]"))


def test_unknown_output(path: Path) -> None:
    with pytest.raises(SpecError, match=r"OUTPUTS names 'r3'(.|\n)*did you mean"):
        import_model(spec(path, outputs=["r3"]))
    assert import_model(spec(path, outputs=["r1", "y"])).outputs == ("r1", "y")


def test_contradictory_shapes(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "y")]
    path = save(tmp_path / "m.onnx", nodes, {"x": ("N", "K")}, ["y"], {"w": random(4, 3)})
    with pytest.raises(ModelError, match="contradict"):
        import_model(spec(path, "x=float32[2,5]"))
    import_model(spec(path, "x=float32[2,4]"))


def test_shape_that_depends_on_data(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx", [node("NonZero", "x", "y")], {"x": (4,)}, ["y"],
        types={"y": TensorProto.INT64},
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="depends on data"):
        import_model(spec(path, executor="graph"))


def test_an_operator_that_cannot_be_imported_names_its_node(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "a"), node("Resize", "a _ s", "y", mode="sideways")]
    scales = {"s": np.array([2, 2], "float32")}
    path = save(tmp_path / "m.onnx", nodes, {"x": (4, 4)}, ["y"], scales)
    with pytest.raises(UnsupportedError, match=r"Resize cannot be imported(.|\n)*node_y"):
        import_model(spec(path))


def test_dropout_and_identity_vanish(tmp_path: Path) -> None:
    nodes = [node("Dropout", "x", "d"), node("Identity", "d", "i"), node("Relu", "i", "y")]
    path = save(tmp_path / "m.onnx", nodes, {"x": (4,)}, ["y"])
    assert [source.op_type for source in import_model(spec(path)).nodes] == ["Relu"]


def test_constants_are_folded(tmp_path: Path) -> None:
    nodes = [
        node("ConstantOfShape", "shape", "zeros"),
        node("Constant", "", "two", value_float=2.0),
        node("Add", "zeros two", "twos"),
        node("Mul", "x twos", "y"),
    ]
    weights = {"shape": np.array([3], "int64")}
    path = save(tmp_path / "m.onnx", nodes, {"x": (3,)}, ["y"], weights)
    assert [source.op_type for source in import_model(spec(path)).nodes] == ["Mul"]


def test_tensors_that_kernels_cannot_index(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [node("Relu", "x", "y")], {"x": (1 << 16, 1 << 15)}, ["y"])
    with pytest.raises(UnsupportedError, match="has the shape") as caught:
        import_model(spec(path))
    assert "at most 2147483647 elements" in str(caught.value)
