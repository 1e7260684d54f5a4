"""`tvmake new`: what it writes builds and runs; what it cannot write it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from packages.support import DIGITS, build_project, check, run


@pytest.fixture
def tvmake(tools: Path) -> Path:
    return tools.parent / "tvmake"


def test_app(tvmake: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    said = check(tvmake, "new", "app", folder, "--model", DIGITS / "digits.onnx")
    assert f"cmake --build {folder}/build" in said
    package = check(tvmake, "--cmake-dir").strip()
    build = build_project(folder, tmp_path / "build", f"-Dtvmake_DIR={package}")
    output = check(build / "reader")
    assert output.startswith("scores=float32[1,10]: ")
    assert len(output.split()) == 10  # the name, eight values and the dots
    check("ctest", "--test-dir", build, "--output-on-failure", "--no-tests=error")


def test_model_and_program_of_one_name(tvmake: Path, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    check(tvmake, "new", "app", folder, "--model", DIGITS / "digits.onnx")
    assert "tvmake_add_model(digits_model MODEL digits.onnx" in (
        folder / "CMakeLists.txt"
    ).read_text(encoding="utf-8")


def test_bad_input(tvmake: Path, tmp_path: Path) -> None:
    model = ("--model", DIGITS / "digits.onnx")
    run(tvmake, "new", "weel", tmp_path / "x", *model).fails("called 'weel'", "mean 'wheel'?")
    run(tvmake, "new", "app", tmp_path / "1x", *model).fails("the project's name is '1x'")
    run(tvmake, "new", "app", tmp_path / "x", "--model", "gone.onnx").fails("does not exist")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    run(tvmake, "new", "app", tmp_path / "full", *model).fails("the folder is in use")
    assert not (tmp_path / "x").exists()
