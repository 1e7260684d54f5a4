"""The command line as a user meets it: status, output, and how soon it answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

from python.onnx_models import node, save, small_cnn

REPO = Path(__file__).resolve().parents[2]


def tvmake(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tvmake", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPO / "python"), "COLUMNS": "100"},
    )


def test_version_and_cmake_dir() -> None:
    from tvmake import __version__

    assert tvmake("--version").stdout == f"tvmake {__version__}\n"
    assert Path(tvmake("--cmake-dir").stdout.strip(), "tvmake-config.cmake").is_file()


@pytest.mark.parametrize("arguments", [["--help"], ["doctor"]])
def test_answers_at_once(arguments: list[str]) -> None:
    """Under 0.3 s of processor time: wall time on a busy machine says little."""
    best = 1e9
    for _ in range(3):
        start = os.times()
        tvmake(*arguments)
        end = os.times()
        used = (end.children_user - start.children_user) + (
            end.children_system - start.children_system
        )
        best = min(best, used)
    assert best < 0.3


def test_help_names_every_command() -> None:
    text = tvmake("--help").stdout
    for command in ("compile", "render", "verify", "inspect", "doctor", "--cmake-dir"):
        assert command in text


def test_doctor() -> None:
    result = tvmake("doctor")
    assert result.returncode == 0, result.stdout
    assert "apache-tvm" in result.stdout
    assert result.stdout.endswith("all is well\n")


def test_compile_with_options(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "small-cnn.onnx")
    options = ("-mcpu", "x86-64-v3", "-mtriple", "x86_64-linux-gnu", "--weights", "FILE")
    result = tvmake("compile", path, "-o", tmp_path / "out", *options, "--cache-dir", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("tvmake: small_cnn for x86_64-linux-gnu, CPU x86-64-v3\n")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["name"] == "small_cnn"
    assert manifest["weights"]["mode"] == "FILE"
    assert "avx2" in manifest["target"]["required_cpu_features"]


def test_errors_have_status_1_and_one_message(tmp_path: Path) -> None:
    result = tvmake("compile", tmp_path / "nothing.onnx", "-o", tmp_path / "out")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "tvmake: error: the model file does not exist",
        f"  where: {tmp_path / 'nothing.onnx'}",
    ]
    assert not (tmp_path / "out").exists()


def test_wrong_usage_has_status_2(tmp_path: Path) -> None:
    assert tvmake("compile").returncode == 2
    assert tvmake("compile", "--no-such-option").returncode == 2
    assert tvmake("compile", small_cnn(tmp_path / "m.onnx"), "--spec", "s.json").returncode == 2


def test_compile_from_a_spec_writes_a_depfile(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    request = {
        "schema": 1,
        "name": "net",
        "model": str(path),
        "target": {"triple": "x86_64-linux-gnu"},
    }
    (tmp_path / "spec.json").write_text(json.dumps(request))
    out = tmp_path / "out"
    result = tvmake("compile", "--spec", tmp_path / "spec.json", "-o", out, "--depfile", out / "d")
    assert result.returncode == 0, result.stderr
    targets, inputs = (out / "d").read_text().split(":")
    assert targets.split()[0] == str(out / "kernels.o")
    assert inputs.split() == [str(path)]


def test_plan_is_quick_and_names_existing_files() -> None:
    plan = json.loads(tvmake("compile", "--plan").stdout)
    assert plan["outputs"] == ["kernels.o", "weights.bin", "graph.json", "manifest.json"]
    assert all(Path(name).is_file() for name in plan["depends"])
    assert str(REPO / "python" / "tvmake" / "compiler.py") in plan["depends"]
    assert str(REPO / "python" / "tvmake" / "render.py") not in plan["depends"]


def test_inspect(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "a"), node("Celu", "a", "b"), node("StringNormalizer", "b", "y")]
    path = save(tmp_path / "m.onnx", nodes, {"x": ("N", 2)}, ["y"])
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "N"
    path.write_bytes(model.SerializeToString())
    text = tvmake("inspect", path).stdout
    assert "x=float32[N,2]" in text
    assert "no: node_y" in text
    facts = json.loads(tvmake("inspect", path, "--json").stdout)
    operators = [(o["name"], o["support"], o["unsupported_nodes"]) for o in facts["operators"]]
    assert operators == [
        ("Celu", "rewritten", []),
        ("Relu", "direct", []),
        ("StringNormalizer", "none", ["node_y"]),
    ]


def test_an_interrupted_compile_leaves_no_manifest(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    process = subprocess.Popen(
        [sys.executable, "-m", "tvmake", "compile", path, "-o", tmp_path / "out", "-q"],
        env={**os.environ, "PYTHONPATH": str(REPO / "python")},
    )
    deadline = time.monotonic() + 60
    while not any((tmp_path / "out").glob("*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait()
    left = {entry.name for entry in (tmp_path / "out").glob("*") if entry.name[0] != "."}
    if "manifest.json" in left:  # it was faster than we
        assert left == {"kernels.o", "weights.bin", "graph.json", "manifest.json"}
    assert tvmake("compile", path, "-o", tmp_path / "out", "-q").returncode == 0
