"""Runs a compiled model's kernels over the planned arena, in this process.

Independent of the C++ executor: what is checked here is the compiler's half, that is the kernels,
the graph and the memory plan. The arena and every output start full of poison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
import tvm_ffi

from tvmake.emit.codegen import compile_module

if TYPE_CHECKING:
    from tvmake.compiler import CompiledModel

    Array = np.ndarray[Any, Any]

_POISON = 0xFF  # NaN in every float type, and no small integer


def run(model: CompiledModel, inputs: dict[str, Array]) -> dict[str, Array]:
    """Run the model once; outputs by name, inputs checked to be unchanged."""
    graph, plan = model.graph, model.plan
    module = tvm.IRModule(
        {name: f.with_attr("global_symbol", name) for name, f in graph.kernels.items()}
    )
    library = compile_module(module, model.target.tvm_target())
    arena = _aligned(plan.arena_bytes, plan.alignment)
    arena[:] = _POISON
    weights = {
        index: copy_aligned(value, plan.alignment)
        for index, value in zip(graph.weights, graph.values, strict=True)
    }

    def array(index: int) -> Array:
        if index in weights:
            return weights[index]
        tensor, offset = graph.tensors[index], plan.offsets[index]
        return arena[offset : offset + tensor.bytes].view(tensor.dtype).reshape(tensor.shape)

    for index, name in zip(graph.inputs, model.imported.inputs, strict=True):
        array(index)[...] = inputs[name]
    for call in graph.calls:
        if not call.is_alias:
            arguments = (array(index) for index in (*call.inputs, *call.outputs))
            library[call.kernel](*map(tvm_ffi.from_dlpack, arguments))
    for index, name in zip(graph.inputs, model.imported.inputs, strict=True):
        np.testing.assert_array_equal(array(index), inputs[name], "input overwritten")
    return {
        name: array(index).copy()
        for index, name in zip(graph.outputs, graph.output_names, strict=True)
    }


def _aligned(size: int, alignment: int) -> Array:
    memory = np.empty(size + alignment, "uint8")
    start = -memory.ctypes.data % alignment
    aligned: Array = memory[start : start + size]
    return aligned


def copy_aligned(value: Array, alignment: int) -> Array:
    memory: Array = _aligned(value.nbytes, alignment).view(value.dtype).reshape(value.shape)
    memory[...] = value
    return memory
