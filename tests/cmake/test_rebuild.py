"""Exact rebuilds: what runs after which change, and what an interruption leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from cmake_support.onnx_models import dense
from cmake_support.project import ARTIFACTS, Project, copy_tvmake, steps, tree

BODY = """
tvmake_add_model(one MODEL one.onnx)
tvmake_add_model(two MODEL two.onnx LIBRARY SHARED WEIGHTS FILE)
add_executable(app app.cc)
target_link_libraries(app PRIVATE one two)
"""
APP = """#include "one.hpp"
#include "two.hpp"
int main() { return 0; }
"""


def _write(project: Project) -> None:
    project.write(BODY)
    dense(project.folder / "one.onnx", seed=1)
    dense(project.folder / "two.onnx", seed=2, outputs=6)
    (project.folder / "app.cc").write_text(APP, encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two models and a program, built, with a copy of tvmake that tests may change."""
    folder = tmp_path_factory.mktemp("rebuild")
    project = Project(folder / "project", copy_tvmake(folder / "tvmake"))
    project.folder.mkdir()
    _write(project)
    project.configure().check()
    project.build().check()
    return project


@contextmanager
def changed(path: Path) -> Iterator[None]:
    """Bring a file back to what it was, and its time on, so that the next test starts clean."""
    content = path.read_bytes()
    yield
    path.write_bytes(content)


def _settle(project: Project) -> None:
    project.build().check()
    assert "no work to do" in project.build().check()


def test_second_build_does_nothing(built: Project) -> None:
    _settle(built)


def test_second_build_does_nothing_after_configuring_again(built: Project) -> None:
    built.configure().check()
    assert "no work to do" in built.build().check()


def test_touched_model_is_compiled_and_nothing_follows(built: Project) -> None:
    _settle(built)
    (built.folder / "one.onnx").touch()
    assert steps(built.build().check()) == ["Compiling one.onnx to one for x86_64-linux-gnu"]
    _settle(built)


def test_template_change_renders_only(built: Project) -> None:
    _settle(built)
    template = built.tvmake / "templates" / "model.hpp.j2"
    with changed(template):
        template.write_text(template.read_text("utf-8") + "// more\n", encoding="utf-8")
        did = steps(built.build().check())
        assert not any(step.startswith("Compiling") for step in did)
        assert sum(step.startswith("Rendering") for step in did) == 2
        assert "// more" in (built.model("one") / "include" / "one.hpp").read_text("utf-8")
    _settle(built)


def test_touched_template_leaves_the_libraries_alone(built: Project) -> None:
    _settle(built)
    (built.tvmake / "templates" / "model.hpp.j2").touch()
    did = steps(built.build().check())
    assert did == ["Rendering the C++ sources of one", "Rendering the C++ sources of two"] or (
        did == ["Rendering the C++ sources of two", "Rendering the C++ sources of one"]
    )


def test_compiler_change_compiles_all_models(built: Project) -> None:
    _settle(built)
    (built.tvmake / "python" / "tvmake" / "compiler.py").touch()
    did = steps(built.build().check())
    assert sum(step.startswith("Compiling") for step in did) == 2
    assert not any("Building" in step for step in did)


def test_changed_weight_keeps_the_kernels(built: Project) -> None:
    _settle(built)
    model_file = built.folder / "one.onnx"
    folder = built.model("one")
    before = {name: (folder / name).stat().st_mtime_ns for name in ARTIFACTS}
    with changed(model_file):
        model = onnx.load(model_file)
        weight = model.graph.initializer[0]
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 2, weight.name))
        onnx.save(model, model_file)
        did = steps(built.build().check())
        assert [step for step in did if step.startswith("Compiling")] == [
            "Compiling one.onnx to one for x86_64-linux-gnu"
        ]
        after = {name: (folder / name).stat().st_mtime_ns for name in ARTIFACTS}
        assert after["kernels.o"] == before["kernels.o"]
        assert after["weights.bin"] != before["weights.bin"]
        assert any("one.cpp.o" in step for step in did)
        assert not any("two" in step for step in did)
    _settle(built)


def test_removed_artifact_is_made_again(built: Project) -> None:
    _settle(built)
    for name in ARTIFACTS:
        file = built.model("two") / name
        content = file.read_bytes()
        file.unlink()
        built.build().check()
        assert file.read_bytes() == content


def test_copied_weights_follow_the_model(built: Project) -> None:
    _settle(built)
    copy = built.build_folder / "two.weights.bin"
    assert copy.read_bytes() == (built.model("two") / "weights.bin").read_bytes()
    model_file = built.folder / "two.onnx"
    with changed(model_file):
        dense(model_file, seed=5, outputs=6)
        built.build().check()
        assert copy.read_bytes() == (built.model("two") / "weights.bin").read_bytes()
    _settle(built)


def test_changed_argument_compiles_that_model_only(built: Project) -> None:
    _settle(built)
    built.write(BODY.replace("MODEL one.onnx", "MODEL one.onnx CPU x86-64-v3"))
    did = steps(built.build().check())
    assert [step for step in did if step.startswith("Compiling")] == [
        "Compiling one.onnx to one for x86_64-linux-gnu"
    ]
    built.write(BODY)
    _settle(built)


def test_same_bytes_in_another_folder(built: Project, tmp_path: Path) -> None:
    _settle(built)
    other = Project(
        tmp_path / "elsewhere",
        copy_tvmake(tmp_path / "copy"),
        environment={"TVMAKE_CACHE_DIR": str(tmp_path / "cache"), "SOURCE_DATE_EPOCH": "1"},
    )
    other.folder.mkdir()
    _write(other)
    other.configure().check()
    other.build("--target", "one_tvmake", "two_tvmake").check()
    for name in ("one", "two"):
        assert tree(built.model(name)) == tree(other.model(name))


@pytest.mark.parametrize("delay", [0.5, 1.5, 2.5])
def test_interrupted_compilation_leaves_nothing_that_counts(
    built: Project, tmp_path: Path, delay: float
) -> None:
    _settle(built)
    project = Project(tmp_path / "project", built.tvmake)
    project.folder.mkdir()
    _write(project)
    project.environment["TVMAKE_CACHE_DIR"] = str(tmp_path / "cache")
    project.configure().check()
    target = ["cmake", "--build", str(project.build_folder), "--target", "one_tvmake"]
    process = subprocess.Popen(
        target, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    project.run(*target).check()
    assert tree(project.model("one")) == tree(built.model("one"))


def test_truncated_artifact_is_noticed(built: Project, tmp_path: Path) -> None:
    """An artifact that was cut short behind the build's back stops it with an error."""
    _settle(built)
    folder = tmp_path / "dense"
    shutil.copytree(built.model("one"), folder)
    weights = folder / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-4])
    project = Project(tmp_path, environment={"PYTHONPATH": str(built.tvmake / "python")})
    command = [sys.executable, "-m", "tvmake", "render", "--output-dir", str(folder)]
    project.run(*command, "--manifest", folder / "manifest.json").fails("weights.bin")
