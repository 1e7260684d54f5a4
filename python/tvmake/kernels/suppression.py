"""Non-maximum suppression, as a tensor expression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T  # noqa: N812 - TVM's own name for it

Corners = tuple[Any, Any, Any, Any]  # lower and upper y, lower and upper x


def select_boxes(
    boxes: te.Tensor,
    scores: te.Tensor,
    limits: Sequence[te.Tensor],
    capacity: Any,
    *,
    by_center: bool,
) -> list[te.Tensor]:
    """The best boxes of each class that overlap no better one.

    The order is that of ONNX: batches, classes, falling scores; of equal scores the first box.

    Args:
        boxes: [batch, n, 4]: two opposite corners y, x, y, x; or x, y, width, height.
        scores: [batch, classes, n].
        limits: tensors of one element: most boxes of a class, int64; the intersection over union
            above which two boxes exclude each other; and, if there is one, the score that boxes
            must be above.
        capacity: most boxes of all.
        by_center: which of the two forms `boxes` has.

    Returns:
        int64 [3, capacity] with batch, class and box; int64 [1] with their number; scratch memory.
    """
    n = boxes.shape[1]
    result = te.extern(
        [(3, capacity), (1,), (n,)],
        [boxes, scores, *limits],
        lambda ins, outs: _select(ins, outs, by_center=by_center),
        dtype=["int64", "int64", "int64"],
        name="select_boxes",
    )
    return list(result)


def _select(ins: Sequence[Any], outs: Sequence[Any], *, by_center: bool) -> tirx.Stmt:
    batches, classes, n = ins[1].shape
    corners = _from_center if by_center else _from_corners
    with IRBuilder() as builder, T.seq_scope():
        boxes, scores, *limits = map(T.buffer_proxy, ins)
        chosen, found, candidates = map(T.buffer_proxy, outs)
        most, overlap, *threshold = (
            limit[(0,) * len(buffer.shape)] for limit, buffer in zip(limits, ins[2:], strict=True)
        )
        found[0] = _int(0)
        with T.serial(0, batches) as batch, T.serial(0, classes) as kind:
            # Those of this class that may still be chosen come first among the candidates.
            count, kept, best = (
                T.buffer_proxy(T.alloc_buffer((1,), "int64", scope="local")) for _ in range(3)
            )
            count[0] = _int(0)
            with T.serial(0, n) as i:
                above = (
                    scores[batch, kind, i] > threshold[0] if threshold else tirx.const(1, "bool")
                )
                with T.If(above), T.Then():
                    candidates[count[0]] = _wide(i)
                    count[0] = count[0] + _int(1)
            rounds = tirx.max(_int(0), tirx.min(_wide(n), most))
            with T.serial(0, rounds):  # noqa: SIM117 - T.If follows T.serial
                with T.If(count[0] > _int(0)), T.Then():
                    best[0] = candidates[0]
                    with T.serial(0, count[0]) as i:
                        better = scores[batch, kind, candidates[i]] > scores[batch, kind, best[0]]
                        with T.If(better), T.Then():
                            best[0] = candidates[i]
                    for row, value in enumerate((_wide(batch), _wide(kind), best[0])):
                        chosen[row, found[0]] = value
                    found[0] = found[0] + _int(1)
                    kept[0] = _int(0)
                    with T.serial(0, count[0]) as i:
                        one, other = (
                            corners([boxes[batch, box, k] for k in range(4)])
                            for box in (candidates[i], best[0])
                        )
                        stays = tirx.all(
                            candidates[i] != best[0], tirx.Not(_exclude(one, other, overlap))
                        )
                        with T.If(stays), T.Then():
                            candidates[kept[0]] = candidates[i]
                            kept[0] = kept[0] + _int(1)
                    count[0] = kept[0]
    statement: tirx.Stmt = builder.get()
    return statement


def _from_corners(box: Sequence[Any]) -> Corners:
    """Any two opposite corners may be given."""
    y0, x0, y1, x1 = box
    return tirx.min(y0, y1), tirx.max(y0, y1), tirx.min(x0, x1), tirx.max(x0, x1)


def _from_center(box: Sequence[Any]) -> Corners:
    x, y, width, height = box
    half = tirx.const(0.5, "float32")
    return y - height * half, y + height * half, x - width * half, x + width * half


def _exclude(one: Corners, other: Corners, overlap: Any) -> Any:
    """Whether two boxes overlap too much. A box without area overlaps nothing."""
    zero = tirx.const(0.0, "float32")

    def common(axis: int) -> Any:
        low, high = tirx.max(one[axis], other[axis]), tirx.min(one[axis + 1], other[axis + 1])
        return tirx.max(high - low, zero)

    def area(box: Corners) -> Any:
        return (box[1] - box[0]) * (box[3] - box[2])

    both = common(0) * common(2)
    union = area(one) + area(other) - both
    sizes = tirx.all(area(one) > zero, area(other) > zero, union > zero)
    return tirx.all(sizes, both / union > overlap)


def _int(value: int) -> Any:
    return tirx.const(value, "int64")


def _wide(value: Any) -> Any:
    return tirx.Cast("int64", value)
