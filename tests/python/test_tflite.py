"""TFLite files, over the planned arena, against LiteRT's interpreter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from python import tflite_models
from python.arena_runner import run
from python.onnx_models import random, spec
from tvmake.compiler import compile_model
from tvmake.errors import ModelError, SpecError
from tvmake.frontend import import_model
from tvmake.reference import reference_outputs

IMAGE = random(*tflite_models.SHAPE, seed=3)


def test_float(tmp_path: Path) -> None:
    path = tflite_models.float_model(tmp_path / "m.tflite")
    compiled = compile_model(spec(path, "image=float32[1,8,8,3]"))
    got = run(compiled, {"image": IMAGE})
    expected = reference_outputs(path, {"image": IMAGE}, ["classes"])
    assert list(got) == ["classes"]
    assert expected["classes"].max() < 0.9  # else the comparison says little
    np.testing.assert_allclose(got["classes"], expected["classes"], atol=1e-6)
    sources = [call.provenance.sources for call in compiled.graph.calls if call.provenance]
    assert {"CONV_2D", "ADD", "SOFTMAX"} <= {s.op_type for group in sources for s in group}
    named = [call.provenance.tensor for call in compiled.graph.calls if call.provenance]
    known = [name for name in named if name]
    assert len(known) > 1
    assert set(reference_outputs(path, {"image": IMAGE}, known)) == set(known)


def test_half_precision_weights(tmp_path: Path) -> None:
    path = tflite_models.half_model(tmp_path / "m.tflite")
    got = run(compile_model(spec(path)), {"image": IMAGE})
    expected = reference_outputs(path, {"image": IMAGE}, ["classes"])
    np.testing.assert_allclose(got["classes"], expected["classes"], atol=1e-6)


def test_full_integer(tmp_path: Path) -> None:
    path = tflite_models.integer_model(tmp_path / "m.tflite")
    image = np.random.default_rng(0).integers(-128, 128, tflite_models.SHAPE).astype("int8")
    got = run(compile_model(spec(path)), {"image": image})
    expected = reference_outputs(path, {"image": image}, ["classes"])
    assert got["classes"].dtype == np.int8
    assert np.unique(expected["classes"]).size > 2
    difference = got["classes"].astype(int) - expected["classes"].astype(int)
    assert np.abs(difference).max() <= 1  # the interpreter rounds scales to 31 bits


def test_outputs_may_be_any_tensor(tmp_path: Path) -> None:
    path = tflite_models.float_model(tmp_path / "m.tflite")
    got = run(compile_model(spec(path, outputs=["sum", "dense"])), {"image": IMAGE})
    expected = reference_outputs(path, {"image": IMAGE}, ["sum", "dense"])
    for name in ("sum", "dense"):
        np.testing.assert_allclose(got[name], expected[name], atol=1e-5)
    with pytest.raises(SpecError, match="no tensor of the model"):
        import_model(spec(path, outputs=["sums"]))


def test_inputs_are_checked(tmp_path: Path) -> None:
    path = tflite_models.float_model(tmp_path / "m.tflite")
    with pytest.raises(SpecError, match=r"contradicts(.|\n)*image=float32\[1,8,8,3\]"):
        import_model(spec(path, "image=float32[2,8,8,3]"))
    with pytest.raises(SpecError, match="did you mean 'image'"):
        import_model(spec(path, "images=float32[1,8,8,3]"))


def test_damaged_files(tmp_path: Path) -> None:
    good = tflite_models.float_model(tmp_path / "good.tflite").read_bytes()
    path = tmp_path / "m.tflite"
    path.write_bytes(b"nonsense, but long enough")
    with pytest.raises(ModelError, match="not a TFLite model"):
        import_model(spec(path))
    for size in (8, 100, len(good) // 2, len(good) - 8):
        path.write_bytes(good[:size])
        with pytest.raises(ModelError, match="truncated or damaged"):
            import_model(spec(path))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"    TFL3")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"pip install 'tvmake\[tflite\]'"):
        import_model(spec(path))
