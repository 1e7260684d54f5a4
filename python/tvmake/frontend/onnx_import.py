"""ONNX to Relax: TVM's importer, fed with a checked model and told where each value comes from."""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import tvm
from onnx import ModelProto, NodeProto
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tvmake.errors import ModelError, UnsupportedError
from tvmake.spec import InputSpec, ModelSpec

from . import onnx_external, onnx_file
from .converters import CONVERTERS, Operator, convert_stored, qualified_name
from .dynamic import DynamicShapes
from .flatten import RESOLVED, FlatGraph, element_names, flat_inputs, flatten, has_body
from .imported import (
    ImportedModel,
    SourceNode,
    Symbol,
    check_bounds,
    variable_name,
    why_dynamic,
)
from .loops import LOOP_MARKS
from .onnx_bind import bind_inputs
from .onnx_branches import inline_branches
from .onnx_elements import STORED, interface_types, store_elements
from .onnx_zipmap import drop_zip_maps
from .unsupported import TEXT_ADVICE, onnx_advice, unsupported_error

_HANDLED_BY_THE_IMPORTER = {"Constant", "If", *LOOP_MARKS}

# TVM's converters of these are incomplete or wrong; ONNX defines them by other operators.
_CONTROL_FLOW = {"If", "Loop", "Scan"}
_BODY_IS_BETTER = {"Attention"}


def import_onnx(spec: ModelSpec) -> ImportedModel:
    """Read an ONNX file into Relax, with the shapes that the spec asks for.

    Raises:
        ModelError, SpecError, UnsupportedError: see `onnx_file` and `frontend.import_model`.
    """
    path = spec.model
    model, files = onnx_file.read(path)
    drop_zip_maps(model)
    bind_inputs(model, spec.values, path)
    fixed = _fix_inputs(model, spec)
    symbols = _symbols(model, spec.symbol_bounds(), path)
    onnx_file.keep_outputs(model, spec.outputs, path)
    inferred = onnx_file.infer_shapes(model, path)
    static = spec.executor == "graph"
    graph, module, importer = _import(model, fixed, _known_types(inferred), path, static=static)
    dynamic = _check_shapes(module, path, symbols, static=static)
    return ImportedModel(
        module=module,
        inputs=tuple(value.name for value in graph.input),
        outputs=tuple(value.name for value in graph.output),
        nodes=tuple(importer.nodes),
        files=files,
        details={
            "format": "onnx",
            "opset": onnx_file.opset(model),
            "ir_version": int(model.ir_version),
            "producer": f"{model.producer_name} {model.producer_version}".strip(),
        },
        input_types=tuple(interface_types(graph.input, graph.types)),
        output_types=tuple(interface_types(graph.output, graph.types)),
        symbols=symbols,
        upper=importer.shapes.upper if importer.shapes else {},
        dynamic=dynamic,
    )


def unsupported_operators(model: ModelProto) -> dict[str, list[str]]:
    """The operators that cannot be compiled, each with the names of its nodes."""
    opsets = onnx_file.opsets(model)
    local_functions = {(function.domain, function.name) for function in model.functions}
    found: dict[str, list[str]] = {}
    for node in onnx_file.walk_nodes(model.graph):
        operator = qualified_name(node.domain, node.op_type)
        known = operator in _known_operators() or operator in RESOLVED or has_body(node, opsets)
        if not known and (node.domain, node.op_type) not in local_functions:
            found.setdefault(operator, []).append(node_name(node))
    return found


def is_rewritten(operator: str) -> bool:
    """Whether other operators take the place of this one before it is converted."""
    return operator in RESOLVED or operator not in _known_operators()


def advice(operator: str, model: ModelProto) -> str:
    """What to do about an operator of the model that cannot be compiled."""
    return onnx_advice(operator, _opset(operator, onnx_file.opsets(model)))


def _opset(operator: str, opsets: dict[str, int]) -> int:
    return opsets.get(operator.rpartition(".")[0], 0)


@functools.cache
def _known_operators() -> frozenset[str]:
    convert_map = onnx_frontend._get_convert_map()  # noqa: SLF001 - there is no public one
    return frozenset({*convert_map, *_HANDLED_BY_THE_IMPORTER, *CONVERTERS})


def _fix_inputs(model: ModelProto, spec: ModelSpec) -> dict[str, InputSpec]:
    """Fix the shapes of tensor inputs, in place; the elements of the other inputs by name."""
    specs = {entry.name: entry for entry in spec.inputs}
    others = [v for v in onnx_file.graph_inputs(model.graph) if not onnx_file.is_tensor(v)]
    elements = {name for value in others for name in element_names(value, specs)}
    tensors = [entry for entry in spec.inputs if entry.name not in elements]
    onnx_file.fix_inputs(model, tensors, spec.model, dynamic=spec.executor != "graph")
    return {name: specs[name] for name in elements}


def _known_types(model: ModelProto) -> dict[str, onnx.TypeProto]:
    return {v.name: v.type for v in (*model.graph.value_info, *model.graph.output)}


def _import(
    model: ModelProto,
    elements: dict[str, InputSpec],
    known_types: dict[str, onnx.TypeProto],
    path: Path,
    *,
    static: bool,
) -> tuple[FlatGraph, tvm.IRModule, _Importer]:
    """Flatten the graph and convert it.

    An operator that cannot be converted is replaced by its function body, if ONNX defines one.
    """
    inputs = flat_inputs(onnx_file.graph_inputs(model.graph), elements)
    replaced: set[str] = set()

    def is_supported(node: NodeProto) -> bool:
        operator = qualified_name(node.domain, node.op_type)
        better = operator in _BODY_IS_BETTER and operator not in CONVERTERS
        return operator in _known_operators() and not better and operator not in replaced

    while True:
        graph = flatten(model, inputs, is_supported, known_types, static=static)
        _check_values(graph, path)
        if static:
            _check_control_flow(graph, path)
        _check_operators(graph, path)
        _store(graph)
        if not static:
            inline_branches(graph)
        importer = _Importer(graph, None if static else DynamicShapes())
        try:
            return graph, importer.convert(graph, path), importer
        except UnsupportedError:
            node = importer.failed
            if node is None:
                raise
            operator = qualified_name(node.domain, node.op_type)
            opsets = graph.versions.get(node.output[0], graph.opsets)
            if operator in replaced or not has_body(node, opsets):
                raise
            replaced.add(operator)


def _store(graph: FlatGraph) -> None:
    """Give constants and inputs the types that they are stored as; the model keeps its own."""
    for index, tensor in enumerate(graph.initializer):
        if tensor.data_type in STORED:
            graph.initializer[index] = onnx.TensorProto()
            graph.initializer[index].CopyFrom(tensor)
    store_elements(graph)


def node_name(node: NodeProto) -> str:
    """The node's name, or the one of its first output: exporters may leave names out."""
    return str(node.name) or (str(node.output[0]) if node.output else str(node.op_type))


def _check_operators(graph: FlatGraph, path: Path) -> None:
    unsupported: dict[str, list[str]] = {}
    for node in onnx_file.walk_nodes(graph):
        operator = qualified_name(node.domain, node.op_type)
        if operator not in _known_operators():
            unsupported.setdefault(operator, []).append(node_name(node))
    if unsupported:
        advices = {name: onnx_advice(name, _opset(name, graph.opsets)) for name in unsupported}
        where = f"{path}, opset {_opset('', graph.opsets)}"
        raise unsupported_error(unsupported, where, advices)


def _check_control_flow(graph: FlatGraph, path: Path) -> None:
    for node in graph.node:
        if node.op_type in _CONTROL_FLOW and node.domain in ("", "ai.onnx"):
            raise UnsupportedError(
                f"what {node.op_type} does is known at run time only",
                where=f"{path}, node '{node_name(node)}'",
                expected="a course that is known at compile time",
                fix="EXECUTOR vm, or leave EXECUTOR out",
            )


def _check_values(graph: FlatGraph, path: Path) -> None:
    fixes = [(value, TEXT_ADVICE) for value in graph.input]
    fixes += [(value, "name the outputs that are wanted with OUTPUTS") for value in graph.output]
    for value, fix in fixes:
        kind = value.type.WhichOneof("value")
        if kind is not None and not onnx_file.is_tensor(value):
            is_text = kind == "tensor_type"  # else is_tensor() would have taken it
            raise UnsupportedError(
                f"'{value.name}' is {'a tensor of strings' if is_text else f'of type {kind}'}",
                where=str(path),
                expected="inputs and outputs that are tensors of numbers",
                fix=fix if is_text else None,
            )


class _Importer(onnx_frontend.ONNXGraphImporter):  # type: ignore[misc] # TVM has no types
    """TVM's importer, which names every result after the node that it comes from."""

    def __init__(self, graph: FlatGraph, shapes: DynamicShapes | None) -> None:
        super().__init__(_empty_shapes(graph), {}, keep_params_in_input=False)
        self.opsets = graph.opsets
        self.versions = graph.versions
        self.types = graph.types
        self.shapes = shapes
        self.nodes: list[SourceNode] = []
        self.protos: list[NodeProto] = []
        self.current_node = -1

    @property
    def failed(self) -> NodeProto | None:
        """The node that was being converted."""
        index = self.current_node
        return self.protos[index] if 0 <= index < len(self.protos) else None

    def convert(self, graph: FlatGraph, path: Path) -> tvm.IRModule:
        """The graph as a Relax module.

        Raises:
            UnsupportedError: when an operator cannot be converted; it is `failed` then.
        """
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                return self.from_onnx(graph, graph.opsets.get("", 1))
        except Exception as error:  # TVM's converters raise every kind
            node = self.failed
            if node is None:
                what = f"the model cannot be imported: {error}"
                raise ModelError(what, where=str(path)) from error
            raise UnsupportedError(
                f"operator {node.op_type} cannot be imported: {_first_line(error)}",
                where=f"{path}, node '{node_name(node)}'",
            ) from error

    def _parse_graph_input(self, graph: onnx.GraphProto) -> None:
        super()._parse_graph_input(graph)
        if self.shapes is None:
            return
        for value in self._inputs.values():
            if isinstance(value.ty, relax.TensorType) and value.ty.shape is not None:
                self.shapes.add_input(list(value.ty.shape))

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
        proto = self.protos[node]
        opset = self._versions(proto).get("", opset)
        result = convert_stored(
            self._operator(proto, list(inputs), attrs),
            lambda operator: self._convert(operator, op_name, opset),
        )
        if isinstance(result, relax.Call | relax.TupleGetItem):
            result = self.bb.emit(result, name_hint=variable_name(node))
        return result

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        """Done before, with our own converters in mind."""

    def _convert(self, operator: Operator, op_name: str, opset: int) -> relax.Expr:
        node = self.protos[self.current_node]
        result = self.shapes.convert(node, operator) if self.shapes else None
        if result is not None:
            return result
        converter = CONVERTERS.get(operator.name)
        result = converter(operator) if converter else None
        if result is not None:
            return result
        inputs = onnx_frontend.onnx_input()
        inputs.extend(operator.inputs)
        return super()._convert_operator(op_name, inputs, operator.attributes, opset)

    def _versions(self, node: NodeProto) -> dict[str, int]:
        return self.versions.get(node.output[0], self.opsets)

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
            opset=self._versions(node).get("" if node.domain == "ai.onnx" else node.domain, 1),
            num_outputs=len(node.output),
            builder=self.bb,
            input_types=types[0],
            output_types=types[1],
        )


def _empty_shapes(graph: FlatGraph) -> dict[str, list[int]]:
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
        inputs, outputs = tuple(node.input), tuple(node.output)
        nodes.append(SourceNode(node_name(node), node.op_type, inputs, outputs, is_constant))
    return nodes


def _symbols(model: ModelProto, most: dict[str, int], path: Path) -> tuple[Symbol, ...]:
    """The symbolic dimensions of the inputs, with the bounds that INPUTS gives."""
    names = onnx_file.symbols(model)
    check_bounds(names, most, path)
    return tuple(Symbol(name, most.get(name)) for name in names)


def _check_shapes(
    module: tvm.IRModule, path: Path, symbols: Sequence[Symbol], *, static: bool
) -> str:
    """Check that every shape is known, in terms of symbols if need be.

    Returns:
        Why the model needs EXECUTOR vm; nothing when all shapes are static.

    Raises:
        UnsupportedError: when a shape is not known, or not static though it must be.
    """
    reason = why_dynamic(symbols)
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            variable = binding.var
            is_tuple = isinstance(variable.ty, relax.TupleType)
            for field in variable.ty.fields if is_tuple else [variable.ty]:
                if isinstance(field, relax.ShapeType):
                    continue
                shape = getattr(field, "shape", None)
                if shape is not None and all(isinstance(dim, tvm.tirx.IntImm) for dim in shape):
                    if any(int(dim) < 0 for dim in shape):
                        raise ModelError(
                            f"the value '{variable.name}' has a negative extent: {field}",
                            where=str(path),
                            fix="export or copy the model again",
                        )
                    continue
                if static or shape is None:
                    raise UnsupportedError(
                        f"the value '{variable.name}' has a shape that depends on data: {field}",
                        where=str(path),
                        expected="shapes known at compile time" if static else "a known rank",
                        fix="EXECUTOR vm, or leave EXECUTOR out" if static else None,
                    )
                reason = reason or f"the shape of '{variable.name}' depends on data"
    return reason


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
