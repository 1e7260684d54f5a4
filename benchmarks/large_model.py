"""Peak memory of compiling a model that is large: its weights lie in a file beside it.

    python benchmarks/large_model.py --gigabytes 6

The model is a chain of matrix products with random weights. The bound is 1.5 times the weights.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

REPO = Path(__file__).resolve().parents[1]
BOUND = 1.5
_SIDE = 4096  # of the matrices: 64 MiB each


def write_model(folder: Path, weight_bytes: int) -> tuple[Path, int]:
    """Write the model and its weights; returns its path and the bytes of the weights."""
    generator = np.random.default_rng(0)
    nodes, tensors, value = [], [], "x"
    with (folder / "weights.bin").open("wb") as file:
        for index in range(max(1, weight_bytes // (_SIDE * _SIDE * 4))):
            matrix = generator.standard_normal((_SIDE, _SIDE), dtype=np.float32)
            tensor = TensorProto(
                name=f"w{index}",
                data_type=TensorProto.FLOAT,
                dims=matrix.shape,
                data_location=TensorProto.EXTERNAL,
            )
            place = {"location": "weights.bin", "offset": file.tell(), "length": matrix.nbytes}
            for key, entry in place.items():
                tensor.external_data.add(key=key, value=str(entry))
            (matrix * _SIDE**-0.5).tofile(file)
            tensors.append(tensor)
            nodes.append(helper.make_node("MatMul", [value, tensor.name], [f"h{index}"]))
            value = f"h{index}"
        size = file.tell()
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, _SIDE]) for name in ("x", value)
    )
    graph = helper.make_graph(nodes, "chain", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path, size


def main() -> None:
    """Write the model, compile it, and print the peak of its memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=6.0, help="of weights (default: 6)")
    parser.add_argument("--folder", type=Path, help="where to write (default: temporary)")
    parser.add_argument("--strict", action="store_true", help="fail when the bound is not kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        path, size = write_model(Path(temporary), int(arguments.gigabytes * 1e9))
        start = time.perf_counter()
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "tvmake",
            "compile",
            path,
            "-o",
            f"{temporary}/out",
            "-q",
        ]
        environment = {**os.environ, "PYTHONPATH": str(REPO / "python")}
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=True)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print("| weights | peak memory | over weights | bound | time |")
    print("|---|---|---|---|---|")
    sizes = f"{size / 1e9:.2f} GB | {peak / 1e9:.2f} GB | {peak / size:.2f}"
    print(f"| {sizes} | ≤ {BOUND} | {seconds:.0f} s |")
    if arguments.strict and peak > BOUND * size:
        sys.exit(1)


if __name__ == "__main__":
    main()
