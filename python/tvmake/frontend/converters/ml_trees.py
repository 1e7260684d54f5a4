"""The tree ensembles of `ai.onnx.ml`: random forests, gradient boosting and their kin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper
from tvm import relax

from tvmake.kernels.trees import Forest, evaluate

from .ml_scores import constant, labels, largest, pick, text, transform
from .operator import Converter, Operator

Array = np.ndarray[Any, Any]

_MODES = {
    name: index
    for index, name in enumerate(
        ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
    )
}
_LEAF = "LEAF"
_POST_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


@dataclass(frozen=True)
class _Leaves:
    """Which node gives which target what: parallel arrays."""

    node: Array
    target: Array
    weight: Array


def _numbers(operator: Operator, name: str, dtype: str) -> Array:
    """An attribute of numbers, in either of its forms."""
    tensor = operator.attributes.get(f"{name}_as_tensor")
    if isinstance(tensor, TensorProto):
        return numpy_helper.to_array(tensor).astype(dtype).reshape(-1)
    return np.asarray(operator.attributes.get(name, ()), dtype)


def _classic(operator: Operator, prefix: str, targets: int, dtype: str) -> tuple[Forest, _Leaves]:
    """The trees of TreeEnsembleClassifier and TreeEnsembleRegressor."""
    trees, ids = (_numbers(operator, f"nodes_{n}", "int64") for n in ("treeids", "nodeids"))
    place = {(int(t), int(n)): i for i, (t, n) in enumerate(zip(trees, ids, strict=True))}
    modes = [mode.decode() for mode in operator.attributes["nodes_modes"]]
    size = len(modes)
    own = np.arange(size)
    inner = np.array([mode != _LEAF for mode in modes])

    def successors(name: str) -> Array:
        numbers = _numbers(operator, name, "int64")
        return np.array(
            [place[int(trees[i]), int(numbers[i])] if inner[i] else i for i in own], "int64"
        )

    left, right = successors("nodes_truenodeids"), successors("nodes_falsenodeids")
    roots = np.setdiff1d(own, np.concatenate([left[inner], right[inner]]))
    missing = _numbers(operator, "nodes_missing_value_tracks_true", "int64")
    leaf_trees = _numbers(operator, f"{prefix}_treeids", "int64")
    leaf_nodes = _numbers(operator, f"{prefix}_nodeids", "int64")
    leaves = _Leaves(
        np.array([place[int(t), int(n)] for t, n in zip(leaf_trees, leaf_nodes, strict=True)]),
        _numbers(operator, f"{prefix}_ids", "int64"),
        _numbers(operator, f"{prefix}_weights", dtype),
    )
    forest = _forest(
        roots=roots,
        feature=np.where(inner, _numbers(operator, "nodes_featureids", "int64"), 0),
        left=left,
        right=right,
        threshold=_numbers(operator, "nodes_values", dtype),
        mode=np.array([_mode(mode) for mode in modes]),
        missing=missing if missing.size else np.zeros(size, "int64"),
        leaves=leaves,
        targets=targets,
    )
    return forest, leaves


def _mode(name: str) -> int:
    if name == _LEAF:
        return -1
    if name not in _MODES:
        raise ValueError(f"a node compares by {name}")
    return _MODES[name]


def _forest(
    *,
    roots: Array,
    feature: Array,
    left: Array,
    right: Array,
    threshold: Array,
    mode: Array,
    missing: Array,
    leaves: _Leaves,
    targets: int,
) -> Forest:
    if leaves.target.size and not 0 <= leaves.target.min() <= leaves.target.max() < targets:
        raise ValueError(f"a leaf is for a target beyond the {targets} that there are")
    entries = max(int(np.bincount(leaves.node).max(initial=1)), 1) if leaves.node.size else 1
    size = len(left)
    target = np.full((size, entries), targets)
    weight = np.zeros((size, entries), threshold.dtype)
    used = np.zeros(size, "int64")
    for node, to, value in zip(leaves.node, leaves.target, leaves.weight, strict=True):
        target[node, used[node]], weight[node, used[node]] = to, value
        used[node] += 1
    common = next((m for m in mode if m >= 0), 0)
    return Forest(
        roots=roots.astype("int32"),
        depth=_depth(roots, left, right),
        feature=feature.astype("int32"),
        left=left.astype("int32"),
        right=right.astype("int32"),
        threshold=threshold,
        mode=np.where(mode < 0, common, mode).astype("int32"),
        missing=missing.astype("int32"),
        target=target.astype("int32"),
        weight=weight,
        targets=targets,
    )


def _depth(roots: Array, left: Array, right: Array) -> int:
    """How many comparisons the longest way takes; each node may be reached in one way only."""
    level, depth = set(map(int, roots)), 0
    seen = set(level)
    while True:
        level = {int(side[node]) for node in level for side in (left, right) if side[node] != node}
        if not level:
            return depth
        if level & seen:
            raise ValueError("its trees have a node that is reached twice")
        seen |= level
        depth += 1


def _check_features(operator: Operator, forest: Forest) -> None:
    features = operator.shape(0)[-1]
    if forest.feature.min() < 0 or forest.feature.max() >= features:
        raise ValueError(f"a node compares a feature beyond the {features} of the input")


def _scores(operator: Operator, forest: Forest, combine: str) -> relax.Expr:
    """[rows, targets]."""
    _check_features(operator, forest)
    emit, data = operator.builder.emit, operator.operand(0)
    if len(data.ty.shape) == 1:
        data = emit(relax.op.reshape(data, [1, -1]))
    dtype = str(forest.threshold.dtype)
    if str(data.ty.dtype) != dtype:
        data = emit(relax.op.astype(data, dtype))
    tables = [constant(table, str(table.dtype)) for table in forest.tables()]
    return operator.builder.emit_te(
        lambda *operands: evaluate(*operands, forest=forest, combine=combine),
        data,
        *tables,
        primfunc_name_hint="trees",
    )


def _dtype(operator: Operator) -> str:
    return "float64" if str(operator.operand(0).ty.dtype) == "float64" else "float32"


def _aggregated(operator: Operator, forest: Forest, aggregate: str, base: Array) -> relax.Expr:
    emit, dtype = operator.builder.emit, str(forest.threshold.dtype)
    combine = aggregate.lower() if aggregate in ("MIN", "MAX") else "sum"
    scores = _scores(operator, forest, combine)
    if combine != "sum":  # a target that no leaf is for
        some = emit(relax.op.isfinite(scores))
        scores = emit(relax.op.where(some, scores, relax.const(0, dtype)))
    if aggregate == "AVERAGE":
        scores = emit(relax.op.divide(scores, relax.const(len(forest.roots), dtype)))
    return emit(relax.op.add(scores, constant(base, dtype))) if base.size else scores


def _regressor(operator: Operator) -> relax.Expr:
    dtype = _dtype(operator)
    targets = int(operator.attributes["n_targets"])
    forest, _ = _classic(operator, "target", targets, dtype)
    aggregate = text(operator.attributes, "aggregate_function", "SUM")
    if aggregate not in _AGGREGATES:
        raise ValueError(f"aggregate_function is {aggregate}")
    base = _numbers(operator, "base_values", dtype)
    scores = _aggregated(operator, forest, aggregate, base)
    scores = _transformed(operator, scores, text(operator.attributes, "post_transform", "NONE"))
    return operator.builder.emit(relax.op.astype(scores, "float32"))


def _transformed(operator: Operator, scores: relax.Expr, name: str) -> relax.Expr:
    if int(scores.ty.shape[1]) == 1 and name != "PROBIT":
        return scores  # runtimes of ONNX transform one score by PROBIT only
    return transform(operator.builder, scores, name)


def _classifier(operator: Operator) -> relax.Expr:
    builder, dtype = operator.builder, _dtype(operator)
    names = labels(operator, "classlabels_int64s")
    forest, leaves = _classic(operator, "class", len(names), dtype)
    base = _numbers(operator, "base_values", dtype)
    name = text(operator.attributes, "post_transform", "NONE")
    scores = _scores(operator, forest, "sum")
    if len(names) == 2:
        label, scores = _binary(operator, scores, leaves, base, names, name)
    else:
        if base.size:
            scores = builder.emit(relax.op.add(scores, constant(base, dtype)))
        label = pick(names, largest(builder, scores))
        scores = transform(builder, scores, name)
    scores = builder.emit(relax.op.astype(scores, "float32"))
    return relax.Tuple([builder.emit(label), scores])


def _binary(
    operator: Operator,
    scores: relax.Expr,
    leaves: _Leaves,
    base: Array,
    names: list[int],
    name: str,
) -> tuple[relax.Expr, relax.Expr]:
    """Two classes. Leaves for one of them only give the score of the second, the first follows."""
    builder, dtype = operator.builder, str(scores.ty.dtype)
    emit = builder.emit
    targets = sorted(set(map(int, leaves.target)))
    if len(targets) > 1:
        if base.size == 2:
            raise ValueError("leaves for two classes, and base values for both")
        if base.size:
            first = np.array([base[0], 0])
            scores = emit(relax.op.add(scores, constant(first, dtype)))
        second = emit(relax.op.strided_slice(scores, [1], [1], [2]))
        return _by_sign(operator, second, names, 0.0), transform(builder, scores, name)
    positive = emit(relax.op.strided_slice(scores, [1], [targets[0]], [targets[0] + 1]))
    if base.size:
        positive = emit(relax.op.add(positive, relax.const(float(base[-1]), dtype)))
    if base.size == 2:
        both = emit(relax.op.concat([emit(relax.op.negative(positive)), positive], axis=1))
        probability = bool((leaves.weight >= 0).all())
        label = _by_sign(operator, positive, names, 0.5 if probability else 0.0)
        return label, transform(builder, both, name)
    if name == "PROBIT":
        raise ValueError("one score for two classes with post_transform PROBIT")
    if bool((leaves.weight >= 0).all()):  # they are probabilities
        first = emit(relax.op.subtract(relax.const(1, dtype), positive))
        label = _by_sign(operator, positive, names, 0.5)
        return label, emit(relax.op.concat([first, positive], axis=1))
    label = _by_sign(operator, positive, names, 0.0)
    both = emit(relax.op.concat([emit(relax.op.negative(positive)), positive], axis=1))
    return label, transform(builder, both, name) if name == "LOGISTIC" else both


def _by_sign(
    operator: Operator, score: relax.Expr, names: list[int], threshold: float
) -> relax.Expr:
    """The second label where the score is above a threshold, else the first."""
    emit = operator.builder.emit
    above = emit(relax.op.greater(score, relax.const(threshold, str(score.ty.dtype))))
    index = emit(relax.op.astype(emit(relax.op.squeeze(above, [1])), "int64"))
    return pick(names, index)


def _tree_ensemble(operator: Operator) -> relax.Expr:
    """TreeEnsemble of version 5: inner nodes and leaves are numbered apart."""
    attributes = operator.attributes
    if "membership_values" in attributes:
        raise ValueError("its nodes compare by membership")
    dtype = _dtype(operator)
    modes = numpy_helper.to_array(attributes["nodes_modes"]).astype("int64")
    # In this operator's own order: LEQ, LT, GTE, GT, EQ, NEQ, MEMBER.
    if modes.max(initial=0) >= len(_MODES):
        raise ValueError("its nodes compare by membership")
    splits = numpy_helper.to_array(attributes["nodes_splits"]).astype(dtype)
    weights = numpy_helper.to_array(attributes["leaf_weights"]).astype(dtype)
    size, count = len(modes), len(weights)

    def successors(nodes: str, are_leaves: str) -> Array:
        numbers = np.asarray(attributes[nodes])
        leaf = np.asarray(attributes[are_leaves]).astype(bool)
        return np.concatenate([np.where(leaf, numbers + size, numbers), size + np.arange(count)])

    def padded(values: Any, dtype: str = "int64") -> Array:
        return np.concatenate([np.asarray(values, dtype), np.zeros(count, dtype)])

    left = successors("nodes_truenodeids", "nodes_trueleafs")
    right = successors("nodes_falsenodeids", "nodes_falseleafs")
    roots = np.asarray(attributes["tree_roots"])
    leaves = _Leaves(size + np.arange(count), np.asarray(attributes["leaf_targetids"]), weights)
    forest = _forest(
        # A tree of one leaf has a node whose branches are that leaf.
        roots=roots,
        feature=padded(attributes["nodes_featureids"]),
        left=left,
        right=right,
        threshold=padded(splits, dtype),
        mode=np.concatenate([modes, np.full(count, -1)]),
        missing=padded(attributes.get("nodes_missing_value_tracks_true", np.zeros(size))),
        leaves=leaves,
        targets=int(attributes["n_targets"]),
    )
    aggregate = _AGGREGATES[int(attributes.get("aggregate_function", 1))]
    scores = _aggregated(operator, forest, aggregate, np.array([]))
    name = _POST_TRANSFORMS[int(attributes.get("post_transform", 0))]
    return _transformed(operator, scores, name)


CONVERTERS: dict[str, Converter] = {
    "ai.onnx.ml.TreeEnsemble": _tree_ensemble,
    "ai.onnx.ml.TreeEnsembleClassifier": _classifier,
    "ai.onnx.ml.TreeEnsembleRegressor": _regressor,
}
