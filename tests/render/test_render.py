"""Rendering: goldens, determinism, and what is refused."""

from __future__ import annotations

import ast
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render import build, pair
from tvmake import render
from tvmake.errors import ArtifactError, TvmakeError

GOLDEN = Path(__file__).with_name("golden")
REPO = Path(__file__).resolve().parents[2]


def render_all(manifest: Path, output_dir: Path) -> list[Path]:
    return [
        *render.render_model(manifest, output_dir),
        *render.render_harness(manifest, "pair_run", output_dir),
    ]


def assert_formatted(*files: Path) -> None:
    style = f"--style=file:{REPO / '.clang-format'}"
    program = Path(sys.executable).with_name("clang-format")
    build.check(program, "--dry-run", "--Werror", style, *files)


def test_goldens(tmp_path: Path) -> None:
    """To accept new ones: TVMAKE_UPDATE_GOLDENS=1 pytest tests/render/test_render.py."""
    for path in render_all(pair.write(tmp_path), tmp_path):
        golden = GOLDEN / path.name
        if os.environ.get("TVMAKE_UPDATE_GOLDENS"):
            GOLDEN.mkdir(exist_ok=True)
            shutil.copyfile(path, golden)
        assert path.read_text(encoding="utf-8") == golden.read_text(encoding="utf-8")


def test_goldens_are_formatted() -> None:
    assert_formatted(*GOLDEN.iterdir())


@pytest.mark.parametrize("length", [1, 9, 17, 23])
def test_other_names_are_formatted(tmp_path: Path, length: int) -> None:
    name = "m" * length
    tensors = [
        pair.tensor(f"{letter}{i}", letter * length + str(i), "float32", [1, 128, 7, 7])
        for i, letter in enumerate("abcd")
    ]
    manifest = pair.write(tmp_path, name=name, namespace=name, inputs=tensors, outputs=tensors)
    assert_formatted(*render_all(manifest, tmp_path))


def test_same_input_same_bytes_and_kept_times(tmp_path: Path) -> None:
    first = render_all(pair.write(tmp_path / "a"), tmp_path / "a")
    second = render_all(pair.write(tmp_path / "b"), tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    times = [p.stat().st_mtime_ns for p in first]
    render_all(tmp_path / "a/manifest.json", tmp_path / "a")
    assert [p.stat().st_mtime_ns for p in first] == times
    names = {p.name for p in (tmp_path / "a").rglob("*") if p.is_file()}
    artifacts = {"manifest.json", "kernels.o", "weights.bin", "graph.json"}
    assert names == artifacts | {p.name for p in first}


def test_no_path_and_no_time(tmp_path: Path) -> None:
    for path in render_all(pair.write(tmp_path), tmp_path):
        text = path.read_text(encoding="utf-8")
        assert str(tmp_path) not in text
        assert str(REPO) not in text


def test_plan(tmp_path: Path) -> None:
    outputs = render_all(pair.write(tmp_path), tmp_path)
    plans = [render.plan("model", pair.NAME), render.plan("harness", "pair_run")]
    assert [tmp_path / name for plan in plans for name in plan["outputs"]] == outputs
    for plan in plans:
        assert all(Path(path).is_absolute() and Path(path).is_file() for path in plan["depends"])
    templates = {path.name for path in (REPO / "templates").glob("[mh]*.j2")} | {"banner.j2"}
    named = {Path(path).name for plan in plans for path in plan["depends"]}
    assert templates <= named


@pytest.mark.parametrize("file", ["kernels.o", "graph.json", "weights.bin"])
def test_artifact_of_another_compile(tmp_path: Path, file: str) -> None:
    manifest = pair.write(tmp_path)
    render_all(manifest, tmp_path)  # the passing twin
    with (tmp_path / file).open("ab") as changed:
        changed.write(b"!")
    with pytest.raises(ArtifactError, match=f"{file} does not belong to the manifest") as error:
        render.render_model(manifest, tmp_path)
    assert "compile the model again" in str(error.value)


@pytest.mark.parametrize("file", ["kernels.o", "graph.json", "weights.bin", "manifest.json"])
def test_missing_artifact(tmp_path: Path, file: str) -> None:
    manifest = pair.write(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(ArtifactError, match="No such file"):
        render.render_model(manifest, tmp_path)


def test_failed_render_writes_nothing(tmp_path: Path) -> None:
    manifest = pair.write(tmp_path)
    (tmp_path / "graph.json").write_text("{}")
    with pytest.raises(ArtifactError):
        render.render_model(manifest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2"),
        ({"schema": None}, "schema None"),
        ({"name": "two words"}, "'two words' is not an identifier"),
        ({"namespace": "acme::"}, "'' is not an identifier"),
        ({"inputs": 3}, "inputs is not a list"),
        ({"graph": {"file": "graph.json"}}, "graph has no sha256"),
        ({"model": []}, "model is not an object"),
        (
            {"weights": {"mode": "HTTP", "file": "w", "id": "0", "bytes": 0}},
            "weights.mode is 'HTTP'",
        ),
        ({"calls": [{"name": "a", "kernel": 1}]}, r"calls\[0\] has no sources, onnx_outputs"),
        ({"executor": 1}, "executor is 1, not str"),
        ({"inputs": [pair.tensor(name, "x", "bool", []) for name in "ab"]}, "x, x are not unique"),
    ],
)
def test_damaged_manifest(tmp_path: Path, change: dict[str, object], message: str) -> None:
    manifest = pair.write(tmp_path, b"", **change)
    with pytest.raises(ArtifactError, match=message):
        render.render_model(manifest, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"schema": 1}'])
def test_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    manifest = pair.write(tmp_path)
    manifest.write_text(text)
    with pytest.raises(ArtifactError):
        render.render_harness(manifest, "exe", tmp_path)


def test_element_type_without_c_type(tmp_path: Path) -> None:
    tensor = pair.tensor("x", "x", "float32", [2]) | {"dtype": "complex64"}
    with pytest.raises(TvmakeError, match="complex64"):
        render.render_model(pair.write(tmp_path, inputs=[tensor]), tmp_path)


def test_namespace_that_is_a_keyword(tmp_path: Path) -> None:
    with pytest.raises(TvmakeError, match="keyword 'class'"):
        render.render_model(pair.write(tmp_path, namespace="acme::class"), tmp_path)


def test_info_json_is_the_manifest_without_tables(tmp_path: Path) -> None:
    manifest = pair.write(tmp_path)
    source = render.render_model(manifest, tmp_path)[2].read_text(encoding="utf-8")
    info = json.loads(source.split('R"json(')[1].split(')json"')[0])
    document = json.loads(manifest.read_text(encoding="utf-8"))
    tables = {"graph", "kernels", "calls", "preprocess", "schema", "namespace"}
    assert tables == document.keys() - info.keys()
    assert all(document[key] == value for key, value in info.items())


@given(st.text(st.characters(exclude_characters="\\", exclude_categories=["Cs"])))
def test_c_string_holds_the_bytes(text: str) -> None:
    literal = render.c_string(text)
    assert "??" not in literal
    assert literal.isascii()
    assert literal.isprintable()
    assert ast.literal_eval("b" + literal.replace(r"\?", "?")) == text.encode()


@given(st.text(alphabet=st.sampled_from("*/?\\\n\r ab\u2028é")))
def test_comment_stays_in_its_line(text: str) -> None:
    line = render.comment(text)
    assert len(f"{line}x".splitlines()) == 1
    assert not any(pair in line for pair in ("*/", "/*", "??"))
