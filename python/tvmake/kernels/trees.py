"""Ensembles of decision trees, as a tensor expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T  # noqa: N812 - TVM's own name for it

Array = np.ndarray[Any, Any]

# How a node compares its feature with its threshold to take its true branch.
COMPARISONS = ("<=", "<", ">=", ">", "==", "!=")


@dataclass(frozen=True)
class Forest:
    """Trees as arrays over all nodes. A leaf is its own successor on both sides.

    Attributes:
        roots: int32[trees].
        depth: of the deepest tree.
        feature, left, right: int32[nodes]; `left` is where a comparison that holds leads.
        threshold: float[nodes].
        mode: int32[nodes], index into COMPARISONS.
        missing: int32[nodes], whether NaN counts as a comparison that holds.
        target, weight: [nodes, entries], what a leaf gives to which target; `targets` for none.
        targets: how many there are.
    """

    roots: Array
    depth: int
    feature: Array
    left: Array
    right: Array
    threshold: Array
    mode: Array
    missing: Array
    target: Array
    weight: Array
    targets: int

    def tables(self) -> list[Array]:
        """The arrays, as `evaluate` takes them."""
        return [
            *(self.roots, self.feature, self.left, self.right),
            *(self.threshold, self.mode, self.missing, self.target, self.weight),
        ]


def evaluate(data: te.Tensor, *tables: te.Tensor, forest: Forest, combine: str) -> te.Tensor:
    """What the trees' leaves give each target of each row, combined: sum, min or max.

    Args:
        data: [rows, features].
        tables: those of the forest.
        forest: for its sizes, and what all nodes have in common.
        combine: "sum", "min" or "max".

    Returns:
        [rows, targets].
    """
    rows = int(data.shape[0])
    dtype = str(data.dtype)
    out = tirx.decl_buffer((rows, forest.targets), dtype, "scores", layout=None)
    return te.extern(
        [out.shape],
        [data, *tables],
        lambda ins, outs: _walk(ins[0], ins[1:], outs[0], forest, combine),
        dtype=dtype,
        out_buffers=[out],
        name="trees",
    )


_START = {"sum": 0.0, "min": float("inf"), "max": float("-inf")}


def _walk(data: Any, tables: Any, out: Any, forest: Forest, combine: str) -> tirx.Stmt:
    roots, feature, left, right, threshold, mode, missing, target, weight = tables
    dtype = str(data.dtype)
    modes = sorted({int(m) for m in forest.mode})
    with IRBuilder() as builder, T.serial(0, int(data.shape[0])) as row:
        node = T.alloc_buffer((1,), "int32", scope="local")
        # One more, for entries of leaves that have fewer.
        sums = T.alloc_buffer((forest.targets + 1,), dtype, scope="local")
        with T.serial(0, forest.targets + 1) as i:
            T.buffer_store(sums, tirx.const(_START[combine], dtype), [i])
        with T.serial(0, len(forest.roots)) as tree:
            T.buffer_store(node, roots[tree], [0])
            with T.serial(0, forest.depth):
                value = data[row, feature[node[0]]]
                holds = _compare(value, threshold[node[0]], mode[node[0]], modes)
                if forest.missing.any():
                    holds = tirx.any(holds, tirx.all(missing[node[0]] != 0, tirx.isnan(value)))
                T.buffer_store(node, tirx.Select(holds, left[node[0]], right[node[0]]), [0])
            with T.serial(0, forest.target.shape[1]) as entry:
                place = target[node[0], entry]
                T.buffer_store(
                    sums, _combined(combine, sums[place], weight[node[0], entry]), [place]
                )
        with T.serial(0, forest.targets) as i:
            T.buffer_store(out, sums[i], [row, i])
    statement: tirx.Stmt = builder.get()
    return statement


def _combined(combine: str, total: Any, value: Any) -> Any:
    if combine == "sum":
        return total + value
    return tirx.min(total, value) if combine == "min" else tirx.max(total, value)


def _compare(value: Any, threshold: Any, mode: Any, modes: list[int]) -> Any:
    """The comparison of the node at hand; where all nodes have the same one, only that."""
    tests = {
        0: lambda: value <= threshold,
        1: lambda: value < threshold,
        2: lambda: value >= threshold,
        3: lambda: value > threshold,
        4: lambda: value.equal(threshold) if hasattr(value, "equal") else value == threshold,
        5: lambda: tirx.Not(value.equal(threshold)),
    }
    *others, last = modes
    result = tests[last]()
    for number in others:
        result = tirx.Select(mode.equal(number), tests[number](), result)
    return result
