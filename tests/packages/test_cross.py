"""A model package made for another architecture: its consumer is cross built and runs emulated."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort

from packages.support import DIGITS, REPO, build_project, check, cmake, own_python

TOOLCHAIN = f"-DCMAKE_TOOLCHAIN_FILE={REPO / 'toolchains' / 'aarch64-linux-gnu.cmake'}"

_MAIN = """
#include <cstdio>
#include <digits.hpp>
int main() {
  digits::Model model;
  model.image().fill(0.25F);
  for (float score : model.run().scores) std::printf("%.9g\\n", score);
}
"""


def test_cross_built_package(tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    shutil.copy(DIGITS / "digits.onnx", source)
    (source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\n"
        "project(models VERSION 1.0 LANGUAGES C CXX)\n"
        f'include("{REPO}/cmake/tvmake-config.cmake")\n'
        "tvmake_add_model(digits MODEL digits.onnx)\n"
        "tvmake_install_model(digits)\n"
    )
    build = build_project(source, tmp_path / "model-build", TOOLCHAIN, own_python())
    check("cmake", "--install", build, "--prefix", tmp_path / "prefix")

    consumer = tmp_path / "consumer"
    consumer.mkdir()
    (consumer / "main.cpp").write_text(_MAIN)
    (consumer / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\n"
        "project(consumer LANGUAGES CXX)\n"
        "include(CTest)\n"
        "find_package(digits CONFIG REQUIRED)\n"
        "add_executable(consumer main.cpp)\n"
        "target_link_libraries(consumer PRIVATE digits::digits)\n"
        "add_test(NAME consumer COMMAND consumer)\n"
    )
    found = f"-Ddigits_DIR={tmp_path / 'prefix' / 'lib' / 'cmake' / 'digits'}"
    cross = build_project(consumer, tmp_path / "cross", TOOLCHAIN, found)
    assert "AArch64" in check("readelf", "-h", cross / "consumer")
    output = check("ctest", "--test-dir", cross, "-V", "--no-tests=error")
    lines = [line.removeprefix("1: ") for line in output.splitlines() if line.startswith("1: ")]
    values = np.array([float(line) for line in lines[-10:]], np.float32)
    session = ort.InferenceSession(DIGITS / "digits.onnx", providers=["CPUExecutionProvider"])
    expected = session.run(None, {"image": np.full((1, 1, 8, 8), 0.25, np.float32)})[0]
    np.testing.assert_allclose(values, expected.ravel(), rtol=1e-4, atol=1e-5)

    native = cmake(consumer, tmp_path / "native", found)
    native.fails("was compiled for aarch64-linux-gnu", "this build is for x86_64-linux-gnu")
