"""Loops whose number of turns is known at run time only: the body once, between two marks.

LoopBegin takes the first values of what the loop carries, and gives them as they are at the start
of a turn; LoopEnd takes those of the next turn, and gives the last ones. How what stands between
them is repeated is the executor's matter, see `lower.loops`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import TensorProto, TypeProto, helper

from tvmake.errors import UnsupportedError

from .fold import scalar
from .values import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence as Items

    from .flattener import Flattener
    from .values import Value

BEGIN, END = "LoopBegin", "LoopEnd"


def loop_at_run_time(
    flat: Flattener,
    name: str,
    first: Items[Value | None],
    num_scans: int,
    make_turn: Callable[[list[Tensor]], list[Value | None]],
) -> list[Value | None]:
    """The nodes of a loop; its results: the last values of what it carries, and all collected ones.

    Args:
        flat: gets the nodes.
        name: of the loop.
        first: the most turns and the condition of the first, which may be None, then the first
            values of what the loop carries.
        num_scans: how many values it collects.
        make_turn: adds the nodes of a turn. From (turn, condition, carried values), gives
            (condition of the next turn or None, next values, values to collect).

    Raises:
        UnsupportedError: when the loop carries anything but tensors.
    """
    limit, condition, *state = _tensors(first, name)
    if condition is not None and scalar(condition):
        condition = None
    kinds = [tensor.type for tensor in state if tensor]
    types = [_scalar(TensorProto.INT64), _scalar(TensorProto.BOOL), *kinds]
    turn = flat.mark(BEGIN, [limit, condition, *state], types, name, bounded=int(num_scans > 0))
    again, *following = _tensors(make_turn(turn), name)
    # Without a condition of its own, the loop makes as many turns as its limit says.
    goes_on = again is None or again.name == turn[1].name or bool(scalar(again))
    kinds = [tensor.type for tensor in following if tensor]
    types = [*kinds[: len(state)], *map(_stacked, kinds[len(state) :])]
    operands = [turn[0], again, limit, *following]
    counted = int(condition is None and goes_on)
    return list(flat.mark(END, operands, types, name, num_scans=num_scans, counted=counted))


def _tensors(values: Items[Value | None], name: str) -> list[Tensor | None]:
    for value in values:
        if value is not None and not isinstance(value, Tensor):
            raise UnsupportedError(
                "a loop carries a sequence, whose number of turns must be known at compile time",
                where=f"node '{name}'",
            )
    return [value for value in values if value is None or isinstance(value, Tensor)]


def _scalar(elem_type: int) -> TypeProto:
    return helper.make_tensor_type_proto(elem_type, ())


def _stacked(kind: TypeProto) -> TypeProto:
    """The type of values of one type, one after the other."""
    stacked = TypeProto()
    stacked.tensor_type.elem_type = kind.tensor_type.elem_type
    if kind.tensor_type.HasField("shape"):
        stacked.tensor_type.shape.dim.add()
        stacked.tensor_type.shape.dim.extend(kind.tensor_type.shape.dim)
    return stacked
