"""An ONNX graph without control flow, functions, sequences and shape arithmetic.

The graph is walked once, node by node, with all that is known of its values: types, shapes and,
where they do not depend on the inputs, the values themselves. A node whose operands are known is
computed; one that only hands values on disappears; a branch, loop or function body whose course is
known is walked in its place; every other one is copied to the flat graph. What cannot be resolved
stays as it is, for a later stage to compile or to refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx
import onnx.shape_inference
from onnx import GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, numpy_helper

from tvmake.errors import UnsupportedError
from tvmake.frontend import onnx_external
from tvmake.frontend.onnx_file import WRONGLY_INFERRED

from . import control, functions, rules, sequences
from .fold import fold
from .values import Optional, Scope, Sequence, Tensor, Value, constant

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Sequence as Items

    from onnx import ModelProto

# Results of a node, or None where the rule does not apply.
Rule: TypeAlias = "Callable[[Flattener, NodeProto, Scope], list[Value | None] | None]"

_RULES: dict[str, Rule] = {**control.RULES, **sequences.RULES, **rules.RULES}
RESOLVED = frozenset(_RULES)

OWN_DOMAIN = "tvmake"  # of nodes that ONNX has not
_OWN_OPSET = 18  # of the nodes that rules add
_MOST_NODES = 200_000
_SMALL = 4096  # bytes of a constant that may describe a shape

# Operators without an ONNX schema whose first result has the type of their first operand.
_KEEPS_TYPE = {
    *("BiasAdd", "BiasGelu", "FastGelu", "Gelu", "GroupNorm", "LayerNormalization", "QuickGelu"),
    *("RotaryEmbedding", "SimplifiedLayerNormalization", "SkipLayerNormalization"),
    "SkipSimplifiedLayerNormalization",
}


@dataclass
class FlatGraph:
    """A graph as TVM's importer reads it, in the words of GraphProto.

    Attributes:
        versions: operator sets of the nodes for which they are not the model's, by first result.
        types: ONNX's element type of every value, where it is known.
    """

    node: list[NodeProto]
    initializer: list[TensorProto]
    input: list[ValueInfoProto]
    output: list[ValueInfoProto]
    opsets: dict[str, int]
    versions: dict[str, dict[str, int]] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)


def flatten(
    model: ModelProto,
    inputs: Mapping[str, Value],
    is_supported: Callable[[NodeProto], bool],
    known_types: Mapping[str, TypeProto],
    *,
    static: bool = True,
) -> FlatGraph:
    """Flatten a model's graph.

    Args:
        model: it is not changed, and its weights are not copied.
        inputs: what the graph's inputs stand for; see `inputs.flat_inputs`.
        is_supported: whether a node can be compiled as it is. If it cannot, but ONNX defines it by
            other operators, these take its place.
        known_types: of the graph's values, as ONNX's shape inference tells them.
        static: whether every loop must be known; else loops may be left to the run.

    Raises:
        UnsupportedError: when an output is no tensor, or the graph grows without end.
    """
    flattener = Flattener(model, is_supported, known_types, static=static)
    return flattener.run(model.graph, inputs)


class Flattener:
    """Walks a graph and collects the flat one."""

    def __init__(
        self,
        model: ModelProto,
        is_supported: Callable[[NodeProto], bool],
        known_types: Mapping[str, TypeProto],
        *,
        static: bool,
    ) -> None:
        self.static = static
        self.opsets = _opsets(model.opset_import)
        self.ir_version = int(model.ir_version)
        self.functions = {(f.domain, f.name, f.overload): f for f in model.functions}
        self.is_supported = is_supported
        self.known_types = known_types
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.versions: dict[str, dict[str, int]] = {}
        self.types: dict[str, int] = {}
        self.taken: set[str] = set()

    def run(self, graph: GraphProto, inputs: Mapping[str, Value]) -> FlatGraph:
        """Flatten the main graph."""
        scope = Scope(self.opsets)
        tensors = [tensor for value in inputs.values() for tensor in rules.tensors_of(value)]
        self.taken |= {tensor.name for tensor in tensors}
        self.types |= {tensor.name: tensor.elem_type for tensor in tensors}
        self.taken |= {output.name for output in graph.output}
        # Names of the main graph are kept, so nothing else may take them.
        self.taken |= {name for node in graph.node for name in node.output}
        self.taken |= {tensor.name for tensor in graph.initializer}
        self.main = scope
        scope.values.update(inputs)
        results = self._walk(graph, scope)
        outputs = [
            output
            for value, info in zip(results, graph.output, strict=True)
            for output in self._outputs(value, info)
        ]
        nodes = _needed(self.nodes, outputs)
        used = {name for node in nodes for name in _uses(node)} | {o.name for o in outputs}
        return FlatGraph(
            nodes,
            [tensor for name, tensor in self.constants.items() if name in used],
            [ValueInfoProto(name=t.name, type=t.type) for t in tensors],
            outputs,
            self.opsets,
            self.versions,
            self.types,
        )

    def run_graph(
        self, graph: GraphProto, inputs: Items[Value | None], scope: Scope
    ) -> list[Value | None]:
        """Walk a subgraph with these inputs; its outputs."""
        for info, value in zip(graph.input, inputs, strict=False):
            scope.values[info.name] = value
        return self._walk(graph, scope)

    def _walk(self, graph: GraphProto, scope: Scope) -> list[Value | None]:
        for tensor in graph.initializer:
            if tensor.name not in scope.values:
                scope.values[tensor.name] = self._initializer(tensor, scope)
        for sparse in graph.sparse_initializer:
            dense = rules.dense(sparse)
            scope.values[sparse.values.name] = self.constant(dense, sparse.values.name)
        for node in graph.node:
            self._run_node(node, scope)
        return [scope.get(output.name) for output in graph.output]

    def _run_node(self, node: NodeProto, scope: Scope) -> None:
        results = self._resolve(node, scope)
        for name, value in zip(node.output, results, strict=False):
            if name:
                scope.values[name] = value

    def _resolve(self, node: NodeProto, scope: Scope) -> Items[Value | None]:
        mark = len(self.nodes)
        if mark > _MOST_NODES:
            raise UnsupportedError(
                f"the model's loops come to more than {_MOST_NODES} operators when unrolled",
                fix="EXECUTOR vm, or leave EXECUTOR out: loops are run then",
            )
        rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        results = rule(self, node, scope) if rule else None
        if results is not None:
            return results
        del self.nodes[mark:]
        operands = [scope.get(name) for name in node.input]
        local = self.functions.get((node.domain, node.op_type, node.overload))
        if local is not None:
            return self._inline(local, node, operands, scope)
        results = self._fold(node, operands, scope)
        if results is not None:
            return results
        if not self.is_supported(node):
            body = functions.schema_body(node, operands, scope.opsets)
            if body is not None:
                return self._inline(body, node, operands, scope)
        return self._keep(node, operands, scope)

    def _inline(
        self,
        body: onnx.FunctionProto,
        node: NodeProto,
        operands: Items[Value | None],
        scope: Scope,
    ) -> list[Value | None]:
        attributes = functions.attributes_of(node, body, scope.opsets)
        opsets = {**scope.opsets, **_opsets(body.opset_import)}
        inner = Scope(opsets, f"{scope.prefix}{self.label(node)}/")
        for index, name in enumerate(body.input):
            inner.values[name] = operands[index] if index < len(operands) else None
        for part in body.node:
            self._run_node(functions.bind_attributes(part, attributes), inner)
        # A body that depends on its node leaves out what the node does not ask for.
        wanted = zip(node.output, body.output, strict=False)
        return [inner.get(name) if result else None for result, name in wanted]

    def _fold(
        self, node: NodeProto, operands: Items[Value | None], scope: Scope
    ) -> list[Value | None] | None:
        copy = _copy(node, [name or "" for name in node.input])
        results = fold(copy, operands, scope.opsets)
        if results is None:
            return None
        return [
            None if tensor is None else self._constant(tensor, self._name(tensor.name, scope))
            for tensor in results
        ]

    def _keep(
        self, node: NodeProto, operands: Items[Value | None], scope: Scope
    ) -> list[Value | None]:
        """Copy a node to the flat graph."""
        tensors = [_plain(operand, node) for operand in operands]
        copy = _copy(node, [tensor.name if tensor else "" for tensor in tensors])
        copy.name = f"{scope.prefix}{node.name}" if node.name else ""
        self._capture(copy, scope)
        types = self._infer(copy, tensors, scope.opsets)
        for index, name in enumerate(node.output):
            copy.output[index] = self._name(name, scope) if name else ""
        self.nodes.append(copy)
        if scope.opsets != self.opsets:
            self.versions[copy.output[0]] = scope.opsets
        results: list[Value | None] = []
        for name, new in zip(node.output, copy.output, strict=True):
            kind = types.get(name, TypeProto())
            if scope is self.main and name in self.known_types:
                kind = _more_precise(kind, self.known_types[name])
            results.append(Tensor(new, kind) if name else None)
            self.types[new] = int(kind.tensor_type.elem_type)
        return results

    def _infer(
        self, node: NodeProto, tensors: Items[Tensor | None], opsets: Mapping[str, int]
    ) -> dict[str, TypeProto]:
        """Types of a node's results, as far as ONNX knows them."""
        schema = functions.schema_of(node, opsets)
        if schema is None:
            first = tensors[0] if tensors else None
            keeps = node.op_type in _KEEPS_TYPE and first is not None
            return {node.output[0]: first.type} if keeps and first else {}
        types = {t.name: t.type for t in tensors if t is not None}
        data = {
            t.name: t.constant
            for t in tensors
            if t is not None and t.constant is not None and _is_small(t.constant)
        }
        imports = [onnx.helper.make_opsetid(d, v) for d, v in opsets.items()]
        try:
            found: dict[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=imports, ir_version=self.ir_version
            )
        except Exception:  # noqa: BLE001 - a type that ONNX cannot infer is not known, no more
            return {}
        if node.op_type in WRONGLY_INFERRED:
            for kind in found.values():
                kind.tensor_type.ClearField("shape")
        return found

    def _capture(self, node: NodeProto, scope: Scope) -> None:
        """Give a kept node's subgraphs the flat graph's names of what they use from outside."""
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                own = {value.name for value in graph.input}
                own |= {tensor.name for tensor in graph.initializer}
                own |= {name for inner in graph.node for name in inner.output}
                for inner in graph.node:
                    for index, name in enumerate(inner.input):
                        if name and name not in own:
                            inner.input[index] = _captured(scope, name)
                    self._capture(inner, scope)

    # What rules are made of.

    def run_one(
        self, node: NodeProto, operands: Items[Value | None], scope: Scope
    ) -> list[Value | None]:
        """The results of a node: computed, or copied to the flat graph."""
        return self._fold(node, operands, scope) or self._keep(node, operands, scope)

    def emit(
        self, op_type: str, operands: Items[Tensor | None], scope: Scope, **attributes: Any
    ) -> Tensor:
        """Add a node of one result, written in opset 18."""
        results = self.emit_many(op_type, operands, scope, 1, **attributes)
        return results[0]

    def emit_many(
        self,
        op_type: str,
        operands: Items[Tensor | None],
        scope: Scope,
        count: int,
        **attributes: Any,
    ) -> list[Tensor]:
        """Add a node, written in opset 18."""
        own = Scope({**scope.opsets, "": _OWN_OPSET}, scope.prefix)
        names = [tensor.name if tensor else "" for tensor in operands]
        outputs = [self.fresh(f"{scope.prefix}{op_type}") for _ in range(count)]
        node = onnx.helper.make_node(op_type, names, outputs, **attributes)
        self.taken.difference_update(outputs)
        own.prefix = ""
        results = self._fold(node, operands, own) or self._keep(node, operands, own)
        return [result for result in results if isinstance(result, Tensor)]

    def mark(
        self,
        op_type: str,
        operands: Items[Tensor | None],
        types: Items[TypeProto],
        name: str,
        **attributes: Any,
    ) -> list[Tensor]:
        """Add a node of our own, with results of these types."""
        names = [tensor.name if tensor else "" for tensor in operands]
        outputs = [self.fresh(f"{name}/{op_type}") for _ in types]
        node = onnx.helper.make_node(op_type, names, outputs, name, domain=OWN_DOMAIN, **attributes)
        self.nodes.append(node)
        self.types |= {
            output: int(kind.tensor_type.elem_type)
            for output, kind in zip(outputs, types, strict=True)
        }
        return [Tensor(output, kind) for output, kind in zip(outputs, types, strict=True)]

    def unsqueeze(self, value: Tensor, axis: int, scope: Scope) -> Tensor:
        """The tensor with one more axis."""
        axes = self.constant(np.array([axis], np.int64))
        return self.emit("Unsqueeze", [value, axes], scope)

    def split(self, value: Tensor, sizes: Items[int], axis: int, scope: Scope) -> list[Tensor]:
        """The tensor cut along an axis."""
        split = self.constant(np.array(sizes, np.int64))
        return self.emit_many("Split", [value, split], scope, len(sizes), axis=axis)

    def scalar(self, value: Any) -> Tensor:
        """A constant of rank 0."""
        return self.constant(np.asarray(value))

    def constant(self, array: Any, name: str = "constant") -> Tensor:
        """A constant."""
        name = self.fresh(name)
        return self._constant(numpy_helper.from_array(array, name), name)

    def numpy_type(self, elem_type: int) -> Any:
        """NumPy's type of ONNX's."""
        return onnx.helper.tensor_dtype_to_np_dtype(elem_type or TensorProto.FLOAT)

    def label(self, node: NodeProto) -> str:
        """A node's name, or what stands for it."""
        return str(node.name) or next((str(name) for name in node.output if name), node.op_type)

    def fresh(self, name: str) -> str:
        """A name that nothing has."""
        unique, count = name, 0
        while unique in self.taken:
            count += 1
            unique = f"{name}_{count}"
        self.taken.add(unique)
        return unique

    def _name(self, name: str, scope: Scope) -> str:
        return name if scope is self.main else self.fresh(f"{scope.prefix}{name}")

    def _initializer(self, tensor: TensorProto, scope: Scope) -> Tensor:
        if scope is self.main:
            return self._constant(tensor, tensor.name)
        copy = TensorProto()
        copy.CopyFrom(tensor)
        return self._constant(copy, self.fresh(f"{scope.prefix}{tensor.name}"))

    def _constant(self, tensor: TensorProto, name: str) -> Tensor:
        if tensor.name != name:
            tensor.name = name
        self.constants[name] = tensor
        self.types[name] = int(tensor.data_type)
        return constant(name, tensor)

    def _outputs(self, value: Value | None, info: ValueInfoProto) -> list[ValueInfoProto]:
        """The tensors of an output: `y`, or `y.0`, `y.1` and so on of a sequence."""
        if isinstance(value, Optional):
            value = value.value
        if value is None:
            raise UnsupportedError(
                f"the output '{info.name}' is an optional without a value",
                expected="outputs that are tensors, or sequences of tensors",
            )
        if isinstance(value, Sequence):
            return [
                part
                for index, item in enumerate(value.items)
                for part in self._outputs(item, ValueInfoProto(name=f"{info.name}.{index}"))
            ]
        assert isinstance(value, Tensor)
        if value.name != info.name:
            node = onnx.helper.make_node("Identity", [value.name], [info.name])
            self.nodes.append(node)
            self.types[info.name] = value.elem_type
        kind = value.type
        if info.type.WhichOneof("value") == "tensor_type":
            kind = _more_precise(kind, info.type)
        return [ValueInfoProto(name=info.name, type=kind)]


def _captured(scope: Scope, name: str) -> str:
    try:
        value = scope.get(name)
    except KeyError:
        return name  # of a graph in between
    return value.name if isinstance(value, Tensor) else name


def _plain(operand: Value | None, node: NodeProto) -> Tensor | None:
    """The tensor that an operator gets; optionals are unwrapped."""
    if isinstance(operand, Optional):
        operand = operand.value
    if isinstance(operand, Sequence):
        raise UnsupportedError(
            f"operator {node.op_type} takes a sequence, which must be known at compile time",
            where=f"node '{node.name or node.output[0]}'",
        )
    assert operand is None or isinstance(operand, Tensor)
    return operand


def _copy(node: NodeProto, names: Iterable[str]) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    for index, name in enumerate(names):
        copy.input[index] = name
    return copy


def _opsets(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {"" if e.domain == "ai.onnx" else e.domain: int(e.version) for e in imports}


def _is_small(tensor: TensorProto) -> bool:
    return not onnx_external.is_mapped(tensor) and tensor.ByteSize() <= _SMALL


def _more_precise(inferred: TypeProto, given: TypeProto) -> TypeProto:
    """The type with the known shape; the first one if both have it."""
    tensor = Tensor("", inferred)
    if tensor.shape is not None or not given.HasField("tensor_type"):
        return inferred
    if tensor.elem_type and tensor.elem_type != given.tensor_type.elem_type:
        return inferred
    return given if given.tensor_type.HasField("shape") or not tensor.elem_type else inferred


def _uses(node: NodeProto) -> set[str]:
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= _uses(inner)
            names |= {output.name for output in graph.output}
    return names


def _needed(nodes: list[NodeProto], outputs: Iterable[ValueInfoProto]) -> list[NodeProto]:
    """The nodes that the outputs depend on."""
    needed = {output.name for output in outputs}
    kept = []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= _uses(node)
    return kept[::-1]
