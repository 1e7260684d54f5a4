"""Inputs whose values the compiler must know, because shapes or axes depend on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from tvmake.errors import SpecError, did_you_mean

from . import onnx_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from onnx import FunctionProto, ModelProto, NodeProto

    from tvmake.spec import InputValue

# Operator -> its operands that decide about the shape of a result, or that kernels are made for.
_COMPILE_TIME_OPERANDS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "Compress": (1,),
    "ConstantOfShape": (0,),
    "CumProd": (1,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "If": (0,),
    "Loop": (0, 1),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "SequenceAt": (1,),
    "SequenceErase": (1,),
    "SequenceInsert": (2,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "Tile": (1, 2),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
_SHAPE_READERS = {"Shape", "Size"}  # need the shape of their operand, never its values
_HIGHEST_RANK = 1  # what describes a shape is a vector or a scalar


def compile_time_inputs(model: ModelProto) -> frozenset[str]:
    """The graph inputs that must be constants: vectors and scalars that shapes depend on."""
    small = {
        value.name
        for value in onnx_file.graph_inputs(model.graph)
        if value.type.tensor_type.HasField("shape")
        and len(value.type.tensor_type.shape.dim) <= _HIGHEST_RANK
    }
    functions = {(f.domain, f.name): f for f in model.functions}
    return frozenset(small & _needed(list(onnx_file.walk_nodes(model.graph)), functions))


_Functions: TypeAlias = "Mapping[tuple[str, str], FunctionProto]"


def _needed(nodes: Sequence[NodeProto], functions: _Functions) -> set[str]:
    """The values that compile-time operands of the nodes depend on."""
    sources: dict[str, set[str]] = {}
    for node in nodes:
        for name, found in _sources(node):
            sources.setdefault(name, set()).update(found)
    waiting = [name for node in nodes for name in _operands(node, functions)]
    needed = set[str]()
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += sources.get(name, ())
    return needed


def _sources(node: NodeProto) -> Iterator[tuple[str, Iterable[str]]]:
    """What the values depend on that a node defines, in its subgraphs too."""
    if node.op_type in _SHAPE_READERS:
        return
    graphs = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    results = [output.name for graph in graphs for output in graph.output]
    for name in node.output:
        yield name, (*node.input, *results)
    for graph in graphs:
        for value in graph.input:  # of a loop's body: its state, or the results of a turn before
            yield value.name, (*node.input, *results)


def bind_inputs(model: ModelProto, values: Sequence[InputValue], path: Path) -> None:
    """Turn inputs into constants, in place.

    Raises:
        SpecError: when a name is no input, or a value does not fit it.
    """
    inputs = {value.name: value for value in onnx_file.graph_inputs(model.graph)}
    for entry in values:
        if entry.name not in inputs:
            raise SpecError(
                f"INPUTS names '{entry.name}', which is no input of the model",
                where=str(path),
                expected="one of: " + ", ".join(inputs),
                fix=did_you_mean(entry.name, inputs),
            )
        model.graph.initializer.append(_tensor(inputs[entry.name], entry, path))
    bound = {entry.name for entry in values}
    kept = [value for value in model.graph.input if value.name not in bound]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _tensor(value: onnx.ValueInfoProto, entry: InputValue, path: Path) -> onnx.TensorProto:
    if not onnx_file.is_tensor(value):
        raise SpecError(
            f"INPUTS gives '{entry.name}' a value", where=str(path), expected=onnx_file.show(value)
        )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    try:
        array = np.array(entry.value)
        converted = array.astype(dtype)
    except (ValueError, OverflowError) as error:
        raise SpecError(
            f"INPUTS entry '{entry}' is no tensor: {error}",
            where=str(path),
            expected=onnx_file.show(value),
        ) from error
    shape = value.type.tensor_type.shape
    fits = not value.type.tensor_type.HasField("shape") or (
        len(shape.dim) == array.ndim
        and all(
            not dim.HasField("dim_value") or dim.dim_value == size
            for dim, size in zip(shape.dim, array.shape, strict=False)
        )
    )
    exact = array.dtype.kind == dtype.kind or bool(np.all(converted == array))
    if not fits or not exact:
        raise SpecError(
            f"INPUTS entry '{entry}' contradicts the model",
            where=str(path),
            expected=onnx_file.show(value),
        )
    return numpy_helper.from_array(converted, entry.name)


def _operands(node: NodeProto, functions: _Functions) -> Iterator[str]:
    function = functions.get((node.domain, node.op_type))
    if function is None:
        indices: Iterable[int] = _COMPILE_TIME_OPERANDS.get(node.op_type, ())
    else:
        needed = _needed(list(function.node), functions)
        indices = [index for index, name in enumerate(function.input) if name in needed]
    return (node.input[index] for index in indices if index < len(node.input) and node.input[index])
