"""ONNX to Relax: TVM's importer, fed with a checked model and told where each value comes from."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import onnx
import tvm
from onnx import ModelProto, NodeProto
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tvmake.errors import ModelError, UnsupportedError
from tvmake.spec import ModelSpec

from . import onnx_external, onnx_file
from .converters import CONVERTERS, Operator, convert_stored, qualified_name
from .imported import ImportedModel, SourceNode, variable_name
from .onnx_bind import bind_inputs
from .onnx_elements import interface_types, store_elements, value_types
from .onnx_fold import fold_constants
from .onnx_simplify import simplify

_HANDLED_BY_THE_IMPORTER = {"Constant", "If"}


def import_onnx(spec: ModelSpec) -> ImportedModel:
    """Read an ONNX file into Relax, with the shapes that the spec asks for.

    Raises:
        ModelError, SpecError, UnsupportedError: see `onnx_file` and `frontend.import_model`.
    """
    path = spec.model
    model, files = onnx_file.read(path)
    _check_operators(model, path)
    _check_values(model, path)
    bind_inputs(model, spec.values, path)
    onnx_file.fix_inputs(model, spec.inputs, path)
    onnx_file.keep_outputs(model, spec.outputs, path)
    types = value_types(onnx_file.infer_shapes(model, path))
    fold_constants(model.graph, onnx_file.opset(model))
    simplify(model.graph)
    interface = [
        interface_types(values, types)
        for values in (onnx_file.graph_inputs(model.graph), model.graph.output)
    ]
    store_elements(model.graph)
    module, nodes = _to_relax(model, types, path)
    _check_static(module, path)
    return ImportedModel(
        module=module,
        inputs=tuple(value.name for value in onnx_file.graph_inputs(model.graph)),
        outputs=tuple(value.name for value in model.graph.output),
        nodes=nodes,
        files=files,
        details={
            "format": "onnx",
            "opset": onnx_file.opset(model),
            "ir_version": int(model.ir_version),
            "producer": f"{model.producer_name} {model.producer_version}".strip(),
        },
        input_types=tuple(interface[0]),
        output_types=tuple(interface[1]),
    )


def unsupported_operators(model: ModelProto) -> dict[str, list[str]]:
    """The operators that cannot be compiled, each with the names of its nodes."""
    convert_map = onnx_frontend._get_convert_map()  # noqa: SLF001 - there is no public one
    known = {*convert_map, *_HANDLED_BY_THE_IMPORTER, *CONVERTERS}
    local_functions = {(function.domain, function.name) for function in model.functions}
    found: dict[str, list[str]] = {}
    for node in onnx_file.walk_nodes(model.graph):
        operator = qualified_name(node.domain, node.op_type)
        if operator not in known or (node.domain, node.op_type) in local_functions:
            found.setdefault(operator, []).append(node_name(node))
    return found


def node_name(node: NodeProto) -> str:
    """The node's name, or the one of its first output: exporters may leave names out."""
    return str(node.name) or (str(node.output[0]) if node.output else str(node.op_type))


def _check_operators(model: ModelProto, path: Path) -> None:
    unsupported = unsupported_operators(model)
    if unsupported:
        listing = "; ".join(
            f"{operator} (node{'s' if len(names) > 1 else ''} {', '.join(names)})"
            for operator, names in sorted(unsupported.items())
        )
        raise UnsupportedError(
            f"the model uses operators that tvmake does not support: {listing}",
            where=str(path),
            fix="replace them in the model, or export it with another opset",
        )


def _check_values(model: ModelProto, path: Path) -> None:
    for value in [*onnx_file.graph_inputs(model.graph), *model.graph.output]:
        if not onnx_file.is_tensor(value):
            kind = value.type.WhichOneof("value")
            raise UnsupportedError(
                f"'{value.name}' is of type {kind or 'unknown'}",
                where=str(path),
                expected="inputs and outputs that are tensors of numbers",
            )


class _Importer(onnx_frontend.ONNXGraphImporter):  # type: ignore[misc] # TVM has no types
    """TVM's importer, which names every result after the node that it comes from."""

    def __init__(
        self, opsets: dict[str, int], types: dict[str, int], shapes: dict[str, list[int]]
    ) -> None:
        super().__init__(shapes, {}, keep_params_in_input=False)
        self.opsets = opsets
        self.types = types
        self.nodes: list[SourceNode] = []
        self.protos: list[NodeProto] = []
        self.current_node = -1

    def _construct_nodes(self, graph: onnx.GraphProto) -> None:
        outer = self.current_node  # of the node whose subgraph this is
        self.current_node = len(self.nodes) - 1
        self.nodes += _source_nodes(graph)
        self.protos += graph.node
        super()._construct_nodes(graph)
        self.current_node = outer

    def _parse_array(self, tensor_proto: onnx.TensorProto) -> tvm.runtime.Tensor:
        if onnx_external.is_mapped(tensor_proto):
            return _without_copy(onnx_external.mapped(tensor_proto))
        return super()._parse_array(tensor_proto)

    def _parse_attr(self, attr_proto: Any) -> Any:
        self.current_node += 1  # the importer reads attributes once per node, first of all
        return super()._parse_attr(attr_proto)

    def _convert_operator(self, op_name: str, inputs: Any, attrs: Any, opset: int) -> Any:
        node = self.current_node
        result = convert_stored(
            self._operator(self.protos[node], list(inputs), attrs),
            lambda operator: self._convert(operator, op_name, opset),
        )
        if isinstance(result, relax.Call):
            result = self.bb.emit(result, name_hint=variable_name(node))
        return result

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        """Done before, with our own converters in mind."""

    def _convert(self, operator: Operator, op_name: str, opset: int) -> relax.Expr:
        converter = CONVERTERS.get(operator.name)
        result = converter(operator) if converter else None
        if result is not None:
            return result
        inputs = onnx_frontend.onnx_input()
        inputs.extend(operator.inputs)
        return super()._convert_operator(op_name, inputs, operator.attributes, opset)

    def _operator(
        self, node: NodeProto, inputs: list[relax.Expr | None], attributes: dict[str, Any]
    ) -> Operator:
        types = [
            tuple(self.types.get(name, 0) for name in names) for names in (node.input, node.output)
        ]
        return Operator(
            name=qualified_name(node.domain, node.op_type),
            inputs=inputs,
            attributes=attributes,
            opset=self.opsets.get("" if node.domain == "ai.onnx" else node.domain, 1),
            num_outputs=len(node.output),
            builder=self.bb,
            input_types=types[0],
            output_types=types[1],
        )


def _empty_shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """The inputs without elements: TVM's importer takes a dimension of 0 for an unknown one."""
    shapes = {
        value.name: [
            dim.dim_value if dim.HasField("dim_value") else -1
            for dim in value.type.tensor_type.shape.dim
        ]
        for value in graph.input
    }
    return {name: shape for name, shape in shapes.items() if 0 in shape and -1 not in shape}


def _without_copy(array: Any) -> tvm.runtime.Tensor:
    """A tensor over a NumPy array's memory, if it is aligned as kernels expect it."""
    try:
        return tvm.runtime.from_dlpack(array)
    except (BufferError, RuntimeError, ValueError):
        return tvm.runtime.tensor(array)


def _source_nodes(graph: onnx.GraphProto) -> list[SourceNode]:
    constants = {"", *(tensor.name for tensor in graph.initializer)}
    nodes = []
    for node in graph.node:
        is_constant = constants.issuperset(node.input)
        if is_constant:
            constants.update(node.output)
        nodes.append(SourceNode(node_name(node), node.op_type, node.output[0], is_constant))
    return nodes


def _to_relax(
    model: ModelProto, types: dict[str, int], path: Path
) -> tuple[tvm.IRModule, tuple[SourceNode, ...]]:
    importer = _Importer(onnx_file.opsets(model), types, _empty_shapes(model.graph))
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            module = importer.from_onnx(model.graph, onnx_file.opset(model))
    except Exception as error:  # TVM's converters raise every kind
        index = importer.current_node
        if not 0 <= index < len(importer.nodes):
            raise ModelError(f"the model cannot be imported: {error}", where=str(path)) from error
        node = importer.nodes[index]
        raise UnsupportedError(
            f"operator {node.op_type} cannot be imported: {_first_line(error)}",
            where=f"{path}, node '{node.name}'",
        ) from error
    return module, tuple(importer.nodes)


def _check_static(module: tvm.IRModule, path: Path) -> None:
    """Everything must have a static shape: the graph executor plans memory at compile time."""
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            fields = (
                binding.var.ty.fields
                if isinstance(binding.var.ty, relax.TupleType)
                else [binding.var.ty]
            )
            for field in fields:
                if isinstance(field, relax.ShapeType):
                    continue
                shape = getattr(field, "shape", None)
                if shape is None or not all(isinstance(dim, tvm.tirx.IntImm) for dim in shape):
                    raise UnsupportedError(
                        f"the value '{binding.var.name}' has a shape that depends on data: {field}",
                        where=str(path),
                        expected="shapes known at compile time",
                    )


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
