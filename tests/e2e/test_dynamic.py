"""A model with dynamic dimensions: CMake, C++, C, harness and VERIFY."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cmake_support.project import Project
from python import dynamic_models
from python.onnx_models import random

HERE = Path(__file__).parent

BODY = """
tvmake_add_model(
  encoder MODEL encoder.onnx INPUTS "x=float32[N<=2,S,32]" "S<=32" {options} VERIFY
)
tvmake_add_harness(encoder_harness MODEL encoder)
add_executable(program program.cpp)
target_link_libraries(program PRIVATE encoder)
target_compile_features(program PRIVATE cxx_std_17)
target_compile_options(program PRIVATE -Wall -Wextra -Werror)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The built project."""
    project = Project(tmp_path_factory.mktemp("dynamic"))
    project.write(BODY.format(options=""))
    dynamic_models.encoder(project.folder / "encoder.onnx")
    shutil.copyfile(HERE / "dynamic_program.cpp", project.folder / "program.cpp")
    project.configure().check()
    printed = project.build().check()
    assert "executor vm: it has symbolic dimensions: N, S" in printed
    return project


@pytest.mark.slow
def test_program(built: Project) -> None:
    assert built.run(built.build_folder / "program").check().strip() == "ok"


@pytest.mark.slow
def test_verify(built: Project) -> None:
    printed = built.run("ctest", "--test-dir", built.build_folder, "-V").check()
    assert "ok   output 0 'y'" in printed


@pytest.mark.slow
def test_harness(built: Project, tmp_path: Path) -> None:
    program = built.build_folder / "encoder_harness"
    x = random(2, 9, 32)
    np.save(tmp_path / "x.npy", x)
    built.run(program, tmp_path / "x.npy", "--output", f"y={tmp_path / 'y.npy'}").check()
    session = onnxruntime.InferenceSession(str(built.folder / "encoder.onnx"))
    (expected,) = session.run(None, {"x": x})
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=0, atol=1e-4)
    printed = built.run(program, "--shape", "x=1,32,32", "--seed", "3", "--bench", "--runs", "2")
    assert "[1,32,32]" in printed.check()
    built.run(program, "--shape", "x=3,32,32", "--seed", "3").fails("N is at most 2")
    wrong = built.run(program, "--seed", "3")
    assert wrong.code == 2
    assert "give it with --shape" in wrong.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ("x=float32[N,S,32]", "EXECUTOR graph", "INPUTS entry 'x=float32[N,S,32]' has a symbolic"),
        ("x=float32[N<=0,S,32]", "", "INPUTS entry 'x=float32[N<=0,S,32]' has dimension 'N<=0'"),
        ("x=float32[N,S,32]", "EXECUTOR vmm", "EXECUTOR is 'vmm'"),
    ],
)
def test_configure_errors(tmp_path: Path, inputs: str, options: str, message: str) -> None:
    project = Project(tmp_path / "wrong")
    project.write(f'tvmake_add_model(encoder MODEL encoder.onnx INPUTS "{inputs}" {options})')
    dynamic_models.encoder(project.folder / "encoder.onnx")
    project.configure().fails(message)
