"""The model `pair`, compiled by hand: y = x * w + ids, positive = any(y > 0) per row.

Two inputs of different types, two outputs of one kernel, and names that need escaping everywhere.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

NAME = "pair"
X = "x"
IDS = 'ids "0"*/??/'
Y = "class"
POSITIVE = "größer\\"
WEIGHTS = np.array([1.0, -2.0, 0.5], np.float32)

KERNELS_C = Path(__file__).with_name("pair_kernels.c")


def reference(x: Array, ids: Array) -> tuple[Array, Array]:
    """The two outputs."""
    y = x * WEIGHTS + ids.astype(np.float32)
    return y, np.any(y > 0, axis=1)


def weights_bin() -> bytes:
    """One float32[3] tensor."""
    data = struct.pack("<QQBBHI", 128, WEIGHTS.nbytes, 2, 32, 1, 1).ljust(64, b"\0")
    data += WEIGHTS.tobytes().ljust(64, b"\0")
    digest = hashlib.sha256(data).digest()
    header = struct.pack("<8sIIQ32sII", b"TVMAKEW1", 128, 1, 64 + len(data), digest, 64, 0)
    return header + data


def graph_json() -> bytes:
    """Three arguments and two kernel calls, the second of which has two results."""
    entries = [  # dtype, shape, byte offset
        ("float32", [2, 3], 0),
        ("int64", [3], 64),
        ("float32", [3], -1),
        ("float32", [2, 3], 128),
        ("float32", [2, 3], 192),
        ("bool", [2], 256),
    ]
    graph = {
        "nodes": [
            *({"op": "null", "name": name, "inputs": []} for name in (X, IDS, "p0")),
            _call("scale", [[0, 0, 0], [2, 0, 0]], 1),
            _call("combine", [[3, 0, 0], [1, 0, 0]], 2),
        ],
        "arg_nodes": [0, 1, 2],
        "heads": [[4, 0, 0], [4, 1, 0]],
        "node_row_ptr": [0, 1, 2, 3, 4, 6],
        "attrs": {
            "dltype": ["list_str", [dtype for dtype, _, _ in entries]],
            "shape": ["list_shape", [shape for _, shape, _ in entries]],
            "storage_id": ["list_int", list(range(len(entries)))],
            "device_index": ["list_int", [1] * len(entries)],
            "byte_offset": ["list_int", [offset for _, _, offset in entries]],
        },
        "tvmake": {
            "schema": 1,
            "arena_bytes": 320,
            "alignment": 64,
            "weights_id": weights_bin()[24:56].hex(),
            "inputs": [0, 1],
            "outputs": [Y, POSITIVE],
            "params": [2],
        },
    }
    return json.dumps(graph).encode()


def _call(name: str, inputs: list[list[int]], outputs: int) -> dict[str, Any]:
    attrs = {
        "func_name": name,
        "num_inputs": str(len(inputs)),
        "num_outputs": str(outputs),
        "num_workspaces": "0",
        "flatten_data": "0",
    }
    return {"op": "tvm_op", "name": name, "attrs": attrs, "inputs": inputs}


def tensor(name: str, identifier: str, dtype: str, shape: list[int]) -> dict[str, Any]:
    """A manifest's entry of an input or output."""
    numpy = np.dtype(dtype)
    return {
        "name": name,
        "identifier": identifier,
        "dtype": dtype,
        "ctype": {"float32": "float", "bool": "bool"}.get(dtype, f"{dtype}_t"),
        "code": {"f": 2, "i": 0, "u": 1, "b": 6}[numpy.kind],
        "bits": 8 * numpy.itemsize,
        "lanes": 1,
        "shape": shape,
        "dims": shape,
        "max_shape": shape,
        "bytes": numpy.itemsize * int(np.prod(shape)),
    }


def write(folder: Path, kernels_o: bytes = b"", **changes: object) -> Path:
    """Write what the compiler would; give the manifest's path. `changes` replace its entries."""
    graph, weights = graph_json(), weights_bin()
    document = {
        "schema": 1,
        "name": NAME,
        "namespace": "acme::pair",
        "executor": "graph",
        "executor_reason": "all shapes are static",
        "model": {
            "file": "pair.onnx",
            "sha256": hashlib.sha256(b"pair").hexdigest(),
            "format": "onnx",
            "opset": 17,
            "ir_version": 8,
            "producer": "by hand",
        },
        "versions": {"tvmake": "0.1.0", "tvm": "0.27", "tvm_ffi": "0.1", "llvm": "22.1.0"},
        "target": {
            "triple": "x86_64-linux-gnu",
            "cpu": "",
            "features": [],
            "required_cpu_features": ["sse2"],
            "pointer_bits": 64,
            "endian": "little",
        },
        "inputs": [tensor(X, "x", "float32", [2, 3]), tensor(IDS, "ids_0", "int64", [3])],
        "outputs": [
            tensor(Y, "class", "float32", [2, 3]),
            tensor(POSITIVE, "x", "bool", [2]),
        ],
        "preprocess": [],
        "memory": {
            "arena_bytes": 320,
            "live_bytes": 256,
            "alignment": 64,
            "weights_bytes": len(weights),
            "tensors_bytes": 320,
        },
        "weights": weights_entry("EMBED"),
        "graph": {"file": "graph.json", "sha256": hashlib.sha256(graph).hexdigest()},
        "kernels": {
            "file": "kernels.o",
            "sha256": hashlib.sha256(kernels_o).hexdigest(),
            "backend_symbols": ["__TVMBackendParallelLaunch"],
            "functions": [
                {"name": "scale", "symbol": "__tvm_ffi_pair_scale"},
                {"name": "combine", "symbol": "__tvm_ffi_pair_combine"},
            ],
        },
        "calls": [
            {
                "name": "scale",
                "kernel": "scale",
                "node": 3,
                "sources": [{"name": "/scale/Mul", "op_type": "Mul"}],
                "onnx_outputs": [None],
            },
            {
                "name": "combine",
                "kernel": "combine",
                "node": 4,
                "sources": [
                    {"name": "/Add", "op_type": "Add"},
                    {"name": "/Greater", "op_type": "Greater"},
                ],
                "onnx_outputs": [Y, POSITIVE],
            },
        ],
    }
    document.update(changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernels.o").write_bytes(kernels_o)
    (folder / "weights.bin").write_bytes(weights)
    (folder / "graph.json").write_bytes(graph)
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return manifest


def weights_entry(mode: str) -> dict[str, object]:
    """The manifest's `weights`."""
    blob = weights_bin()
    return {"mode": mode, "file": "weights.bin", "id": blob[24:56].hex(), "bytes": len(blob)}


def definitions(folder: Path) -> list[str]:
    """The compiler flags that tell the loader its files."""
    files = {"GRAPH": "graph.json", "WEIGHTS": "weights.bin"}
    return [f'-DTVMAKE_{name}_FILE="{folder / file}"' for name, file in files.items()]
