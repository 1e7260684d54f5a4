"""VERIFY: a model that agrees with its file, and one that does not."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from e2e.support import REPO, Project, call

if TYPE_CHECKING:
    from pathlib import Path

DIGITS = REPO / "examples" / "digits" / "digits.onnx"


def verify(project: Project, model: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Compare the compiled digit classifier with a model file."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "tvmake", "verify", "--model", model),
            *("--manifest", project.build / "tvmake" / "digits_verified" / "manifest.json"),
            *("--harness", project.build / "digits_verified_verify", "--work-dir", folder / "work"),
        ],
        env={"PYTHONPATH": str(REPO / "python"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_ctest_runs_the_comparison(project: Project) -> None:
    printed = call(["ctest", "--test-dir", project.build, "-R", "digits_verified", "-V"])
    assert "ok   output 0 'scores'" in printed
    assert "100% tests passed, 0 tests failed out of 1" in printed


@pytest.mark.slow
def test_a_model_that_takes_images(project: Project) -> None:
    (image,) = project.manifest("digits_photo")["inputs"]
    assert (image["shape"], image["dtype"]) == ([48, 36, 1], "uint8")
    printed = call(["ctest", "--test-dir", project.build, "-R", "digits_photo", "-V"])
    assert "ok   output 0 'scores'" in printed


@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 1])
def test_the_first_kernel_that_departs_is_named(
    project: Project, tmp_path: Path, layer: int
) -> None:
    model = onnx.load(DIGITS)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    tensor = weights[convolutions[layer].input[1]]
    changed = numpy_helper.to_array(tensor) + np.float32(0.25)
    tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    onnx.save(model, tmp_path / "changed.onnx")
    result = verify(project, tmp_path / "changed.onnx", tmp_path)
    assert result.returncode == 1
    assert "FAIL output 0 'scores'" in result.stdout
    assert "first kernel that departs: " in result.stdout
    assert f"Conv '{convolutions[layer].name}'" in result.stdout


@pytest.mark.slow
def test_a_harness_that_fails_is_told(project: Project, tmp_path: Path) -> None:
    model = onnx.load(DIGITS)
    model.graph.input[0].name = "picture"
    for node in model.graph.node:
        node.input[:] = ["picture" if name == "image" else name for name in node.input]
    onnx.save(model, tmp_path / "renamed.onnx")
    result = verify(project, tmp_path / "renamed.onnx", tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("tvmake: error: onnxruntime cannot run the model")
