"""The TVM runtime: where its sources come from, how small it is, what it exports."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from cmake_support.project import Project, exported, run

MAXIMUM_SHARED_BYTES = 1_400_000


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The wheels' sources, laid out as in TVM's repository."""
    folder = tmp_path / "tvm"
    ffi = folder / "3rdparty" / "tvm-ffi"
    for source, target in (
        (_package("tvm") / "src" / "runtime", folder / "src" / "runtime"),
        (_package("tvm") / "include", folder / "include"),
        (_package("tvm_ffi") / "src", ffi / "src"),
        (_package("tvm_ffi") / "include", ffi / "include"),
        (_package("tvm_ffi") / "3rdparty" / "dlpack", ffi / "3rdparty" / "dlpack"),
    ):
        shutil.copytree(source, target)
    return folder


def test_checkout_gives_the_same_runtime_as_the_wheels(project: Project, checkout: Path) -> None:
    project.write("tvmake_runtime()")
    project.configure().check()
    project.build().check()
    other = Project(project.folder, build_name="other")
    said = other.configure(f"-DTVMAKE_TVM_SOURCE_DIR={checkout}").check()
    assert "libtvm_runtime.a comes from the cache" in said


def test_checkout_of_another_version_is_refused(project: Project, checkout: Path) -> None:
    header = checkout / "include" / "tvm" / "runtime" / "base.h"
    text = header.read_text("utf-8")
    header.write_text(text.replace('TVM_VERSION "0.27', 'TVM_VERSION "0.28'), encoding="utf-8")
    project.write("tvmake_runtime()")
    project.configure(f"-DTVMAKE_TVM_SOURCE_DIR={checkout}").fails(
        "TVMAKE_TVM_SOURCE_DIR holds TVM 0.28", "expected: TVM 0.27, as the compiler"
    )


def test_shared_runtime_is_small_and_exports_tvm_ffi(project: Project) -> None:
    project.make("tvmake_runtime(LINKAGE SHARED)")
    (library,) = project.build_folder.rglob("libtvm_runtime.so")
    stripped = project.folder / "stripped.so"
    run("strip", "-o", stripped, library).check()
    assert stripped.stat().st_size <= MAXIMUM_SHARED_BYTES
    names = exported(library)
    assert {"TVMFFIFunctionCall", "TVMBackendParallelLaunch"} <= set(names)
    assert [name for name in names if name.startswith("_ZNSt")] == []


def test_options_of_the_directory_stay_out_of_the_runtime(project: Project) -> None:
    project.write(
        "add_compile_options(-Werror -Wconversion)\nadd_compile_definitions(private=public)\n"
        "include_directories(/nowhere)\nset(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)\n"
        "set(CMAKE_UNITY_BUILD ON)\ntvmake_runtime(LINKAGE EXTERNAL)"
    )
    project.configure().check()
    twin = Project(project.folder, build_name="twin")
    project.build().check()
    project.write("tvmake_runtime(LINKAGE EXTERNAL)")
    assert "comes from the cache" in twin.configure().check()
