"""A fused prim func taken apart into its main operator and what is applied to its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm import tirx

from tvmake.schedule.expressions import identity, loads, replace, variables_of
from tvmake.schedule.primitives import attempt, block_names, is_spatial, new_schedule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tvm import s_tir
    from tvm.ir.expr import TensorLoad

_MOST_USES = 8  # of the result in an epilogue, which is one expression


@dataclass(frozen=True)
class Fused:
    """A main operator and its epilogue.

    Attributes:
        params: of the prim func.
        annotations: of the main operator's block.
        reads: the buffers that the main operator reads, in the order in which it does.
        output: the buffer that the kernel writes.
        merges: whether the axes of the output between the channels and their blocks may be walked
            as one: everything that the epilogue reads has all of them whole, or none.
        overwritable: positions of the parameters that the output may overwrite if each element is
            finished once: only the epilogue reads them, where it writes.
        _value: of the output's elements, as an expression.
        _indices: that stand for the output's element in `_value`.
        _result: the main operator's result in `_value`.
    """

    params: Sequence[tirx.Buffer]
    annotations: Mapping[str, Any]
    reads: Sequence[tirx.Buffer]
    output: tirx.Buffer
    merges: bool
    overwritable: Sequence[int]
    _value: Any
    _indices: Sequence[tirx.Var]
    _result: tirx.Buffer

    def finish(self, result: Any, *indices: Any) -> Any:
        """What is stored at `indices`, given the main operator's result there."""
        if self._value is None:
            return result
        known = dict(zip(self._indices, indices, strict=True))
        return replace(
            self._value, known, lambda load: result if load.source.same_as(self._result) else None
        )


def take_apart(function: tirx.PrimFunc, operator: str, before: Sequence[str]) -> Fused | None:
    """The parts of a prim func, or None if it is not of the form.

    Args:
        function: not scheduled yet.
        operator: name of the main operator's block.
        before: names of the blocks that prepare its operands, which the caller writes anew.
    """
    names = block_names(function)
    if operator not in names:
        return None
    for name in names:
        if name != operator and name not in before:
            function = attempt(function, name, _inline)
    schedule = new_schedule(function)
    after = [n for n in block_names(function) if n != operator and n not in before]
    block = schedule.get_sblock(operator)
    result = schedule.get(block).writes[0].source
    params, annotations = list(function.params), schedule.get(block).annotations
    reads = [region.source for region in schedule.get(block).reads]
    if not after:
        return Fused(params, annotations, reads, result, True, (), None, (), result)
    consumers = schedule.get_consumers(block)
    if len(after) != 1 or len(consumers) != 1 or not is_spatial(schedule, consumers[0]):
        return None
    last = schedule.get(consumers[0])
    if not isinstance(last.body, tirx.BufferStore):
        return None
    variables = [var.var for var in last.iter_vars]
    output = last.body.buffer
    try:
        read = loads(last.body.value)
    except ValueError:
        return None
    own = [load for load in read if load.source.same_as(result)]
    if _shape(output) != _shape(result) or not _are(last.body.indices, variables):
        return None
    if len(own) > _MOST_USES or not all(_are(load.indices, variables) for load in own):
        return None
    merges = all(_is_whole_or_flat(load, variables, _shape(output)) for load in read)
    others = [schedule.get(schedule.get_sblock(n)) for n in names if n in (operator, *before)]
    elsewhere = [region.source for other in others for region in other.reads]
    overwritable = [
        position
        for position, param in enumerate(params[:-1])
        if not any(param.same_as(buffer) for buffer in elsewhere)
        and _is_read_in_step(param, output, read, variables)
    ]
    value = last.body.value
    return Fused(params, annotations, reads, output, merges, overwritable, value, variables, result)


def _is_read_in_step(
    buffer: tirx.Buffer,
    output: tirx.Buffer,
    read: Sequence[TensorLoad],
    variables: Sequence[tirx.Var],
) -> bool:
    """Whether of a buffer like the output nothing is read but the element that is written."""
    is_alike = str(buffer.dtype) == str(output.dtype) and _shape(buffer) == _shape(output)
    own = [load for load in read if load.source.same_as(buffer)]
    return is_alike and all(_are(load.indices, variables) for load in own)


def _inline(schedule: s_tir.Schedule, name: str) -> None:
    """Compute an elementwise block where its result is used, be it at several places."""
    block = schedule.get_sblock(name)
    consumers = schedule.get_consumers(block)
    if consumers and all(is_spatial(schedule, each) for each in (block, *consumers)):
        schedule.compute_inline(block)


def _is_whole_or_flat(load: TensorLoad, variables: Sequence[Any], shape: tuple[int, ...]) -> bool:
    spatial = [identity(variable) for variable in variables[2:-1]]
    used = {identity(v) for index in load.indices for v in variables_of(index)}
    if not used & set(spatial):
        return True
    whole = len(load.indices) == len(variables) and _shape(load.source)[2:] == shape[2:]
    return whole and _are(load.indices[2:], variables[2:])


def _are(indices: Sequence[Any], variables: Sequence[Any]) -> bool:
    return len(indices) == len(variables) and all(
        identity(index) == identity(variable)
        for index, variable in zip(indices, variables, strict=True)
    )


def _shape(buffer: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in buffer.shape)
