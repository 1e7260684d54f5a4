"""Every fatal error of the public functions: exit code, message, and a call that passes."""

from __future__ import annotations

import pytest

from cmake_support.project import Project

MODEL = "tvmake_add_model(net MODEL dense.onnx)"
VERIFY = "tvmake_add_verify_test(net)"

WRONG = {
    "unknown argument": (
        "tvmake_add_model(net MODLE dense.onnx)",
        ["tvmake_add_model(net): unknown argument 'MODLE'", "expected: VERIFY", "mean MODEL?"],
    ),
    "unknown argument, nothing near": (
        "tvmake_add_model(net xyzzy MODEL dense.onnx)",
        ["unknown argument 'xyzzy'", "fix: remove it"],
    ),
    "keyword without value": (
        "tvmake_add_model(net MODEL dense.onnx WEIGHTS)",
        ["tvmake_add_model(net): WEIGHTS has no value", "fix:"],
    ),
    "model missing": ("tvmake_add_model(net)", ["MODEL is missing", "expected: MODEL <file.onnx>"]),
    "model file missing": (
        "tvmake_add_model(net MODEL gone.onnx)",
        ["/gone.onnx' does not exist", "expected: a file", "fix: correct MODEL"],
    ),
    "model is a folder": ("tvmake_add_model(net MODEL .)", ["does not exist"]),
    "name is no identifier": (
        "tvmake_add_model(my-net MODEL dense.onnx)",
        ["the target's name is 'my-net'", "a C identifier", "tvmake_add_model(my_net"],
    ),
    "name is taken": (
        f"add_custom_target(net)\n{MODEL}",
        ["there is a target 'net' already", "fix: give the model another name"],
    ),
    "executor": (
        "tvmake_add_model(net MODEL dense.onnx EXECUTOR graf)",
        ["EXECUTOR is 'graf'", "expected: auto, graph or vm", "fix: EXECUTOR graph"],
    ),
    "library": (
        "tvmake_add_model(net MODEL dense.onnx LIBRARY MODULE)",
        ["LIBRARY is 'MODULE'", "expected: STATIC or SHARED"],
    ),
    "runtime": (
        "tvmake_add_model(net MODEL dense.onnx RUNTIME EXTERN)",
        ["RUNTIME is 'EXTERN'", "STATIC, SHARED or EXTERNAL", "fix: RUNTIME EXTERNAL"],
    ),
    "goal": (
        "tvmake_add_model(net MODEL dense.onnx OPTIMIZE SPEEDY)",
        ["OPTIMIZE is 'SPEEDY'", "expected: SPEED, SIZE or PRECISE", "fix: OPTIMIZE SPEED"],
    ),
    "weights": (
        "tvmake_add_model(net MODEL dense.onnx WEIGHTS FILES)",
        ["WEIGHTS is 'FILES'", "expected: EMBED or FILE", "fix: WEIGHTS FILE"],
    ),
    "namespace": (
        "tvmake_add_model(net MODEL dense.onnx NAMESPACE 1st)",
        ["NAMESPACE is '1st'", "expected: a C++ namespace"],
    ),
    "inputs": (
        "tvmake_add_model(net MODEL dense.onnx INPUTS x:1x8)",
        ["INPUTS has 'x:1x8'", "expected: <name>=<dtype>[d0,d1,…]"],
    ),
    "features": (
        "tvmake_add_model(net MODEL dense.onnx FEATURES avx2)",
        ["FEATURES has 'avx2'", "fix: FEATURES +avx2"],
    ),
    "image without steps": (
        'tvmake_add_model(net MODEL dense.onnx PREPROCESS "x=photo(uint8)")',
        ["PREPROCESS has 'x=photo(uint8)'", "expected: <name>=image(<step>, …)"],
    ),
    "external runtime in a static library": (
        "tvmake_add_model(net MODEL dense.onnx LIBRARY STATIC RUNTIME EXTERNAL)",
        ["LIBRARY is STATIC but RUNTIME is EXTERNAL", "fix: LIBRARY SHARED"],
    ),
    "external runtime with a test": (
        "tvmake_add_model(net MODEL dense.onnx RUNTIME EXTERNAL VERIFY)",
        ["VERIFY cannot be had with RUNTIME EXTERNAL", "fix:"],
    ),
    "tolerance without test": (
        "tvmake_add_model(net MODEL dense.onnx RTOL 1e-3)",
        ["RTOL is given without VERIFY", "fix: add VERIFY"],
    ),
    "tolerance is no number": (
        "tvmake_add_model(net MODEL dense.onnx VERIFY ATOL small)",
        ["ATOL is 'small'", "expected: a number"],
    ),
    "native CPU of another machine": (
        "set(CMAKE_CROSSCOMPILING TRUE)\ntvmake_add_model(net MODEL dense.onnx CPU native)",
        ["CPU is native, but the build is for another machine", "fix: name the CPU"],
    ),
    "runtime: unknown argument": (
        "tvmake_runtime(LINKAG STATIC)",
        ["tvmake_runtime(): unknown argument 'LINKAG'", "did you mean LINKAGE?"],
    ),
    "runtime: linkage": (
        "tvmake_runtime(LINKAGE DYNAMIC)",
        ["LINKAGE is 'DYNAMIC'", "STATIC, SHARED or EXTERNAL"],
    ),
    "runtime: component": (
        "tvmake_runtime(COMPONENTS core gpu)",
        ["COMPONENTS is 'gpu'", "expected: core"],
    ),
    "harness: unknown argument": (
        f"{MODEL}\ntvmake_add_harness(run MODELS net)",
        ["tvmake_add_harness(run): unknown argument 'MODELS'", "did you mean MODEL?"],
    ),
    "harness: model missing": (f"{MODEL}\ntvmake_add_harness(run)", ["MODEL is missing"]),
    "harness: no such model": (
        f"{MODEL}\ntvmake_add_harness(run MODEL nte)",
        ["MODEL 'nte' is not a model", "expected: net", "did you mean net?"],
    ),
    "harness: name is taken": (
        f"{MODEL}\ntvmake_add_harness(net MODEL net)",
        ["there is a target 'net' already"],
    ),
    "harness: external runtime": (
        "tvmake_add_model(net MODEL dense.onnx RUNTIME EXTERNAL)\ntvmake_add_harness(r MODEL net)",
        ["has RUNTIME EXTERNAL", "expected: a model with RUNTIME STATIC or SHARED"],
    ),
    "verify: unknown argument": (
        f"{MODEL}\ntvmake_add_verify_test(net SEDE 1)",
        ["unknown argument 'SEDE'", "did you mean SEED?"],
    ),
    "verify: no such model": ("tvmake_add_verify_test(net)", ["'net' is not a model"]),
    "verify: no such harness": (
        f"{MODEL}\ntvmake_add_verify_test(net HARNESS run)",
        ["HARNESS 'run' is no target", "fix: tvmake_add_harness(run MODEL net)"],
    ),
    "verify: seed": (f"{MODEL}\ntvmake_add_verify_test(net SEED -1)", ["SEED is '-1'"]),
    "weights copy: no such target": (
        f"{MODEL}\ntvmake_copy_weights(app net)",
        ["tvmake_copy_weights(app): there is no target 'app'"],
    ),
    "weights copy: no model": (
        f"{MODEL}\ntvmake_copy_weights(net)",
        ["no model is named", "expected: tvmake_copy_weights(net <model>…)"],
    ),
    "triple and compiler differ": (
        f"set(TVMAKE_TARGET_TRIPLE armv7a-linux-gnueabihf)\n{MODEL}",
        ["makes 64-bit code, but the target is armv7a-linux-gnueabihf", "fix:"],
    ),
    "TVM sources missing": (
        "set(TVMAKE_TVM_SOURCE_DIR nowhere)\ntvmake_runtime()",
        ["TVMAKE_TVM_SOURCE_DIR", "/nowhere' has no", "expected: a full checkout of TVM"],
    ),
}

RIGHT = {
    "model": MODEL,
    "model, everything": (
        "tvmake_add_model(net MODEL dense.onnx INPUTS x=float32[1,8] OUTPUTS y EXECUTOR graph"
        " LIBRARY SHARED RUNTIME SHARED WEIGHTS FILE NAMESPACE my::net CPU x86-64-v3"
        " FEATURES +avx2 -fma VERIFY RTOL 1e-3 ATOL .5)"
    ),
    "model, external runtime": "tvmake_add_model(net MODEL dense.onnx RUNTIME EXTERNAL)",
    "native CPU": "tvmake_add_model(net MODEL dense.onnx CPU native)",
    "runtime": "tvmake_runtime(LINKAGE SHARED COMPONENTS core)\ntvmake_runtime(LINKAGE SHARED)",
    "harness": f"{MODEL}\ntvmake_add_harness(run MODEL net)",
    "verify": f"{MODEL}\ntvmake_add_harness(run MODEL net)\n"
    "tvmake_add_verify_test(net HARNESS run RTOL 1e-3 ATOL 1e-6 SEED 7)",
    "weights copy": "tvmake_add_model(net MODEL dense.onnx WEIGHTS FILE)\n"
    "file(WRITE main.c)\nadd_executable(app main.c)\ntvmake_copy_weights(app net)",
    "triple": f"set(TVMAKE_TARGET_TRIPLE x86_64-linux-gnu)\n{MODEL}",
}


@pytest.mark.parametrize(("body", "parts"), WRONG.values(), ids=WRONG.keys())
def test_wrong_call_is_explained(project: Project, body: str, parts: list[str]) -> None:
    project.write(body)
    project.configure().fails(*parts)


@pytest.mark.parametrize("body", RIGHT.values(), ids=RIGHT.keys())
def test_right_call_passes(project: Project, body: str) -> None:
    project.write(body)
    project.configure().check()


def test_language_cxx_is_needed(project: Project) -> None:
    project.write(MODEL, languages="C")
    project.configure().fails("does not enable the language CXX", "fix: add CXX")


def test_old_cmake_is_refused(project: Project) -> None:
    project.write("")
    listing = project.folder / "CMakeLists.txt"
    text = listing.read_text("utf-8").replace("include(", "set(CMAKE_VERSION 3.20.0)\ninclude(")
    listing.write_text(text, encoding="utf-8")
    project.configure().fails("tvmake needs CMake 3.25 or later, this is 3.20.0")


def test_error_of_the_compiler_stops_the_build(project: Project) -> None:
    (project.folder / "dense.onnx").write_bytes(b"not a model")
    project.write(MODEL)
    project.configure().check()
    project.build().fails("tvmake: error:", "dense.onnx")
    assert not project.model("net").joinpath("manifest.json").exists()
