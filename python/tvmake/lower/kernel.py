"""A scheduled prim func as a kernel: its scratch memory and what it may overwrite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tvm
import tvm_ffi
from tvm import relax, s_tir, te, tirx

from tvmake.kernels.builder import HAND_WRITTEN, IN_PLACE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tvmake.optimize.movement import Movement


@dataclass(frozen=True)
class Kernel:
    """A prim func ready for the graph.

    Attributes:
        function: parameters are inputs, scalars, outputs, workspaces.
        workspaces: (dtype, shape) of each scratch buffer, which the caller provides.
        in_place: pairs (output, input) of positions such that the output may overwrite the input.
        is_reshape: whether the kernel only copies its input under another shape.
        movement: what the kernel could be spared for, if it only moves data.
        scalar_order: where each scalar stands among those of the function that this was made of.
    """

    function: tirx.PrimFunc
    workspaces: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    in_place: tuple[tuple[int, int], ...] = ()
    is_reshape: bool = False
    movement: Movement | None = None
    scalar_order: tuple[int, ...] = ()


def make_kernel(
    function: tirx.PrimFunc, num_outputs: int, *, is_reshape: bool, movement: Movement | None = None
) -> Kernel:
    """Lift scratch memory out of a scheduled prim func and find what it may do in place.

    Scratch memory in the arena means: no allocation in a kernel, and memory that is planned.
    """
    function, scalar_order = _sort_scalars(function, num_outputs)
    if function.attrs and HAND_WRITTEN in function.attrs:  # it says itself what it may overwrite
        lifted, buffers = _lift_root_buffers(function)
        numbers = [int(number) for number in function.attrs[IN_PLACE]]
        in_place = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    else:
        lifted, buffers = _lift_workspaces(function)
        in_place = _in_place_pairs(lifted, num_outputs, len(buffers))
        if in_place:
            # Arguments may overlap, so the code generator must not assume the contrary.
            lifted = lifted.with_attr("tirx.noalias", False)
    workspaces = tuple((str(buffer.dtype), tuple(_shape(buffer))) for buffer in buffers)
    return Kernel(lifted, workspaces, in_place, is_reshape, movement, scalar_order)


def _sort_scalars(
    function: tirx.PrimFunc, num_outputs: int
) -> tuple[tirx.PrimFunc, tuple[int, ...]]:
    """Put scalars between inputs and outputs, by name: TVM does not always order them alike."""
    params = list(function.params)
    head, outputs = params[: len(params) - num_outputs], params[len(params) - num_outputs :]
    scalars = [p for p in head if tvm.ir.is_prim_expr(p)]
    if not scalars:
        return function, ()
    order = sorted(range(len(scalars)), key=lambda index: str(scalars[index].name))
    inputs = [p for p in head if not tvm.ir.is_prim_expr(p)]
    params = [*inputs, *(scalars[index] for index in order), *outputs]
    sorted_function = tirx.PrimFunc(params, function.body, function.ret_type, function.attrs)
    return sorted_function, tuple(order)


def is_reshape(function: tirx.PrimFunc) -> bool:
    """Whether a kernel only copies its input under another shape.

    TVM finds the pattern in a slice of the first rows too.
    """
    if len(function.params) != 2 or not relax.analysis.has_reshape_pattern(function):
        return False
    extents = [tirx.const(1, "int64") for _ in function.params]
    for index, parameter in enumerate(function.params):
        for dim in parameter.shape:
            extents[index] = extents[index] * dim
    return bool(tvm.sym.Analyzer().can_prove_equal(*extents))


def copy_kernel(dtype: str, shape: tuple[Any, ...]) -> Kernel:
    """A kernel that copies one tensor."""
    source = te.placeholder(shape, dtype=dtype, name="source")
    result = te.compute(shape, lambda *index: source(*index), name="result")  # noqa: PLW0108 - TE reads the signature
    return Kernel(te.create_prim_func([source, result]))


def output_counts(main: relax.Function) -> dict[str, int]:
    """How many outputs each kernel that main calls has."""
    counts: dict[str, int] = {}
    for block in main.body.blocks:
        for binding in block.bindings:
            call = binding.value
            is_kernel = isinstance(call, relax.Call) and call.op == tvm.ir.Op.get("relax.call_tir")
            if is_kernel:
                types = call.ty_args[0]
                count = len(types.fields) if isinstance(types, relax.TupleType) else 1
                counts[call.args[0].name_hint] = count
    return counts


def _lift_workspaces(function: tirx.PrimFunc) -> tuple[tirx.PrimFunc, list[Any]]:
    """Make the buffers that live as long as the call parameters; inner ones stay."""
    module = s_tir.transform.LowerInitBlock()(tvm.IRModule({"main": function}))
    return _lift_root_buffers(
        s_tir.transform.PlanAndUpdateBufferAllocationLocation()(module)["main"]
    )


def _lift_root_buffers(function: tirx.PrimFunc) -> tuple[tirx.PrimFunc, list[Any]]:
    root = function.body.block
    buffers = [buffer for buffer in root.alloc_buffers if buffer.scope() == "global"]
    if not buffers:
        return function, []
    kept = [buffer for buffer in root.alloc_buffers if buffer.scope() != "global"]
    body = s_tir.SBlock(
        [], root.reads, root.writes, root.name_hint, root.body, root.init, kept,
        root.match_buffers, root.annotations,
    )  # fmt: skip
    lifted = tirx.PrimFunc(
        [*function.params, *buffers],
        s_tir.SBlockRealize([], True, body),
        function.ret_type,
        function.attrs,
    )
    return lifted, buffers


def _in_place_pairs(
    function: tirx.PrimFunc, num_outputs: int, num_workspaces: int
) -> tuple[tuple[int, int], ...]:
    """Outputs that may overwrite an input: element i is written after the only reads of it.

    An input qualifies if the one block that writes the output is the only one that reads it, at
    the index that it writes, once per element.
    """
    num_inputs = len(function.params) - num_outputs - num_workspaces
    inputs = function.params[:num_inputs]
    outputs = function.params[num_inputs : num_inputs + num_outputs]
    blocks = list(_blocks(function.body.block.body))
    pairs = []
    free = set(range(num_inputs))
    for o, output in enumerate(outputs):
        writers = [block for block in blocks if _regions(block.writes, output)]
        readers = [block for block in blocks if _regions(block.reads, output)]
        if len(writers) != 1 or readers or not _is_spatial(writers[0]):
            continue
        (written,) = _regions(writers[0].writes, output)
        for i in sorted(free):
            if _overwritable(inputs[i], output, written, writers[0], blocks):
                pairs.append((o, i))
                free.discard(i)
                break
    return tuple(pairs)


def _overwritable(
    candidate: Any,
    output: Any,
    written: Any,
    writer: s_tir.SBlock,
    blocks: list[s_tir.SBlock],
) -> bool:
    if tvm.ir.is_prim_expr(candidate) or str(candidate.dtype) != str(output.dtype):
        return False
    if not tvm_ffi.structural_equal(_shape(candidate), _shape(output)):
        return False
    readers = [block for block in blocks if _regions(block.reads, candidate)]
    if any(not block.same_as(writer) for block in readers):
        return False
    return all(
        tvm_ffi.structural_equal(region.region, written.region)
        for region in _regions(writer.reads, candidate)
    ) and all(_is_one(dim.extent) for dim in written.region)


def _blocks(statement: Any) -> Iterator[s_tir.SBlock]:
    """The innermost blocks of a statement."""
    if isinstance(statement, s_tir.SBlockRealize):
        inner = list(_blocks(statement.block.body))
        if statement.block.init is not None:
            inner += list(_blocks(statement.block.init))
        yield from inner or [statement.block]
    elif isinstance(statement, tirx.SeqStmt):
        for part in statement.seq:
            yield from _blocks(part)
    elif isinstance(statement, tirx.IfThenElse):
        yield from _blocks(statement.then_case)
        if statement.else_case is not None:
            yield from _blocks(statement.else_case)
    elif hasattr(statement, "body"):
        yield from _blocks(statement.body)


def _regions(regions: Any, buffer: Any) -> list[Any]:
    return [region for region in regions if _buffer(region).same_as(buffer)]


def _buffer(region: Any) -> Any:
    return region.source


def _is_spatial(block: s_tir.SBlock) -> bool:
    return all(var.iter_type == tirx.IterVar.DataPar for var in block.iter_vars)


def _is_one(extent: Any) -> bool:
    return isinstance(extent, tirx.IntImm) and int(extent) == 1


def _shape(buffer: Any) -> list[Any]:
    return [int(dim) if isinstance(dim, tirx.IntImm) else dim for dim in buffer.shape]
