"""manifest.json: all that is known of a compiled model, for the templates and for people."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tvmake.emit.dtype import c_type, dlpack_type
from tvmake.lower.extents import readable
from tvmake.manifest import SCHEMA, UNKNOWN

if TYPE_CHECKING:
    from tvmake.emit.kernels import KernelObject
    from tvmake.frontend.imported import ImportedModel
    from tvmake.lower import Call, Graph, MemoryPlan, Tensor
    from tvmake.spec import ModelSpec
    from tvmake.target import Target


def manifest_json(
    spec: ModelSpec,
    target: Target,
    imported: ImportedModel,
    graph: Graph,
    plan: MemoryPlan,
    kernels: KernelObject,
    weights: tuple[str, int],
    hashes: dict[str, str],
    executor: tuple[str, str],
) -> str:
    """Describe a compiled model.

    `weights` is the weights' id and their file's size; `hashes` has the SHA-256 of the model file
    ("model"), of kernels.o and of graph.json; `executor` is the executor and why it is that one.
    """
    weights_id, weights_bytes = weights
    document = {
        "schema": SCHEMA,
        "name": spec.name,
        "namespace": spec.namespace or spec.name,
        "executor": executor[0],
        "executor_reason": executor[1],
        "model": {"file": spec.model.name, "sha256": hashes["model"], **imported.details},
        "versions": versions(),
        "target": {
            "triple": target.triple,
            "cpu": target.cpu,
            "features": list(target.features),
            "required_cpu_features": list(target.required_features),
            "pointer_bits": target.pointer_bits,
            "endian": target.endian,
        },
        "inputs": _tensors(
            [graph.tensors[index] for index in graph.inputs], imported.inputs, imported.input_types
        ),
        "outputs": _tensors(
            [graph.tensors[index] for index in graph.outputs],
            imported.outputs,
            imported.output_types,
        ),
        "preprocess": [asdict(prepared) for prepared in imported.prepared],
        "memory": {
            "arena_bytes": plan.arena_bytes,
            "live_bytes": plan.live_bytes,
            "tensors_bytes": plan.tensors_bytes,
            "weights_bytes": sum(value.nbytes for value in graph.values),
            "alignment": plan.alignment,
        },
        "weights": {
            "mode": spec.weights,
            "file": "weights.bin",
            "id": weights_id,
            "bytes": weights_bytes,
        },
        "graph": {"file": "graph.json", "sha256": hashes["graph.json"]},
        "kernels": {
            "file": "kernels.o",
            "sha256": hashes["kernels.o"],
            "backend_symbols": list(kernels.backend_symbols),
            "functions": [
                {"name": name, "symbol": symbol} for name, symbol in kernels.symbols.items()
            ],
        },
        "calls": _calls(graph),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def versions() -> dict[str, str]:
    """What compiles: part of a model's provenance."""
    import tvm
    import tvm_ffi
    from tvm.target import codegen

    from tvmake import __version__

    return {
        "tvmake": __version__,
        "tvm": str(tvm.__version__),
        "tvm_ffi": str(tvm_ffi.__version__),
        "llvm": str(codegen.llvm_version_major()),
    }


def _tensors(
    tensors: list[Tensor], names: tuple[str, ...], types: tuple[str, ...]
) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = []
    taken: set[str] = set()
    types = types or tuple(tensor.dtype for tensor in tensors)
    for tensor, name, dtype in zip(tensors, names, types, strict=True):
        code, bits, lanes = dlpack_type(tensor.dtype)
        unique = identifier(name, taken)
        dims = tensor.dims or tensor.shape
        result.append(
            {
                "name": name,
                "identifier": unique,
                "dtype": dtype or tensor.dtype,
                "ctype": c_type(tensor.dtype),
                "code": code,
                "bits": bits,
                "lanes": lanes,
                "shape": [d if isinstance(d, int) else UNKNOWN for d in dims],
                "dims": [readable(dim) for dim in dims],
                "max_shape": list(tensor.shape),
                "bytes": tensor.bytes,
            }
        )
    return result


def identifier(name: str, taken: set[str]) -> str:
    """A C identifier for a tensor's name that differs from those taken."""
    base = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "tensor"
    base = f"t{base}" if base[0].isdigit() else base
    unique, count = base, 1
    while unique in taken:
        count += 1
        unique = f"{base}_{count}"
    taken.add(unique)
    return unique


def _calls(graph: Graph) -> list[dict[str, Any]]:
    first = len(graph.inputs) + len(graph.weights)
    return [_call(call, first + i) for i, call in enumerate(graph.calls) if not call.is_alias]


def _call(call: Call, node: int) -> dict[str, Any]:
    sources = call.provenance.sources if call.provenance else ()
    tensor = call.provenance.tensor if call.provenance else None
    num_results = len(call.outputs) - call.num_workspaces
    return {
        "name": call.name,
        "kernel": call.kernel,
        "node": node,
        "sources": [{"name": source.name, "op_type": source.op_type} for source in sources],
        "onnx_outputs": [tensor if num_results == 1 else None] * num_results,
    }
