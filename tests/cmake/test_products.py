"""What comes out: programs, libraries and modules of several kinds, from one build."""

from __future__ import annotations

import re
import sys

import pytest

from cmake_support.onnx_models import dense, single_kernel
from cmake_support.project import Project, exported, run

BODY = """
add_compile_options(-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
tvmake_add_model(one MODEL one.onnx VERIFY RTOL 1e-4 ATOL 1e-6)
tvmake_add_model(two MODEL two.onnx)
tvmake_add_model(alone MODEL alone.onnx VERIFY)
tvmake_add_model(open MODEL open.onnx INPUTS x=float32[3,8] OUTPUTS hidden LIBRARY SHARED
  WEIGHTS FILE OPTIMIZE PRECISE EXECUTOR graph NAMESPACE my::net CPU x86-64-v3 FEATURES -fma)
tvmake_add_model(file MODEL two.onnx WEIGHTS FILE)
tvmake_add_model(shared MODEL one.onnx LIBRARY SHARED RUNTIME SHARED)
tvmake_add_model(external MODEL one.onnx RUNTIME EXTERNAL)

add_executable(threads threads.cc)
target_link_libraries(threads PRIVATE one::one two open)
target_compile_features(threads PRIVATE cxx_std_17)
add_executable(plain plain.c)
target_link_libraries(plain PRIVATE one)
add_library(plugin SHARED plugin.cc)
target_link_libraries(plugin PRIVATE one two)
add_executable(filed filed.c)
set_target_properties(filed PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
target_link_libraries(filed PRIVATE file)
tvmake_copy_weights(filed file one)
tvmake_add_harness(shared_run MODEL shared)
tvmake_add_verify_test(shared HARNESS shared_run SEED 3)
"""

THREADS = """// Two models in one program, each used by several threads at once.
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "one.hpp"
#include "open.hpp"
#include "two.hpp"

namespace {

std::atomic<int> failures{0};

template <typename Model>
void Use(unsigned seed) {
  try {
    Model model;
    std::array<float, 8> x;
    for (int round = 0; round < 200; ++round) {
      for (float& value : x) {
        seed = seed * 1103515245U + 12345U;
        value = static_cast<float>(seed >> 16U & 255U) / 128.0F - 1.0F;
      }
      model.x(x);
      float sum = 0;
      for (const float y : model.run().y) sum += y;
      if (std::fabs(sum - 1.0F) > 1e-5F) ++failures;  // a softmax
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\\n", error.what());
    ++failures;
  }
}

}  // namespace

int main() {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 3; ++i) {
    threads.emplace_back(Use<one::Model>, i);
    threads.emplace_back(Use<two::Model>, i + 10);
  }
  for (std::thread& thread : threads) thread.join();
  my::net::Model open;
  static_assert(decltype(open.hidden())::rank() == 2, "3 x 4");
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
"""

USE_IN_C = """#include <stdio.h>
#include "{name}.h"
int main(void) {{
  char error[512];
  {name}_model* model = NULL;
  if ({name}_create(NULL, &model, error, sizeof(error)) != TVMAKE_OK) {{
    fprintf(stderr, "%s\\n", error);
    return 1;
  }}
  float x[8] = {{1, 2, 3, 4, 5, 6, 7, 8}};
  if ({name}_set_input(model, 0, x, sizeof(x)) != TVMAKE_OK) return 2;
  if ({name}_run(model) != TVMAKE_OK) return 3;
  {name}_destroy(model);
  return 0;
}}
"""

PLUGIN = """#include "one.hpp"
#include "two.hpp"
extern "C" __attribute__((visibility("default"))) int UsePlugin() {
  one::Model first;
  two::Model second;
  first.run();
  second.run();
  return 0;
}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("products") / "project with a space"
    folder.mkdir()
    dense(folder / "one.onnx", seed=1)
    dense(folder / "two.onnx", seed=2, outputs=6)
    dense(folder / "open.onnx", seed=3, rows="rows")
    single_kernel(folder / "alone.onnx")
    sources = {
        "threads.cc": THREADS,
        "plain.c": USE_IN_C.format(name="one"),
        "filed.c": USE_IN_C.format(name="file"),
        "plugin.cc": PLUGIN,
    }
    for name, text in sources.items():
        (folder / name).write_text(text, encoding="utf-8")
    project = Project(folder)
    project.make(BODY, "-DCMAKE_BUILD_TYPE=Debug")
    return project


def test_two_models_in_one_program_from_several_threads(built: Project) -> None:
    run(built.build_folder / "threads").check()


def test_c_program_links_the_model_and_nothing_else(built: Project) -> None:
    run(built.build_folder / "plain").check()


def test_shared_model_library_exports_its_own_functions_only(built: Project) -> None:
    names = exported(built.build_folder / "libopen.so")
    assert "open_run" in names
    assert [name for name in names if not name.startswith("open_")] == []


@pytest.mark.parametrize("name", ["shared", "external"])
def test_module_exports_its_functions_and_its_entry(built: Project, name: str) -> None:
    names = exported(built.build_folder / f"lib{name}.so")
    assert [n for n in names if not n.startswith(f"{name}_")] == ["__tvm_ffi_default"]


def test_no_tvm_symbol_leaks_through_a_library_of_the_project(built: Project) -> None:
    names = exported(built.build_folder / "libplugin.so")
    assert "UsePlugin" in names
    assert [name for name in names if re.search("tvm(?!ake)", name, re.IGNORECASE)] == []


def test_runtime_of_a_shared_module_comes_from_outside(built: Project) -> None:
    dynamic = run("readelf", "-d", built.build_folder / "libshared.so").check()
    assert "libtvm_runtime.so" in dynamic
    dynamic = run("readelf", "-d", built.build_folder / "libexternal.so").check()
    assert "libtvm" not in dynamic
    needed = run("nm", "-D", "--undefined-only", built.build_folder / "libexternal.so").check()
    assert "TVMFFI" in needed


def test_external_module_loads_in_python(built: Project) -> None:
    program = (
        "import sys, numpy, tvm_ffi\n"
        "module = tvm_ffi.load_module(sys.argv[1])['default'](tvm_ffi.device('cpu', 0))\n"
        "module['set_input'](0, tvm_ffi.from_dlpack(numpy.ones((1, 8), 'float32')))\n"
        "module['run']()\n"
        "y = numpy.from_dlpack(module['get_output'](0))\n"
        "assert y.shape == (1, 4) and abs(y.sum() - 1) < 1e-5, y\n"
    )
    library = built.build_folder / "libexternal.so"
    run(sys.executable, "-c", program, library).check()


def test_weights_are_beside_what_needs_them(built: Project) -> None:
    assert (built.build_folder / "open.weights.bin").is_file()  # beside libopen.so
    assert (built.build_folder / "bin" / "file.weights.bin").is_file()
    assert not (built.build_folder / "bin" / "one.weights.bin").exists()  # embedded
    run(built.build_folder / "bin" / "filed").check()
    weights = built.build_folder / "bin" / "file.weights.bin"
    moved = weights.rename(weights.with_name("moved"))
    run(built.build_folder / "bin" / "filed").fails("file.weights.bin")
    moved.rename(weights)


def test_verify_tests_pass(built: Project) -> None:
    said = built.run("ctest", "--test-dir", built.build_folder, "--output-on-failure").check()
    for name in ("one.verify", "alone.verify", "shared.verify"):
        assert name in said


def test_keywords_reach_the_compiler(built: Project) -> None:
    spec = built.json("open", "spec.json")
    assert spec["inputs"] == ["x=float32[3,8]"]
    assert spec["outputs"] == ["hidden"]
    assert (spec["weights"], spec["namespace"], spec["executor"]) == ("FILE", "my::net", "graph")
    assert spec["optimize"] == "PRECISE"
    assert spec["target"]["cpu"] == "x86-64-v3"
    assert spec["target"]["features"] == ["-fma"]
    assert spec["model"] == str(built.folder / "open.onnx")

    manifest = built.json("open", "manifest.json")
    assert [(t["name"], t["shape"]) for t in manifest["inputs"]] == [("x", [3, 8])]
    assert [t["name"] for t in manifest["outputs"]] == ["hidden"]
    assert manifest["target"]["cpu"] == "x86-64-v3"
    assert "avx2" in manifest["target"]["required_cpu_features"]
    assert "fma" not in manifest["target"]["required_cpu_features"]
    assert manifest["weights"]["mode"] == "FILE"
    assert "namespace my::net" in (built.model("open") / "include" / "open.hpp").read_text("utf-8")


def test_defaults_reach_the_compiler(built: Project) -> None:
    spec = built.json("one", "spec.json")
    assert spec["target"] == {"triple": "x86_64-linux-gnu", "cpu": "", "features": []}
    assert (spec["inputs"], spec["outputs"]) == ([], [])
    assert (spec["weights"], spec["namespace"], spec["executor"]) == ("EMBED", "one", "auto")
    assert built.json("one", "manifest.json")["target"]["cpu"] == "x86-64"


def test_tolerances_reach_the_test(built: Project) -> None:
    commands = built.run("ctest", "--test-dir", built.build_folder, "-N", "-V").check()
    assert re.search(r'"--rtol" "1e-4" "--atol" "1e-6"', commands)
    assert re.search(r'shared_run".*"--seed" "3"', commands)


def test_makefiles_build_and_then_do_nothing(project: Project) -> None:
    project.write("tvmake_add_model(net MODEL dense.onnx WEIGHTS FILE LIBRARY SHARED)")
    project.configure(generator="Unix Makefiles").check()
    assert "Compiling dense.onnx" in project.build("-j2").check()
    (project.folder / "dense.onnx").touch()
    assert "Compiling dense.onnx" in project.build("-j2").check()
    said = project.build("-j2").check()
    assert not re.search("Compiling|Rendering|Building|Linking|Copying", said)


def test_toolchain_file_names_the_target(project: Project) -> None:
    toolchain = project.folder / "toolchain.cmake"
    toolchain.write_text(
        "set(TVMAKE_TARGET_TRIPLE x86_64-pc-linux-gnu)\n"
        "set(TVMAKE_TARGET_CPU x86-64-v2)\nset(TVMAKE_TARGET_FEATURES +avx)\n",
        encoding="utf-8",
    )
    project.write("tvmake_add_model(net MODEL dense.onnx)")
    project.configure(f"-DCMAKE_TOOLCHAIN_FILE={toolchain}").check()
    assert project.json("net", "spec.json")["target"] == {
        "triple": "x86_64-linux-gnu",
        "cpu": "x86-64-v2",
        "features": ["+avx"],
    }


def test_emulator_reaches_the_test(project: Project) -> None:
    project.write(
        "set(CMAKE_CROSSCOMPILING_EMULATOR /usr/bin/env;-u;NOTHING)\n"
        "tvmake_add_model(net MODEL dense.onnx VERIFY)"
    )
    project.configure().check()
    commands = project.run("ctest", "--test-dir", project.build_folder, "-N", "-V").check()
    assert '"--emulator" "/usr/bin/env -u NOTHING"' in commands


def test_folder_of_each_model_is_its_own(project: Project) -> None:
    """Models of the same file, in two directories of a project."""
    sub = project.folder / "sub"
    sub.mkdir()
    (sub / "CMakeLists.txt").write_text(
        "tvmake_add_model(inner MODEL ../dense.onnx)\n", encoding="utf-8"
    )
    (project.folder / "main.c").write_text(USE_IN_C.format(name="inner"), encoding="utf-8")
    project.make(
        "add_subdirectory(sub)\nadd_executable(app main.c)\n"
        "target_link_libraries(app PRIVATE inner::inner)"
    )
    run(project.build_folder / "app").check()
    assert (project.build_folder / "sub/tvmake/inner/manifest.json").is_file()
