"""PyTorch to Relax: TVM's importer of exported programs, told where each value comes from."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import tvm
from torch import fx
from tvm import relax
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tvmake.errors import ModelError, UnsupportedError
from tvmake.spec import ModelSpec

from . import pt2_program
from .imported import ImportedModel, SourceNode, check_outputs, variable_name, why_dynamic
from .naming import rename_results
from .pt2_program import Program
from .torch_ops import CONVERTERS
from .torch_shapes import TorchShapes
from .unsupported import unsupported_error

_ADVICE = "replace it in the model, or export it to ONNX with torch.onnx.export()"


def import_pt2(spec: ModelSpec) -> ImportedModel:
    """Read a .pt2 file into Relax, with the shapes that the spec asks for.

    Dimensions that it does not fix stay open, unless the executor must be `graph`.

    Raises:
        ModelError, SpecError, UnsupportedError: see `pt2_program` and `frontend.import_model`.
    """
    path = spec.model
    program = pt2_program.read(
        path, spec.inputs, spec.symbol_bounds(), static=spec.executor == "graph"
    )
    outputs = dict(_keep_outputs(program, spec.outputs, path))
    module, nodes = _to_relax(program, outputs, path)
    return ImportedModel(
        module=module,
        inputs=program.inputs,
        outputs=tuple(outputs),
        nodes=nodes,
        files=(str(path),),
        details={"format": "pt2", "producer": f"pytorch {torch.__version__}"},
        symbols=program.dims.symbols,
        dynamic=why_dynamic(program.dims.symbols),
    )


def unsupported_operators(program: Program) -> dict[str, list[str]]:
    """The operators that cannot be compiled, each with the names of its nodes."""
    known = _Importer({}).convert_map
    found: dict[str, list[str]] = {}
    for node in _calls(program):
        if _overload(node) not in known and not _is_number(node):
            found.setdefault(operator_name(node), []).append(node_name(node))
    return found


def operator_name(node: fx.Node) -> str:
    """The operator as PyTorch calls it, without its overload: aten.convolution."""
    return str(node.target).removesuffix(".default")


def _is_number(node: fx.Node) -> bool:
    """Whether a node computes with sizes, which needs no operator."""
    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymBool | torch.SymFloat)


def _overload(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))


def node_name(node: fx.Node) -> str:
    """The node's name, behind the module of the model that it belongs to."""
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    module = str(modules[-1][0]) if modules else ""
    return f"{module}/{node.name}" if module else str(node.name)


class _Importer(ExportedProgramImporter):  # type: ignore[misc] # TVM has no types
    """TVM's importer, which knows the node at hand and keeps every node's result.

    Attributes:
        current: the node being converted.
        results: the value of each node.
        shapes: what is known of open dimensions; None if there are none.
    """

    def __init__(self, outputs: dict[str, fx.Node], shapes: TorchShapes | None = None) -> None:
        super().__init__()
        self.current: fx.Node | None = None
        self.shapes = shapes
        self.results: dict[fx.Node, relax.Expr] = {}
        self._output_nodes = list(outputs.values())
        self.update_convert_map({name: self._own(name) for name in CONVERTERS})
        for name, converter in list(self.convert_map.items()):
            self.convert_map[name] = self._tracked(converter)

    def _tracked(self, converter: Callable[..., Any]) -> Callable[..., Any]:
        def convert(node: fx.Node, *rest: Any) -> Any:
            self.current = node
            if self.shapes is None:
                return converter(node, *rest)
            self.shapes.builder, self.shapes.results = self.block_builder, self.env
            arguments = self._retrieve_args(node.args)
            return self.shapes.convert(node, arguments, lambda: converter(node, *rest))

        return convert

    def _check_unsupported_func_type(self, nodes: Any) -> None:
        """Done before; what computes with sizes needs no converter."""

    def _process_derived_symbol(self, symbol: Any, *_: Any) -> tuple[str, Any]:
        """A size of an input."""
        assert self.shapes is not None
        return str(symbol), self.shapes.expression(symbol)

    def _translate_fx_graph(self, graph_module: Any, nodes: Any, *rest: Any) -> Any:
        for node in nodes:
            if node.op == "call_function" and _overload(node) not in self.convert_map:
                self.convert_map[_overload(node)] = self._tracked(_no_operator)
        is_main = not self.results
        result = super()._translate_fx_graph(graph_module, nodes, *rest)
        if is_main:
            self.results = dict(self.env)
            result = tuple(self.env[node] for node in self._output_nodes)
        return result

    def _own(self, name: str) -> Callable[[fx.Node], Any]:
        def convert(node: fx.Node) -> Any:
            arguments = self._retrieve_args(node.args)
            return CONVERTERS[name](self.block_builder, *arguments, **node.kwargs)

        return convert


def _no_operator(node: fx.Node) -> Any:
    raise ValueError(f"{node.target} is no operator of tensors")


def _calls(program: Program) -> list[fx.Node]:
    return [node for node in program.exported.graph.nodes if node.op == "call_function"]


def _keep_outputs(
    program: Program, names: Sequence[str], path: Path
) -> tuple[tuple[str, fx.Node], ...]:
    if not names:
        return program.outputs
    known = {node.name: node for node in _calls(program) if pt2_program.is_tensor(node)}
    known |= dict(program.outputs)
    check_outputs(names, known, [name for name, _ in program.outputs], path)
    return tuple((name, known[name]) for name in names)


def _source_nodes(program: Program, outputs: dict[str, fx.Node]) -> tuple[SourceNode, ...]:
    names = {node: name for name, node in program.outputs} | {
        n: name for name, n in outputs.items()
    }
    varying = set(program.exported.graph_signature.user_inputs)
    nodes = []
    for node in _calls(program):
        is_constant = varying.isdisjoint(source.name for source in node.all_input_nodes)
        if not is_constant:
            varying.add(node.name)
        inputs, output = (
            tuple(names.get(value, value.name) for value in values)
            for values in (node.all_input_nodes, (node,))
        )
        nodes.append(SourceNode(node_name(node), operator_name(node), inputs, output, is_constant))
    return tuple(nodes)


def _to_relax(
    program: Program, outputs: dict[str, fx.Node], path: Path
) -> tuple[tvm.IRModule, tuple[SourceNode, ...]]:
    unsupported = unsupported_operators(program)
    if unsupported:
        raise unsupported_error(unsupported, str(path), dict.fromkeys(unsupported, _ADVICE))
    shapes = TorchShapes(program.dims) if program.dims.symbols else None
    _check_sizes(program, shapes, path)
    importer = _Importer(outputs, shapes)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            module = importer.from_exported_program(program.exported, False, False, False, None)
    except Exception as error:  # TVM's converters raise every kind
        node = importer.current
        if node is None:
            raise ModelError(f"the model cannot be imported: {error}", where=str(path)) from error
        raise UnsupportedError(
            f"operator {operator_name(node)} cannot be imported: {_last_line(error)}",
            where=f"{path}, node '{node_name(node)}'",
            fix=f"{_fix_dimensions(program)}, or {_ADVICE}" if shapes else _ADVICE,
        ) from error
    names = [
        (importer.results[node], variable_name(index)) for index, node in enumerate(_calls(program))
    ]
    return rename_results(module, names), _source_nodes(program, outputs)


def _check_sizes(program: Program, shapes: TorchShapes | None, path: Path) -> None:
    """Check that all shapes follow from those of the inputs."""
    for node in _calls(program):
        value = node.meta.get("val")
        sizes = value.shape if isinstance(value, torch.Tensor) else ()
        if all(shapes.knows(size) if shapes else isinstance(size, int) for size in sizes):
            continue
        raise UnsupportedError(
            f"the result of operator {operator_name(node)} has a shape that depends on data: "
            f"[{', '.join(map(str, sizes))}]",
            where=f"{path}, node '{node_name(node)}'",
            expected="shapes that follow from those of the inputs",
            fix=_ADVICE,
        )


def _fix_dimensions(program: Program) -> str:
    return f"fix the open dimensions with INPUTS, for example: INPUTS {program.example}"


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
