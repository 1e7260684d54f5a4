"""The rendered headers in the hands of a compiler: what compiles, and what must not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from render import build, pair
from tvmake import render

C_PROGRAM = """
#include "pair.h"

int main(void) {
  const tvmake_options options = TVMAKE_OPTIONS_INIT;
  const float x[2][3] = {{1, 2, 3}, {4, 5, 6}};
  pair_model* model = NULL;
  char error[64];
  int failures = pair_create(&options, &model, error, sizeof(error)) != TVMAKE_OK;
  failures += pair_set_input(model, PAIR_INPUT_x, x, sizeof(x)) != TVMAKE_OK;
  failures += pair_run(model) != TVMAKE_OK;
  failures += pair_input_index("x") != 0 || pair_output_info(PAIR_OUTPUT_x)->rank != 1;
  pair_destroy(model);
  return failures;
}
"""

CPP_PROGRAM = """
#include "pair.hpp"

#include <type_traits>
#include <vector>

using acme::pair::Input;
using acme::pair::Model;
using acme::pair::Output;

static_assert(!std::is_copy_constructible_v<Model> && std::is_nothrow_move_constructible_v<Model>);
static_assert(!std::is_convertible_v<tvmake::ModelOptions, Model>);
using Matrix = tvmake::Tensor<const float, 2, 3>;
static_assert(std::is_same_v<decltype(acme::pair::Outputs::class_), Matrix>);
static_assert(std::is_same_v<decltype(acme::pair::Outputs::x), tvmake::Tensor<const bool, 2>>);
static_assert(tvmake::Tensor<float>::rank() == 0 && tvmake::Tensor<float>::size() == 1);
static_assert(tvmake::Tensor<float, 2, 0>::size() == 0);
static_assert(tvmake::Tensor<float, 2, 3>::shape()[1] == 3);

int main() {
  Model model;
  const float matrix[2][3] = {{1, 2, 3}, {4, 5, 6}};
  const std::array<float, 6> flat{};
  const std::vector<float> vector(6);
  std::array<std::int64_t, 3> ids{1, 2, 3};
  model.x(matrix);
  model.x(flat);
  model.x(tvmake::Tensor<const float, 2, 3>::from(vector));
  model.x()(1, 2) = 3;
  model.ids_0().copy_from(ids);
  const auto [y, positive] = model.run();
  const auto outputs = model(matrix, ids);
  Model other = model.clone({2, "weights.bin"});
  other.run([](const tvmake_call_view& call) { static_cast<void>(call.nanoseconds); });
  model.bind<Input::x>(matrix);
  model.unbind<Output::class_>();
  return positive[0] && outputs.x(1) ? static_cast<int>(y(0, 1) + other.class_()[2]) : 0;
}
"""

# What must not compile, and a near twin that does.
REFUSED = {
    "wrong extent": (
        "model.x(wrong);",
        "const float wrong[3][2] = {};",
        "const float wrong[2][3] = {};",
    ),
    "wrong count": (
        "model.x(wrong);",
        "std::array<float, 5> wrong{};",
        "std::array<float, 6> wrong{};",
    ),
    "wrong type": ("model.x(wrong);", "double wrong[6] = {};", "float wrong[6] = {};"),
    "wrong rank": ("model.x()(INDEX) = 1;", "#define INDEX 1", "#define INDEX 1, 2"),
    "temporary array": (
        "model.x(ARRAY);",
        "#define ARRAY std::array<float, 6>{}",
        "std::array<float, 6> array{};\n#define ARRAY array",
    ),
    "temporary vector": (
        "model.x(tvmake::Tensor<const float, 2, 3>::from(VECTOR));",
        "#define VECTOR std::vector<float>(6)",
        "std::vector<float> vector(6);\n#define VECTOR vector",
    ),
    "output for input": (
        "model.input<NAME>();",
        "#define NAME acme::pair::Output::x",
        "#define NAME acme::pair::Input::x",
    ),
    "write to output": ("model.VIEW()[0] = 1;", "#define VIEW class_", "#define VIEW x"),
    "too few inputs": ("model(INPUTS);", "#define INPUTS x", "#define INPUTS x, ids"),
    "outputs of a temporary": ("MODEL.run();", "#define MODEL Model()", "#define MODEL model"),
    "copy": ("Model copy(MODEL);", "#define MODEL model", "#define MODEL std::move(model)"),
}


@pytest.fixture(scope="module")
def include(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    return render.render_model(pair.write(folder), folder)[0].parent


def source(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("compiler", build.C_COMPILERS)
@pytest.mark.parametrize("standard", ["c99", "c17"])
def test_c(tmp_path: Path, include: Path, compiler: str, standard: str) -> None:
    assert build.syntax(compiler, standard, source(tmp_path, "main.c", C_PROGRAM), include) == ""


@pytest.mark.parametrize("compiler", build.CXX_COMPILERS)
@pytest.mark.parametrize("standard", ["c++17", "c++20"])
@pytest.mark.parametrize("program", [C_PROGRAM, CPP_PROGRAM], ids=["c", "cpp"])
def test_cpp(tmp_path: Path, include: Path, compiler: str, standard: str, program: str) -> None:
    main = source(tmp_path, "main.cpp", program)
    assert build.syntax(compiler, standard, main, include) == ""


@pytest.mark.parametrize("compiler", build.CXX_COMPILERS)
@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: Path, include: Path, compiler: str, case: str) -> None:
    statement, bad, good = REFUSED[case]
    answers = []
    for setup in (good, bad):
        text = f"""
#include "pair.hpp"
#include <vector>
using acme::pair::Model;
void Test(Model& model, std::array<float, 6>& x, std::array<std::int64_t, 3>& ids);
void Test(Model& model, std::array<float, 6>& x, std::array<std::int64_t, 3>& ids) {{
  static_cast<void>(x), static_cast<void>(ids), static_cast<void>(model);
{setup}
  {statement}
}}
"""
        main = source(tmp_path, "main.cpp", text)
        answers.append("error:" in build.syntax(compiler, "c++17", main, include))
    assert answers == [False, True]


@pytest.mark.parametrize("compiler", build.CXX_COMPILERS)
@pytest.mark.parametrize("weights", ["EMBED", "FILE"])
@pytest.mark.parametrize("module", [0, 1])
def test_loader(tmp_path: Path, compiler: str, weights: str, module: int) -> None:
    manifest = pair.write(tmp_path, weights=pair.weights_entry(weights))
    loader = render.render_model(manifest, tmp_path)[2]
    files = pair.definitions(tmp_path)
    answer = build.run(
        *(compiler, "-std=c++20", *build.WARNINGS, *files, f"-DTVMAKE_EXPORT_MODULE={module}"),
        *("-I", build.CPP / "include", "-I", tmp_path / "include"),
        *(
            "-isystem",
            build.package("tvm_ffi") / "include",
            "-c",
            loader,
            "-o",
            tmp_path / "pair.o",
        ),
    )
    assert answer.stderr == ""
    symbols = build.check("nm", "--defined-only", tmp_path / "pair.o")
    assert ("__tvm_ffi_default" in symbols) == bool(module)
    assert ("tvmake_pair_weights" in symbols) == (weights == "EMBED")


@pytest.mark.parametrize("compiler", build.CXX_COMPILERS)
def test_model_without_inputs_calls_and_weights(tmp_path: Path, compiler: str) -> None:
    manifest = pair.write(
        tmp_path,
        inputs=[],
        outputs=[pair.tensor("scalar", "scalar", "float16", [])],
        calls=[],
        kernels={
            "file": "kernels.o",
            "sha256": hashlib.sha256().hexdigest(),
            "backend_symbols": [],
            "functions": [],
        },
    )
    files = pair.definitions(tmp_path)
    loader = render.render_model(manifest, tmp_path)[2]
    answer = build.run(
        *(compiler, "-std=c++20", *build.WARNINGS, *files, "-fsyntax-only"),
        *("-I", build.CPP / "include", "-I", tmp_path / "include"),
        *("-isystem", build.package("tvm_ffi") / "include", loader),
    )
    assert answer.stderr == ""
    program = "int main() { acme::pair::Model model; return model().scalar[0].bits; }"
    main = source(tmp_path, "main.cpp", f'#include "pair.hpp"\n{program}\n')
    assert build.syntax(compiler, "c++17", main, tmp_path / "include") == ""
