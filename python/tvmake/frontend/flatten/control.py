"""If, Loop and Scan whose course is known: one branch, or the body once for every turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .fold import scalar
from .loops import loop_at_run_time
from .values import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence as Items

    from onnx import GraphProto, NodeProto

    from .flattener import Flattener, Rule
    from .values import Scope, Value

_MOST_TURNS = 100_000
_MOST_UNROLLED = 4_000  # operators, where a loop at run time is the alternative


def _if(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    condition = scalar(scope.get(node.input[0]))
    if condition is None:
        return None
    branch = _graph(node, "then_branch" if condition else "else_branch")
    return flat.run_graph(branch, [], scope.inner(flat.label(node)))


def _loop(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    start = len(flat.nodes)
    results = _unrolled(flat, node, scope)
    if results is not None or flat.static:
        return results
    del flat.nodes[start:]
    name, body = f"{scope.prefix}{flat.label(node)}", _graph(node, "body")
    names = [*node.input, "", ""][: max(2, len(node.input))]

    def make_turn(inputs: list[Tensor]) -> list[Value | None]:
        return flat.run_graph(body, inputs, scope.inner(flat.label(node)))

    num_scans = len(body.output) - 1 - (len(names) - 2)
    return loop_at_run_time(flat, name, [scope.get(n) for n in names], num_scans, make_turn)


def _unrolled(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    """The body, once for every turn; None when their number is not known."""
    start, limit_given = len(flat.nodes), bool(node.input[0])
    limit = scalar(scope.get(node.input[0]))
    condition_given = len(node.input) > 1 and bool(node.input[1])
    condition = scope.get(node.input[1]) if condition_given else None
    if limit_given and limit is None:
        return None
    body = _graph(node, "body")
    state: list[Value | None] = [scope.get(name) for name in node.input[2:]]
    scans: list[list[Value | None]] = [[] for _ in range(len(body.output) - 1 - len(state))]
    keep_going: Value | None = condition or flat.scalar(np.bool_(True))
    turn = 0
    while limit is None or turn < limit:
        go = scalar(keep_going)
        if go is None or turn >= _MOST_TURNS:
            return None
        if not go:
            break
        inputs = [flat.scalar(np.int64(turn)), keep_going, *state]
        outputs = flat.run_graph(body, inputs, scope.inner(f"{flat.label(node)}/{turn}"))
        keep_going, state = outputs[0], outputs[1 : 1 + len(state)]
        for scan, value in zip(scans, outputs[1 + len(state) :], strict=True):
            scan.append(value)
        turn += 1
        if not flat.static and len(flat.nodes) - start > _MOST_UNROLLED:
            return None
    types = [output.type.tensor_type for output in body.output[1 + len(state) :]]
    stacked = [_stack(flat, s, 0, t, scope) for s, t in zip(scans, types, strict=True)]
    return [*state, *stacked]


def _scan(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    if scope.opsets.get("", 1) < 9:
        return _scan_8(flat, node, scope)
    return _scan_turns(flat, node, [scope.get(name) for name in node.input], scope)


def _scan_8(flat: Flattener, node: NodeProto, scope: Scope) -> list[Value | None] | None:
    """The first version has a batch in front of everything: one scan for each of its entries."""
    values = [scope.get(name) for name in node.input[1:]]
    if node.input[0] or not all(isinstance(v, Tensor) and v.shape for v in values):
        return None
    results = []
    tensors = [value for value in values if isinstance(value, Tensor)]
    for entry in range((tensors[0].shape or (0,))[0]):
        operands: list[Value | None] = [_take(flat, t, 0, entry, scope) for t in tensors]
        result = _scan_turns(flat, node, operands, scope)
        if result is None:
            return None
        results.append(result)
    return [_stack(flat, list(column), 0, None, scope) for column in zip(*results, strict=True)]


def _scan_turns(
    flat: Flattener, node: NodeProto, operands: Items[Value | None], scope: Scope
) -> list[Value | None] | None:
    body, count = _graph(node, "body"), int(_attribute(node, "num_scan_inputs", 0))
    state = list(operands[: len(operands) - count])
    inputs = [value for value in operands[len(state) :] if isinstance(value, Tensor)]
    num_outputs = len(body.output) - len(state)
    axes = _attribute(node, "scan_input_axes", [0] * count)
    backwards = _attribute(node, "scan_input_directions", [0] * count)
    out_axes = _attribute(node, "scan_output_axes", [0] * num_outputs)
    out_backwards = _attribute(node, "scan_output_directions", [0] * num_outputs)
    if len(inputs) != count or any(value.dims is None for value in inputs):
        return None
    lengths = {(v.dims or ())[axis] for v, axis in zip(inputs, axes, strict=True)}
    if None in lengths and not any([*out_axes, *out_backwards, flat.static]):
        return _scan_at_run_time(
            flat, node, state, inputs, list(zip(axes, backwards, strict=True)), scope
        )
    if len(lengths) != 1 or None in lengths:
        return None
    length = int(lengths.pop() or 0)
    scans: list[list[Value | None]] = [[] for _ in range(num_outputs)]
    for turn in range(length):
        inner = scope.inner(f"{flat.label(node)}/{turn}")
        slices: list[Value | None] = [
            _take(flat, value, axis, length - 1 - turn if back else turn, inner)
            for value, axis, back in zip(inputs, axes, backwards, strict=True)
        ]
        outputs = flat.run_graph(body, [*state, *slices], inner)
        state = outputs[: len(state)]
        for scan, value in zip(scans, outputs[len(state) :], strict=True):
            scan.append(value)
    stacked = [
        _stack(flat, scan[::-1] if back else scan, axis, None, scope)
        for scan, axis, back in zip(scans, out_axes, out_backwards, strict=True)
    ]
    return [*state, *stacked]


def _scan_at_run_time(
    flat: Flattener,
    node: NodeProto,
    state: list[Value | None],
    inputs: list[Tensor],
    ways: list[tuple[int, int]],
    scope: Scope,
) -> list[Value | None]:
    """A scan over axes of open length; `ways`: each input's axis, and if it is read backwards."""
    body, one = _graph(node, "body"), flat.scalar(np.int64(1))
    extents = flat.emit("Shape", [inputs[0]], scope)
    length = flat.emit("Gather", [extents, flat.scalar(np.int64(ways[0][0]))], scope, axis=0)

    def make_turn(marked: list[Tensor]) -> list[Value | None]:
        turn, _, *carried = marked
        inner = scope.inner(flat.label(node))
        last = flat.emit("Sub", [length, one], inner)
        from_end = flat.emit("Sub", [last, turn], inner)
        slices = [
            flat.emit("Gather", [value, from_end if back else turn], inner, axis=axis)
            for value, (axis, back) in zip(inputs, ways, strict=True)
        ]
        return [None, *flat.run_graph(body, [*carried, *slices], inner)]

    name = f"{scope.prefix}{flat.label(node)}"
    num_scans = len(body.output) - len(state)
    return loop_at_run_time(flat, name, [length, None, *state], num_scans, make_turn)


def _take(flat: Flattener, value: Tensor, axis: int, index: int, scope: Scope) -> Tensor:
    """One slice of a tensor, without the axis."""
    position = flat.scalar(np.int64(index))
    return flat.emit("Gather", [value, position], scope, axis=axis)


def _stack(
    flat: Flattener, values: Items[Value | None], axis: int, kind: Any, scope: Scope
) -> Tensor:
    """Tensors side by side along a new axis; `kind` is the type of one, should there be none."""
    if not values:
        shape = tuple(dim.dim_value for dim in kind.shape.dim) if kind is not None else ()
        dtype = np.float32 if kind is None else flat.numpy_type(kind.elem_type)
        return flat.constant(np.zeros((0, *shape), dtype))
    parts = [flat.unsqueeze(value, axis, scope) for value in values if isinstance(value, Tensor)]
    return flat.emit("Concat", parts, scope, axis=axis)


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return list(attribute.ints) or attribute.i
    return default


def _graph(node: NodeProto, name: str) -> GraphProto:
    graph: GraphProto = next(a.g for a in node.attribute if a.name == name)
    return graph


RULES: dict[str, Rule] = {"If": _if, "Loop": _loop, "Scan": _scan}
