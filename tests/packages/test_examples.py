"""The examples are projects of their own: each is built and run outside of tvmake's build."""

from __future__ import annotations

import shutil
from pathlib import Path

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
