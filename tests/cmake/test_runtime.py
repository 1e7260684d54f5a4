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


ROUND_TRIP = """#include <tvm/runtime/tensor.h>

#include <algorithm>
#include <cstring>

struct Memory : tvm::support::Stream {
  std::string bytes;
  std::size_t position = 0;
  std::size_t Read(void* data, std::size_t size) override {
    size = std::min(size, bytes.size() - position);
    std::memcpy(data, bytes.data() + position, size);
    position += size;
    return size;
  }
  std::size_t Write(const void* data, std::size_t size) override {
    bytes.append(static_cast<const char*>(data), size);
    return size;
  }
};

int main() {
  Memory memory;
  tvm::support::Stream& stream = memory;
  stream.Write(std::string("abc"));
  stream.Write(std::vector<int64_t>{1, -2});
  stream.Write(DLDataType{2, 32, 1});
  stream.Write(DLDevice{kDLCPU, 3});
  stream.Write(1.5F);
  std::string text;
  std::vector<int64_t> list;
  DLDataType type;
  DLDevice device;
  float number;
  const bool read = stream.Read(&text) && stream.Read(&list) && stream.Read(&type) &&
                    stream.Read(&device) && stream.Read(&number);
  const bool same = text == "abc" && list.size() == 2 && list[1] == -2 && type.bits == 32 &&
                    device.device_type == kDLCPU && device.device_id == 3 && number == 1.5F;
  const bool ended = !stream.Read(&number);
  memory.bytes.assign(8, '\\xff');  // a damaged length: an error, not all of the memory
  memory.position = 0;
  return read && same && ended && !stream.Read(&list) ? 0 : 1;
}
"""


def test_headers_that_the_wheel_leaves_out(project: Project) -> None:
    """`tvm/runtime/tensor.h` does not compile without them."""
    (project.folder / "main.cc").write_text(ROUND_TRIP, encoding="utf-8")
    project.make(
        "tvmake_runtime()\nadd_executable(app main.cc)\n_tvmake_root(root)\n"
        "target_link_libraries(app PRIVATE tvmake::runtime_static)\n"
        'target_include_directories(app PRIVATE "${root}/cpp/compat")\n'
        "target_compile_features(app PRIVATE cxx_std_20)"
    )
    run(project.build_folder / "app").check()
