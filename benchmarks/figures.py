"""Measures the figures of docs/figures.md and prints them as a table.

    python benchmarks/figures.py [--only NAME …] [--json FILE] [--markdown FILE] [--build-dir DIR]

Runs in a Python that has tvmake's requirements; needs an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

REPO = Path(__file__).resolve().parents[1]
PROJECT = REPO / "benchmarks" / "project"
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

MEGABYTE = 1e6
CALLS = 1000  # of the chain of tiny kernels
WIDTHS = (4, 8)  # of the values between them, in turn
REPEATS = 9  # of measurements that take less than a second


@dataclass(frozen=True)
class Figure:
    """One measured number and the bound it is to keep."""

    name: str
    value: float
    unit: str
    bound: float

    @property
    def kept(self) -> bool:
        """Whether the number is within the bound."""
        return self.value <= self.bound


def runtime_build(folder: Path) -> Iterator[Figure]:
    """Builds the static core runtime with an empty cache, then in a new build tree."""
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    for state, bound in (("cold", 30.0), ("warm", 1.0)):
        build = folder / state
        shutil.rmtree(build, ignore_errors=True)
        _configure(build, "-DBENCH_RUNTIME=STATIC", f"-DTVMAKE_CACHE_DIR={cache}")
        seconds = _timed(["cmake", "--build", build])
        yield Figure(f"core runtime, {state} build", seconds, "s", bound)


def runtime_size(folder: Path) -> Iterator[Figure]:
    """Strips the shared core runtime."""
    _configure(folder, "-DBENCH_RUNTIME=SHARED")
    _call(["cmake", "--build", folder])
    library = max(folder.rglob("libtvm_runtime.so*"), key=lambda path: path.stat().st_size)
    stripped = folder / "stripped.so"
    _call(["strip", "--strip-all", "-o", stripped, library.resolve()])
    size = stripped.stat().st_size / MEGABYTE
    yield Figure("core runtime, shared, stripped", size, "MB", 1.4)


def resnet50_pipeline(folder: Path) -> Iterator[Figure]:
    """Compiles ResNet-50 with no cache, then asks ninja for a build in which nothing changed."""
    seconds = _compile("resnet50", LIGHT / "light_resnet50.onnx", folder / "pipeline")
    yield Figure("ResNet-50, whole pipeline", seconds, "s", 30.0)
    build = _resnet50_build(folder)
    times = [_timed(["ninja", "-C", build]) for _ in range(REPEATS)]
    yield Figure("ResNet-50, rebuild with no change", statistics.median(times), "s", 0.3)


def resnet50_load(folder: Path) -> Iterator[Figure]:
    """Opens ResNet-50, weights in a file, in fresh processes; then runs it once."""
    program = _resnet50_build(folder) / "load_time"
    runs = [json.loads(_call([program])) for _ in range(REPEATS)]
    load = statistics.median(run["load_ms"] for run in runs)
    yield Figure("ResNet-50, load, weights in a file", load, "ms", 10.0)
    peak = statistics.median(run["peak_bytes"] for run in runs)
    beyond = peak - runs[0]["weights_bytes"] - runs[0]["arena_bytes"]
    yield Figure("ResNet-50, peak memory beyond weights and arena", beyond / MEGABYTE, "MB", 10.0)


def call_overhead(folder: Path) -> Iterator[Figure]:
    """Runs a chain of tiny kernels through the executor, and calls them directly."""
    chain = folder / "chain"
    chain.mkdir(parents=True, exist_ok=True)
    onnx.save(_chain_model(), chain / "chain.onnx")
    _compile("chain", chain / "chain.onnx", chain)
    manifest = json.loads((chain / "manifest.json").read_text(encoding="utf-8"))
    symbols = {entry["name"]: entry["symbol"] for entry in manifest["kernels"]["functions"]}
    first, second = (call["kernel"] for call in manifest["calls"][:2])
    shapes = _weight_shapes(json.loads((chain / "graph.json").read_text(encoding="utf-8")))[:2]
    (chain / "chain.h").write_text(
        f"#define CHAIN_CALLS {CALLS}\n"
        f"#define CHAIN_WIDTHS {WIDTHS[0]}, {WIDTHS[1]}\n"
        f"#define CHAIN_KERNELS {symbols[first]}, {symbols[second]}\n"
        f"#define CHAIN_WEIGHT_ELEMENTS {max(map(math.prod, shapes))}\n"
        f"#define CHAIN_WEIGHT_SHAPES {', '.join(map(_braced, shapes))}\n"
        f'#define CHAIN_KERNEL_NAMES "{first}", "{second}"\n'
        f"int {symbols[first]}(void*, const TVMFFIAny*, int32_t, TVMFFIAny*);\n"
        f"int {symbols[second]}(void*, const TVMFFIAny*, int32_t, TVMFFIAny*);\n",
        encoding="utf-8",
    )
    build = folder / "build"
    _configure(build, f"-DBENCH_CHAIN_DIR={chain}")
    _call(["cmake", "--build", build, "--target", "call_overhead"])
    times = [json.loads(_call([build / "call_overhead", chain])) for _ in range(REPEATS)]
    overhead = statistics.median(run["executor_ns"] - run["direct_ns"] for run in times)
    yield Figure(f"executor, per call, {CALLS} tiny kernels", overhead, "ns", 60.0)


def arena(folder: Path) -> Iterator[Figure]:
    """Compares the arena of each light network with the largest sum of live tensors."""
    for path in sorted(LIGHT.glob("light_*.onnx")):
        name = path.stem.removeprefix("light_")
        _compile(name, path, folder / name)
        manifest = json.loads((folder / name / "manifest.json").read_text(encoding="utf-8"))
        memory = manifest["memory"]
        ratio = memory["arena_bytes"] / memory["live_bytes"]
        yield Figure(f"arena over live tensors, {name}", ratio, "times", 1.10)
        shutil.rmtree(folder / name)


MEASUREMENTS: dict[str, Callable[[Path], Iterator[Figure]]] = {
    "runtime-build": runtime_build,
    "runtime-size": runtime_size,
    "resnet50-pipeline": resnet50_pipeline,
    "resnet50-load": resnet50_load,
    "call-overhead": call_overhead,
    "arena": arena,
}


def _chain_model() -> onnx.ModelProto:
    """Returns x · W0 · W1 · …, each product a kernel call of its own."""
    generator = np.random.default_rng(0)
    nodes, weights = [], []
    for index in range(CALLS):
        shape = (WIDTHS[index % 2], WIDTHS[(index + 1) % 2])
        matrix = generator.standard_normal(shape, np.float32) / np.float32(shape[0] ** 0.5)
        weights.append(numpy_helper.from_array(matrix, f"w{index}"))
        nodes.append(helper.make_node("MatMul", [f"x{index}", f"w{index}"], [f"x{index + 1}"]))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x0", onnx.TensorProto.FLOAT, [1, WIDTHS[0]])],
        [
            helper.make_tensor_value_info(
                f"x{CALLS}", onnx.TensorProto.FLOAT, [1, WIDTHS[CALLS % 2]]
            )
        ],
        weights,
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def _weight_shapes(graph: dict[str, Any]) -> list[list[int]]:
    """Returns the shape of each call's second input: the compiler may have packed the matrix."""
    shapes: list[list[int]] = graph["attrs"]["shape"][1]
    rows: list[int] = graph["node_row_ptr"]
    calls = [node for node in graph["nodes"] if node["op"] == "tvm_op"]
    return [shapes[rows[node["inputs"][1][0]]] for node in calls]


def _braced(shape: list[int]) -> str:
    return "{" + ", ".join(map(str, shape)) + "}"


def _compile(name: str, model: Path, folder: Path) -> float:
    """Compiles a model from nothing in a process of its own; returns the seconds it took."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = os.uname().machine
    spec = {
        "schema": 1,
        "name": name,
        "model": str(model),
        "target": {"triple": f"{machine}-linux-gnu"},
    }
    path = folder / "spec.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    compiler: list[str | Path] = [sys.executable, "-m", "tvmake", "compile"]
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    return _timed([*compiler, "--spec", path, "--output-dir", folder, "--cache-dir", cache])


def _resnet50_build(folder: Path) -> Path:
    build = folder / "build"
    _configure(build, f"-DBENCH_RESNET50={LIGHT / 'light_resnet50.onnx'}")
    _call(["cmake", "--build", build])
    return build


def _configure(build: Path, *options: str) -> None:
    _call(
        [
            "cmake",
            f"-S{PROJECT}",
            f"-B{build}",
            "-GNinja",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DTVMAKE_PYTHON={sys.executable}",
            *options,
        ]
    )


def _timed(command: Sequence[str | Path]) -> float:
    start = time.perf_counter()
    _call(command)
    return time.perf_counter() - start


def _call(command: Sequence[str | Path]) -> str:
    """Runs a command and returns its output; ends the program when it fails."""
    environment = {**os.environ, "PYTHONPATH": str(REPO / "python")}
    result = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        words = " ".join(map(str, command))
        sys.exit(f"{words} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result.stdout


def _row(figure: Figure) -> str:
    mark = "yes" if figure.kept else "no"
    return (
        f"| {figure.name} | {figure.value:.3g} {figure.unit} "
        f"| ≤ {figure.bound:g} {figure.unit} | {mark} |"
    )


def _table(figures: Sequence[Figure]) -> str:
    head = ["| what | measured | bound | kept |", "|---|---|---|---|"]
    return "\n".join([*head, *map(_row, figures)]) + "\n"


def main() -> None:
    """Measures what the command line asks for; ends with 1 when a bound is not kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--markdown", type=Path, help="write the table to this file too")
    parser.add_argument("--build-dir", type=Path, help="keep the builds here (default: temporary)")
    arguments: Any = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="tvmake-figures-") as temporary:
        base = (arguments.build_dir or Path(temporary)).resolve()
        for name in arguments.only:
            (base / name).mkdir(parents=True, exist_ok=True)
            for figure in MEASUREMENTS[name](base / name):
                print(_row(figure), flush=True)
                figures.append(figure)
    if arguments.json:
        content = [{**asdict(figure), "kept": figure.kept} for figure in figures]
        arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text(_table(figures), encoding="utf-8")
    sys.exit(not all(figure.kept for figure in figures))


if __name__ == "__main__":
    main()
