"""The examples are projects of their own: each is built and run outside of tvmake's build."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from packages.support import REPO, build_project, check, needed, own_python


def _build(name: str, folder: Path) -> Path:
    shutil.copytree(REPO / "examples" / name, folder / name)
    shutil.copytree(REPO / "examples" / "digits", folder / "digits")
    options = (f"-Dtvmake_DIR={REPO / 'cmake'}", own_python())
    build = build_project(folder / name, folder / "build", *options)
    check("ctest", "--test-dir", build, "--output-on-failure", "--no-tests=error")
    return build


def test_two_models_in_threads(tmp_path: Path) -> None:
    build = _build("cpp-app", tmp_path)
    output = check(build / "read_digits", tmp_path / "digits")
    assert "of 450 digits right" in output


def test_library_hides_its_model(tmp_path: Path) -> None:
    build = _build("embedded-in-library", tmp_path)
    library = build / "libdigit_reader.so"
    symbols = check("nm", "-D", "--defined-only", library).split("\n")
    assert [line.split()[-1] for line in symbols if line] == ["read_digit"]
    assert not needed(library)
    check("cmake", "--install", build, "--prefix", tmp_path / "prefix")
    installed = {path.name for path in (tmp_path / "prefix").rglob("*") if path.is_file()}
    assert {"digit_reader.h", "libdigit_reader.so.1.0.0"} <= installed
    assert not [name for name in installed if "digits" in name]


BOARDS = {
    "aarch64-linux-gnu": ("AArch64", 64),
    "armv7l-linux-gnueabihf": ("ARM", 32),
    "riscv64-linux-gnu": ("RISC-V", 64),
}


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS)
def test_three_boards(board: str, tmp_path: Path) -> None:
    """The commands of its README."""
    source = tmp_path / "cross"
    shutil.copytree(REPO / "examples" / "cross", source)
    shutil.copytree(REPO / "examples" / "digits", tmp_path / "digits")
    environment = {"TVMAKE_DIR": str(REPO / "cmake"), "VIRTUAL_ENV": sys.prefix}
    command = ("cmake", "--workflow", "--preset", board)
    assert " ".join(command) in (source / "README.md").read_text(encoding="utf-8")
    output = check(*command, cwd=source, environment=environment)
    assert "100% tests passed, 0 tests failed out of 2" in output
    prefix = tmp_path / "board"
    check("cmake", "--install", source / "build" / board, "--prefix", prefix)
    machine, bits = BOARDS[board]
    shown = check("readelf", "-h", prefix / "bin" / "board_digits")
    assert re.search(rf"Class: +ELF{bits}\b", shown)
    assert re.search(rf"Machine: +{machine}\b", shown)
