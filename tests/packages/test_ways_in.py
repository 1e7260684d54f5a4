"""Each way to get tvmake into a project builds a small product outside of the repository."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from packages.support import DIGITS, build_project, check, cmake, own_python, run

_MAIN = """
#include <cstdio>
#include "digits.hpp"
int main() {
  digits::Model model;
  model.image().fill(0.25F);
  for (float score : model.run().scores) std::printf("%.9g\\n", score);
}
"""
_PRODUCT = """
tvmake_add_model(digits MODEL digits.onnx)
add_executable(product main.cpp)
target_link_libraries(product PRIVATE digits)
"""


def _product(folder: Path, way: str) -> Path:
    folder.mkdir()
    shutil.copy(DIGITS / "digits.onnx", folder)
    (folder / "main.cpp").write_text(_MAIN, encoding="utf-8")
    (folder / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.25)\nproject(product LANGUAGES CXX)\n{way}\n{_PRODUCT}",
        encoding="utf-8",
    )
    return folder


def _check_numbers(program: Path) -> None:
    session = ort.InferenceSession(DIGITS / "digits.onnx", providers=["CPUExecutionProvider"])
    expected = session.run(None, {"image": np.full((1, 1, 8, 8), 0.25, np.float32)})[0]
    values = np.array([float(line) for line in check(program).split()], np.float32)
    np.testing.assert_allclose(values, expected.ravel(), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def prefix(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix that tvmake was installed to."""
    folder = tmp_path_factory.mktemp("install")
    result = cmake(clone, folder / "build", "-DTVMAKE_BUILD_EXAMPLES=OFF")
    assert result.code == 0, result.output
    check("cmake", "--install", folder / "build", "--prefix", folder / "prefix")
    shutil.rmtree(folder / "build")
    return folder / "prefix"


def test_add_subdirectory(clone: Path, tmp_path: Path) -> None:
    source = _product(tmp_path / "product", f'add_subdirectory("{clone}" tvmake)')
    build = build_project(source, tmp_path / "build", own_python())
    _check_numbers(build / "product")
    # A product does not install what it only builds with.
    check("cmake", "--install", build, "--prefix", tmp_path / "prefix")
    assert not (tmp_path / "prefix").exists() or not list((tmp_path / "prefix").rglob("*"))


def test_fetch_content(clone: Path, tmp_path: Path) -> None:
    way = (
        "include(FetchContent)\n"
        f'FetchContent_Declare(tvmake GIT_REPOSITORY "file://{clone}" GIT_TAG main)\n'
        "FetchContent_MakeAvailable(tvmake)"
    )
    source = _product(tmp_path / "product", way)
    _check_numbers(build_project(source, tmp_path / "build", own_python()) / "product")


def test_find_package_in_a_prefix(prefix: Path, tmp_path: Path) -> None:
    source = _product(tmp_path / "product", "find_package(tvmake 0.1 CONFIG REQUIRED)")
    options = (f"-DCMAKE_PREFIX_PATH={prefix}", own_python())
    _check_numbers(build_project(source, tmp_path / "build", *options) / "product")


def test_find_package_of_the_wheel(tools: Path, tmp_path: Path) -> None:
    """Without TVMAKE_PYTHON: the package finds the environment that it is installed in."""
    source = _product(tmp_path / "product", "find_package(tvmake CONFIG REQUIRED)")
    folder = check(tools.parent / "tvmake", "--cmake-dir").strip()
    result = cmake(source, tmp_path / "build", f"-Dtvmake_DIR={folder}")
    assert result.code == 0, result.output
    assert f"at {tools}" in result.output
    check("cmake", "--build", tmp_path / "build")
    _check_numbers(tmp_path / "build" / "product")


def test_compile_without_cmake_from_the_wheel(tools: Path, tmp_path: Path) -> None:
    tvmake = tools.parent / "tvmake"
    check(tvmake, "compile", DIGITS / "digits.onnx", "-o", tmp_path, "-q")
    check(tvmake, "render", "--manifest", tmp_path / "manifest.json", "-o", tmp_path)
    assert (tmp_path / "include" / "digits.hpp").is_file()


@pytest.mark.parametrize("version", ["9.0", "0.2", "0.0.9...<0.1"])
def test_another_version_is_refused(prefix: Path, tmp_path: Path, version: str) -> None:
    source = _product(tmp_path / "product", f"find_package(tvmake {version} CONFIG REQUIRED)")
    result = cmake(source, tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    result.fails("that is compatible with requested version", "version: 0.1.0")


def test_prefix_that_cannot_be_written(clone: Path, tmp_path: Path) -> None:
    cmake(clone, tmp_path / "build", "-DTVMAKE_BUILD_EXAMPLES=OFF")
    (tmp_path / "file").write_text("")
    result = run("cmake", "--install", tmp_path / "build", "--prefix", tmp_path / "file" / "prefix")
    result.fails("INSTALL cannot make directory", str(tmp_path / "file"))


def test_wheel_is_pure_and_complete(wheelhouse: Path) -> None:
    (wheel,) = wheelhouse.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "cmake/tvmake-config.cmake",
        "cmake/tvmake-config-version.cmake",
        "cmake/private/probe.py",
        "cpp/src/executor.cc",
        "cpp/python/tvmake/python_module.h",
        "templates/model.hpp.j2",
        "templates/new/app/main.cpp.j2",
        "toolchains/aarch64-linux-gnu.cmake",
        "pyproject.toml",
        "LICENSE",
    ):
        assert f"tvmake/_data/{name}" in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]
