"""ONNX files: read, check, fix the shapes. Nothing here knows TVM."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import onnx
import onnx.checker
import onnx.shape_inference
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from tvmake.errors import ModelError, SpecError, UnsupportedError, did_you_mean, nearest
from tvmake.spec import InputSpec

from . import onnx_external
from .imported import check_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .flatten import FlatGraph

_PROTOBUF_LIMIT = 1 << 31
_MISPLACED = {"SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"}

# Operators whose shape ONNX infers wrongly: for STFT's `onesided` it takes the other case.
WRONGLY_INFERRED = frozenset({"STFT"})


def read(path: Path) -> tuple[ModelProto, tuple[str, ...]]:
    """Parse and check an ONNX file, its external data included.

    Returns:
        The model, and every file that was read.

    Raises:
        ModelError: when it is not ONNX, is truncated, or breaks the ONNX rules.
    """
    data = path.read_bytes()
    if not data:
        raise ModelError("the model file is empty", where=str(path))
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        # Every ONNX writer puts ir_version (field 1, a varint) first.
        what = (
            "the ONNX file is truncated or damaged"
            if data[0] == 0x08
            else "the file is not an ONNX model"
        )
        raise ModelError(what, where=str(path), fix="export or copy the model again") from error
    is_onnx = data[0] == 0x08
    del data  # the model holds the same
    if not model.graph.output or not model.opset_import:
        what = "truncated or damaged" if is_onnx else "not an ONNX model"
        raise ModelError(
            f"the file is {what}: it has no graph with outputs",
            where=str(path),
            fix="export or copy the model again",
        )
    external = onnx_external.attach(model, path)
    _name_domains(model)
    if not all(output.type.tensor_type.HasField("shape") for output in model.graph.output):
        # Legal in practice, though the checker below wants the shapes of outputs spelled out.
        model = infer_shapes(model, path)
    unknown = [
        output.type.tensor_type
        for output in model.graph.output
        if output.type.HasField("tensor_type") and not output.type.tensor_type.HasField("shape")
    ]
    for tensor in unknown:
        tensor.shape.SetInParent()  # any will do for the checker
    try:
        onnx.checker.check_model(onnx_external.without_large(model))
    # The latter when the checker's message quotes a damaged name.
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        raise _broken_rule(str(error), model, path) from error
    for tensor in unknown:
        tensor.ClearField("shape")
    return model, (str(path), *external)


def _broken_rule(error: str, model: ModelProto, path: Path) -> ModelError:
    unknown = re.search(r"No Op registered for (\S+) with domain_version of (\d+)", error)
    if not unknown:
        return ModelError(f"the model breaks the ONNX rules: {error}", where=str(path))
    operator, version = unknown.groups()
    users = [node for node in walk_nodes(model.graph) if node.op_type == operator]
    domain = users[0].domain if users else ""
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == domain}
    if operator in known:
        return ModelError(
            f"operator {operator} is not in opset {version}, which the model says it uses",
            where=str(path),
            fix="export the model with an opset that has it",
        )
    close = nearest(operator, known)
    return ModelError(
        f"ONNX has no operator {operator}",
        where=str(path),
        expected=close and f"an operator of opset {version}; the nearest is {close}",
        fix="if it is an operator of your own, give it a domain and a function of ONNX operators",
    )


def _name_domains(model: ModelProto) -> None:
    """Put operators that onnxruntime writes as if they were ONNX's into its domain, in place."""
    misplaced = [
        node
        for node in walk_nodes(model.graph)
        if node.op_type in _MISPLACED and node.domain in ("", "ai.onnx")
    ]
    for node in misplaced:
        node.domain = "com.microsoft"
    if misplaced and "com.microsoft" not in opsets(model):
        model.opset_import.add(domain="com.microsoft", version=1)


def opset(model: ModelProto) -> int:
    """The version of the default operator set."""
    return opsets(model).get("", 1)


def opsets(model: ModelProto) -> dict[str, int]:
    """The version of each operator set, by domain; the default domain is the empty one."""
    return {
        "" if entry.domain == "ai.onnx" else entry.domain: int(entry.version)
        for entry in model.opset_import
    }


def graph_inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """The inputs a caller must set: old exporters list the weights among them."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def walk_nodes(graph: GraphProto | FlatGraph) -> Iterator[NodeProto]:
    """Every node, those of subgraphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from walk_nodes(attribute.g)
            for subgraph in attribute.graphs:
                yield from walk_nodes(subgraph)


def fix_inputs(
    model: ModelProto, specs: Sequence[InputSpec], path: Path, *, dynamic: bool = False
) -> None:
    """Give inputs the shapes that are asked for, in place.

    Args:
        model: the model.
        specs: the shapes.
        path: the model's file, for messages.
        dynamic: whether dimensions may stay symbolic. Each of them gets a name, then.

    Raises:
        SpecError: when INPUTS contradicts the model or names no input.
        UnsupportedError: when an input is still dynamic and may not be, or has no rank.
    """
    values = {value.name: value for value in graph_inputs(model.graph)}
    for spec in specs:
        if spec.name not in values:
            raise SpecError(
                f"INPUTS names '{spec.name}', which is no input of the model",
                where=str(path),
                expected="one of: " + ", ".join(values),
                fix=did_you_mean(spec.name, values),
            )
        _fix_input(values[spec.name], spec, path)
    unknown = [
        value
        for value in values.values()
        if is_tensor(value) and (not _has_rank(value) if dynamic else None in _dims(value))
    ]
    if unknown:
        example = " ".join(_suggestion(value) for value in unknown)
        raise UnsupportedError(
            "the model has inputs of dynamic shape: " + ", ".join(map(show, unknown)),
            where=str(path),
            expected="shapes of known rank" if dynamic else "static shapes",
            fix=f"fix them with INPUTS, for example: INPUTS {example}"
            + ("" if dynamic else "; or EXECUTOR vm"),
        )
    _name_dims(list(values.values()))


def symbols(model: ModelProto) -> tuple[str, ...]:
    """The symbolic dimensions of the inputs, in the order they appear."""
    found: dict[str, None] = {}
    for value in graph_inputs(model.graph):
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                found.setdefault(dim.dim_param)
    return tuple(found)


def keep_outputs(model: ModelProto, names: Sequence[str], path: Path) -> None:
    """Make the named tensors the model's outputs, in place. An output may be any tensor.

    Raises:
        SpecError: when a name is no tensor of the model.
    """
    if not names:
        return
    known = {value.name: value for value in model.graph.value_info}
    known |= {value.name: value for value in model.graph.output}
    tensors = {name for node in model.graph.node for name in node.output if name} | set(known)
    check_outputs(names, tensors, [output.name for output in model.graph.output], path)
    outputs = [known.get(name) or ValueInfoProto(name=name) for name in names]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    _drop_unused_nodes(model.graph)


def infer_shapes(model: ModelProto, path: Path) -> ModelProto:
    """ONNX's own shape inference, which is also a check of the shapes against each other.

    Raises:
        ModelError: when shapes or types contradict each other.
    """
    bare = onnx_external.without_large(model)
    if bare.ByteSize() >= _PROTOBUF_LIMIT:
        return model
    # Most operators of ai.onnx.ml have no inference, which a strict one takes for an error; and
    # where ONNX infers a wrong shape, contradictions are of no meaning.
    strict = all(
        node.domain != "ai.onnx.ml" and node.op_type not in WRONGLY_INFERRED
        for node in walk_nodes(model.graph)
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(bare, strict_mode=strict, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"the model's shapes contradict each other: {error}",
            where=str(path),
            fix="check INPUTS and the model",
        ) from error
    for field in ("node", "value_info", "output"):
        known = getattr(model.graph, field)
        del known[:]
        known.extend(getattr(inferred, field))
    return model


def dtype_name(elem_type: int) -> str:
    """NumPy's name of an ONNX element type."""
    return str(onnx.helper.tensor_dtype_to_np_dtype(elem_type))


def _fix_input(value: ValueInfoProto, spec: InputSpec, path: Path) -> None:
    tensor = value.type.tensor_type
    dtype, dims = dtype_name(tensor.elem_type), _dims(value)
    contradiction = (
        dtype != spec.dtype
        or (tensor.HasField("shape") and len(dims) != len(spec.shape))
        or any(d is not None and d != s for d, s in zip(dims, spec.shape, strict=False))
    )
    if contradiction:
        raise SpecError(
            f"INPUTS entry '{spec}' contradicts the model", where=str(path), expected=show(value)
        )
    shape = onnx.TensorShapeProto()
    for size in spec.shape:
        if isinstance(size, str):
            shape.dim.add().dim_param = size
        else:
            shape.dim.add().dim_value = size
    tensor.shape.CopyFrom(shape)


def _has_rank(value: ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.HasField("shape"))


def _name_dims(values: Sequence[ValueInfoProto]) -> None:
    """Give every symbolic dimension a name that is an identifier, in place."""
    for value in values:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                name = dim.dim_param or f"{value.name}_{axis}"
                name = re.sub(r"[^A-Za-z0-9_]", "_", name)
                dim.dim_param = f"d{name}" if name[0].isdigit() else name


def _dims(value: ValueInfoProto) -> list[int | None]:
    """The dimensions; None for a dynamic one, and for a tensor of unknown rank."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return [None]
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]


def show(value: ValueInfoProto) -> str:
    """A value as INPUTS would write it, with symbolic dimensions: x=float32[N,3]."""
    if not is_tensor(value):
        return f"{value.name}={value.type.WhichOneof('value') or 'unknown'}"
    tensor = value.type.tensor_type
    dtype = dtype_name(tensor.elem_type)
    if not tensor.HasField("shape"):
        return f"{value.name}={dtype}[unknown rank]"
    dims = (
        str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in tensor.shape.dim
    )
    return f"{value.name}={dtype}[{','.join(dims)}]"


def _suggestion(value: ValueInfoProto) -> str:
    dims = ",".join(str(1 if dim is None else dim) for dim in _dims(value))
    return f"{value.name}={dtype_name(value.type.tensor_type.elem_type)}[{dims}]"


def _drop_unused_nodes(graph: GraphProto) -> None:
    needed = {output.name for output in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
            needed |= {
                name
                for attribute in node.attribute
                for inner in walk_nodes(attribute.g)
                for name in inner.input
            }
    del graph.node[:]
    graph.node.extend(reversed(kept))


def is_tensor(value: ValueInfoProto) -> bool:
    """Whether the value is a dense tensor of a numeric type (not a sequence, map or string)."""
    return (
        value.type.WhichOneof("value") == "tensor_type"
        and value.type.tensor_type.elem_type != TensorProto.STRING
    )
