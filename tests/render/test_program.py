"""The rendered sources, built and run: the C++ class, the C interface and the harness."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from render import build, pair
from tvmake import render

X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
IDS = np.array([-1, 2, -30], np.int64)

CPP_PROGRAM = r"""
#include "pair.hpp"

#undef NDEBUG
#include <cassert>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <vector>

using acme::pair::Input;
using acme::pair::Model;
using acme::pair::Output;

static tvmake_status Status(const std::function<void()>& body, const char* words) {
  try {
    body();
  } catch (const tvmake::ModelError& error) {
    if (std::string(error.what()).find(words) == std::string::npos) {
      std::fprintf(stderr, "unexpected text: %s\n", error.what());
    }
    return error.status();
  }
  return TVMAKE_OK;
}

static void Values() {
  Model model({1, ""});
  const float x[2][3] = {{1, 2, 3}, {4, 5, 6}};
  const std::array<std::int64_t, 3> ids{-1, 2, -30};
  const auto [y, positive] = model(x, ids);
  const std::vector<float> expected{0, -2, -28.5, 3, -8, -27};
  assert(std::vector<float>(y.begin(), y.end()) == expected);
  assert(!positive[0] && positive[1]);
  assert(y(1, 2) == -27 && y[5] == -27);
  assert(model.num_threads() == 1 && model.arena_bytes() == 320 && model.weights_bytes() == 192);
  assert(std::string(Model::info().model_file) == "pair.onnx");
}

static void ZeroCopy() {
  Model model;
  alignas(64) float x[6] = {1, 1, 1, 1, 1, 1};
  alignas(64) std::array<float, 6> y{};
  model.bind<Input::x>(x);
  model.bind<Output::class_>(y);
  model.ids_0().fill(10);
  assert(model.run().class_.data() == y.data() && y[1] == 8);
  x[0] = 5;
  model.run();
  assert(y[0] == 15);
  model.unbind<Input::x>();
  model.unbind<Output::class_>();
  model.x().fill(0);
  assert(model.run().class_[0] == 10 && y[0] == 15);
}

static void Clones() {
  Model first;
  Model second = first.clone({2, ""});
  std::thread other([&] { second.x().fill(1), second.ids_0().fill(0), second.run(); });
  first.x().fill(2), first.ids_0().fill(0), first.run();
  other.join();
  assert(first.class_()[0] == 2 && second.class_()[0] == 1);
  Model moved = std::move(first);
  assert(moved.class_()[0] == 2);
  assert(Status([&] { first.run(); }, "NULL") == TVMAKE_INVALID_ARGUMENT);
  assert(Status([&] { first.x(); }, "moved from") == TVMAKE_INVALID_ARGUMENT);
  assert(Status([&] { static_cast<void>(first.clone()); }, "NULL") == TVMAKE_INVALID_ARGUMENT);
}

static void Observer() {
  Model model;
  model.x().fill(1), model.ids_0().fill(0);
  std::string names;
  model.run([&](const tvmake_call_view& call) {
    const tvmake_call_info* info = pair_call_info(call.index);
    assert(info->output_count == call.output_count && call.nanoseconds >= 0);
    names += std::string(call.name) + info->sources[0].name + " ";
    if (call.index == 0) assert(info->outputs[0] == nullptr && call.outputs[0].bytes == 24);
    if (call.index == 1) assert(static_cast<const float*>(call.outputs[0].data)[1] == -2);
  });
  assert(names == "scale/scale/Mul combine/Add ");
  struct Stop {};
  try {
    model.run([](const tvmake_call_view&) { throw Stop(); });
    assert(false);
  } catch (const Stop&) {
  }
}

static void Errors() {
  std::vector<float> five(5);
  assert(Status([&] { tvmake::Tensor<float, 2, 3>::from(five); }, "6 elements") == TVMAKE_SHAPE);
  assert(Status([] { Model model({0, "/nowhere/weights.bin"}); }, "weights") != TVMAKE_OK);
  Model model;
  alignas(64) float data[8] = {};
  const auto unaligned = tvmake::Tensor<const float, 2, 3>::from_pointer(data + 1);
  assert(Status([&] { model.bind<Input::x>(unaligned); }, "align") == TVMAKE_INVALID_ARGUMENT);
  assert(Status([&] { model.load_params("not weights at all", 18); }, "") == TVMAKE_WEIGHTS);
}

int main() {
  Values();
  ZeroCopy();
  Clones();
  Observer();
  Errors();
}
"""

C_PROGRAM = r"""
#include "pair.h"

#undef NDEBUG
#include <assert.h>
#include <string.h>

int main(void) {
  pair_model *model = NULL, *shared = NULL;
  tvmake_options options = TVMAKE_OPTIONS_INIT;
  char error[64];
  char tiny[8];
  float x[6] = {0}, y[6];

  options.struct_bytes = 1;
  assert(pair_create(&options, &model, error, sizeof(error)) == TVMAKE_INVALID_ARGUMENT);
  assert(model == NULL && strstr(error, "struct_bytes") != NULL);
  assert(pair_create(&options, &model, tiny, sizeof(tiny)) != TVMAKE_OK && strlen(tiny) == 7);
  assert(pair_create(&options, &model, NULL, 0) != TVMAKE_OK);
  assert(pair_create(NULL, NULL, error, sizeof(error)) == TVMAKE_INVALID_ARGUMENT);
  assert(pair_create_shared(NULL, NULL, &model, error, sizeof(error)) != TVMAKE_OK);

  assert(pair_create(NULL, &model, error, sizeof(error)) == TVMAKE_OK);
  assert(strcmp(pair_last_error(model), "") == 0);
  assert(pair_set_input(model, PAIR_INPUT_x, x, sizeof(x)) == TVMAKE_OK);
  assert(pair_set_input(model, PAIR_INPUT_x, x, 4) == TVMAKE_INVALID_ARGUMENT ||
         strlen(pair_last_error(model)) > 0);
  assert(pair_set_input(model, PAIR_INPUT_x, NULL, sizeof(x)) == TVMAKE_INVALID_ARGUMENT);
  assert(pair_set_input(model, 2, x, sizeof(x)) == TVMAKE_INDEX);
  assert(pair_set_input_zero_copy(model, 0, NULL, 24) == TVMAKE_INVALID_ARGUMENT);
  assert(pair_set_output_zero_copy(model, 9, y, sizeof(y)) == TVMAKE_INDEX);
  assert(pair_input_data(model, 2) == NULL && pair_output_data(model, 2) == NULL);
  assert(pair_unbind_input(model, 2) == TVMAKE_INDEX && pair_unbind_output(model, 1) == TVMAKE_OK);
  assert(pair_load_params(model, NULL, 0) == TVMAKE_INVALID_ARGUMENT);
  assert(pair_run_observed(model, NULL, NULL) == TVMAKE_INVALID_ARGUMENT);
  memset(pair_input_data(model, PAIR_INPUT_ids_0), 0, 24);
  assert(pair_run(model) == TVMAKE_OK);
  assert(pair_get_output(model, PAIR_OUTPUT_class, y, sizeof(y)) == TVMAKE_OK && y[0] == 0);
  assert(pair_get_output(model, 0, NULL, 24) == TVMAKE_INVALID_ARGUMENT);

  assert(pair_create_shared(model, NULL, &shared, error, sizeof(error)) == TVMAKE_OK);
  assert(pair_share_params(shared, model) == TVMAKE_OK);
  assert(pair_share_params(shared, NULL) == TVMAKE_INVALID_ARGUMENT);
  pair_destroy(model);
  assert(pair_run(shared) == TVMAKE_OK); /* the weights live as long as one of their users */
  pair_destroy(shared);

  /* NULL everywhere. */
  assert(pair_set_input(NULL, 0, x, 24) == TVMAKE_INVALID_ARGUMENT);
  assert(pair_run(NULL) == TVMAKE_INVALID_ARGUMENT && strlen(pair_last_error(NULL)) > 0);
  assert(pair_run_observed(NULL, NULL, NULL) == TVMAKE_INVALID_ARGUMENT);
  assert(pair_input_data(NULL, 0) == NULL && pair_arena_bytes(NULL) == 0);
  assert(pair_num_threads(NULL) == 0 && pair_weights_bytes(NULL) == 0);
  pair_destroy(NULL);

  assert(pair_input_count() == 2 && pair_output_count() == 2 && pair_call_count() == 2);
  assert(pair_input_info(2) == NULL && pair_output_info(2) == NULL && pair_call_info(2) == NULL);
  assert(pair_input_index("x") == 0 && pair_input_index("ids \"0\"*/\?\?/") == 1);
  assert(pair_input_index("none") == -1 && pair_input_index(NULL) == -1);
  assert(pair_output_index("gr\303\266\303\237er\\") == 1);
  assert(strcmp(pair_info()->model_file, "pair.onnx") == 0 && pair_info_json()[0] == '{');
  return 0;
}
"""


@dataclass(frozen=True)
class Program:
    """A built harness, and the folder of its model."""

    path: Path
    folder: Path

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return build.run(self.path, *arguments, cwd=self.folder)

    def check(self, *arguments: str | Path) -> str:
        return build.check(self.path, *arguments, cwd=self.folder)

    def fails(self, *arguments: str | Path, code: int = 1) -> str:
        """The error that these arguments must lead to."""
        result = self.run(*arguments)
        assert result.returncode == code
        assert result.stderr.startswith("pair_run: error: ")
        return result.stderr


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.runtime(tmp_path_factory.mktemp("runtime"))


def build_model(folder: Path, weights: str) -> list[Path]:
    """The objects of the model `pair`."""
    kernels = folder / "kernels.o"
    include = build.package("tvm_ffi") / "include"
    build.check("gcc", "-O1", "-isystem", include, "-c", pair.KERNELS_C, "-o", kernels)
    manifest = pair.write(folder, kernels.read_bytes(), weights=pair.weights_entry(weights))
    loader = render.render_model(manifest, folder)[2]
    flags = ["-I", str(folder / "include"), *pair.definitions(folder)]
    build.compile_cpp(loader, folder / "pair.o", *flags)
    harness = render.render_harness(manifest, "pair_run", folder)[0]
    build.compile_cpp(harness, folder / "pair_run.o", *flags)
    return [folder / "pair.o", kernels]


@pytest.fixture(scope="module")
def harness(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Program:
    folder = tmp_path_factory.mktemp("embed")
    objects = build_model(folder, "EMBED")
    build.link(folder / "pair_run", folder / "pair_run.o", *objects, archive)
    np.save(folder / "x.npy", X)
    np.save(folder / "ids.npy", IDS)
    return Program(folder / "pair_run", folder)


def test_cpp_interface(tmp_path: Path, archive: Path, harness: Program) -> None:
    main = tmp_path / "main.cpp"
    main.write_text(CPP_PROGRAM)
    build.compile_cpp(main, tmp_path / "main.o", "-I", str(harness.folder / "include"))
    objects = [harness.folder / "pair.o", harness.folder / "kernels.o"]
    build.link(tmp_path / "main", tmp_path / "main.o", *objects, archive)
    result = build.run(tmp_path / "main")
    assert (result.returncode, result.stderr) == (0, "")


def test_c_interface(tmp_path: Path, archive: Path, harness: Program) -> None:
    main = tmp_path / "main.c"
    main.write_text(C_PROGRAM)
    includes = ("-I", build.CPP / "include", "-I", harness.folder / "include")
    build.check("gcc", "-std=c99", *build.WARNINGS, *includes, "-c", main, "-o", tmp_path / "c.o")
    objects = [harness.folder / "pair.o", harness.folder / "kernels.o"]
    build.link(tmp_path / "main", tmp_path / "c.o", *objects, archive)
    result = build.run(tmp_path / "main")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["x.npy", "ids.npy"],
        ["--input", "ids_0=ids.npy", "--input", "x=x.npy"],
        ["ids.npy", "--input=x=x.npy"],
    ],
)
def test_harness_computes(harness: Program, tmp_path: Path, arguments: list[str]) -> None:
    harness.check(*arguments, "--output-dir", tmp_path / "out", "--threads", "2")
    y, positive = pair.reference(X, IDS)
    np.testing.assert_array_equal(np.load(tmp_path / "out/class.npy"), y)
    np.testing.assert_array_equal(np.load(tmp_path / "out/x.npy"), positive)
    assert np.load(tmp_path / "out/x.npy").dtype == np.bool_


def test_harness_raw_files(harness: Program, tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(X.tobytes())
    harness.check(tmp_path / "x.raw", "ids.npy", "--output", f"class={tmp_path / 'y.raw'}")
    assert (tmp_path / "y.raw").read_bytes() == pair.reference(X, IDS)[0].tobytes()
    (tmp_path / "x.raw").write_bytes(b"12345")
    assert "has 5 bytes, and float32[2,3] has 24" in harness.fails(tmp_path / "x.raw", "ids.npy")


def test_harness_prints_outputs(harness: Program) -> None:
    assert "float32[2,3]  min -28.5  max 3  mean" in harness.check("x.npy", "ids.npy")


def test_harness_seed(harness: Program, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        harness.check("--seed", seed, "--output-dir", tmp_path / name)
    a, b, c = (np.load(tmp_path / name / "class.npy") for name in "abc")
    assert (a == b).all()
    assert (a != c).any()


def test_harness_measures(harness: Program, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    text = harness.check("--bench", "--profile", "--runs", "7", "--warmup", "0", "--json", file)
    assert "Latency of 7 runs, after 0 to warm up" in text
    assert "/Add, /Greater" in text
    figures = json.loads(file.read_text())
    bench, profile = figures["bench"], figures["profile"]
    names = ["min_ns", "median_ns", "p90_ns", "p99_ns", "max_ns"]
    assert sorted(bench[name] for name in names) == [bench[name] for name in names]
    assert bench["runs"] == profile["runs"] == 7
    assert {call["name"] for call in profile["calls"]} == {"scale", "combine"}
    assert sum(call["share"] for call in profile["calls"]) == pytest.approx(1, abs=1e-4)
    assert json.loads(harness.check("--bench", "--json", "-"))["bench"]["runs"] == 100


def test_harness_info(harness: Program) -> None:
    text = harness.check("--info")
    assert "pair.onnx" in text
    assert "SHA-256" in text
    document = json.loads((harness.folder / "manifest.json").read_text())
    info = json.loads(harness.check("--info", "--json", "-"))
    assert info["model"] == document["model"]


def test_harness_trace(harness: Program, tmp_path: Path) -> None:
    harness.check("x.npy", "ids.npy", "--trace", tmp_path)
    trace = json.loads((tmp_path / "trace.json").read_text())
    scale, combine = trace["calls"]
    assert scale["sources"] == [{"name": "/scale/Mul", "op_type": "Mul"}]
    assert [output["onnx"] for output in combine["outputs"]] == [pair.Y, pair.POSITIVE]
    assert scale["outputs"] == [{"file": "0.0.npy", "onnx": None}]
    np.testing.assert_array_equal(np.load(tmp_path / "0.0.npy"), X * pair.WEIGHTS)
    np.testing.assert_array_equal(np.load(tmp_path / "1.1.npy"), [False, True])


def test_harness_help(harness: Program) -> None:
    text = harness.check("--help")
    assert all(word in text for word in ("--trace", "int64[3]", "Usage: pair_run"))
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (X.astype(np.float64), "holds float64[2,3], and the model takes float32[2,3]"),
        (X.T.copy(), "holds float32[3,2], and the model takes float32[2,3]"),
        (X.ravel(), "holds float32[6]"),
        (X.astype(">f4"), "byte order"),
        (np.asfortranarray(X), "Fortran order"),
        (np.array(["a"]), "holds <U1[1]"),
        (np.zeros(3, [("a", "f4")]), "header is not understood"),
    ],
)
def test_harness_refuses_array(
    harness: Program, tmp_path: Path, array: np.ndarray, words: str
) -> None:
    np.save(tmp_path / "x.npy", array)
    assert words in harness.fails(tmp_path / "x.npy", "ids.npy")


@pytest.mark.parametrize("size", [0, 5, 8, 9, 40, 127, 128, 151])
def test_harness_refuses_truncated_file(harness: Program, tmp_path: Path, size: int) -> None:
    data = (harness.folder / "x.npy").read_bytes()
    assert len(data) == 152
    (tmp_path / "x.npy").write_bytes(data[:size])
    assert "cannot use" in harness.fails(tmp_path / "x.npy", "ids.npy")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no file for the input 'x', float32[2,3]; --seed N"),
        (["x.npy"], "no file for the input 'ids "),
        (["x.npy", "ids.npy", "x.npy"], "one file too many"),
        (["--input", "x=x.npy", "--input", "x=x.npy"], "two files for the input 'x'"),
        (["--input", "x.npy"], "--input takes NAME=FILE"),
        (["--input"], "--input needs a value"),
        (["--bunch"], "unknown option --bunch"),
        (["--bench=1"], "--bench takes no value"),
        (["--runs", "0"], "--runs takes a whole number of at least 1"),
        (["--threads", "two"], "not 'two'"),
        (["--seed", "-1"], "--seed takes"),
    ],
)
def test_harness_wrong_usage(harness: Program, arguments: list[str], words: str) -> None:
    error = harness.fails(*arguments, code=2)
    assert words in error
    assert "try pair_run --help" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seed", "0", "--input", "y=x.npy"], "no input 'y'; it has: x, ids"),
        (["--seed", "0", "--output", "y=y.npy"], "no output 'y'; it has: class"),
        (["--seed", "0", "--output", "class=/nowhere/y.npy"], "cannot write /nowhere/y.npy"),
        (["--seed", "0", "--json", "/nowhere/figures.json"], "cannot write /nowhere/figures.json"),
        (["none.npy", "ids.npy"], "cannot open none.npy"),
    ],
)
def test_harness_errors(harness: Program, arguments: list[str], words: str) -> None:
    assert words in harness.fails(*arguments)


def test_weights_in_a_file(archive: Path, tmp_path: Path) -> None:
    objects = build_model(tmp_path, "FILE")
    build.link(tmp_path / "pair_run", tmp_path / "pair_run.o", *objects, archive)
    program = Program(tmp_path / "pair_run", tmp_path)
    assert "pair.weights.bin" in program.fails("--seed", "0")
    assert program.check("--seed", "0", "--weights", "weights.bin")
    shutil.copyfile(tmp_path / "weights.bin", tmp_path / "pair.weights.bin")
    assert program.check("--seed", "0") == program.check("--seed", "0", "--weights", "weights.bin")
    assert "/nowhere" in program.fails("--seed", "0", "--weights", "/nowhere")
