"""Loop nests written out: what the rules that write whole kernels build them of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvm import s_tir, tirx

from tvmake.kernels.builder import HAND_WRITTEN, IN_PLACE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Body = Callable[[Any], tirx.Stmt]


def loop(
    extent: Any,
    body: Body,
    kind: tirx.ForKind = tirx.ForKind.SERIAL,
    *,
    start: Any = 0,
    name: str = "i",
) -> tirx.Stmt:
    """`for i in range(extent): body(start + i)`. A loop of one iteration is just its body."""
    if isinstance(extent, int) and extent == 1:
        return body(start if not isinstance(start, int) else integer(start))
    variable = tirx.Var(name, "int32")
    inner = body(variable if isinstance(start, int) and start == 0 else variable + start)
    return tirx.For(variable, integer(0), _expr(extent), kind, inner)


def unrolled(extent: int, body: Body, name: str = "i") -> tirx.Stmt:
    """A loop whose iterations are written one after the other."""
    return loop(extent, body, tirx.ForKind.UNROLLED, name=name)


def vector(lanes: int, body: Body) -> tirx.Stmt:
    """A loop of which each iteration is one lane of a vector."""
    return loop(lanes, body, tirx.ForKind.VECTORIZED, name="lane")


def parallel(extent: int, body: Body) -> tirx.Stmt:
    """A loop that the threads share."""
    return loop(extent, body, tirx.ForKind.PARALLEL, name="task")


def sequence(statements: Sequence[tirx.Stmt]) -> tirx.Stmt:
    """One statement after the other."""
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(list(statements))


def places(index: Any, extents: Sequence[int]) -> list[Any]:
    """The indices of nested loops over `extents` from the one of a loop over all of them."""
    found = []
    for extent in reversed(extents):
        found.append(index % extent if extent > 1 else integer(0))
        index = index // extent if extent > 1 else index
    return found[::-1]


def load(buffer: tirx.Buffer, *indices: Any) -> Any:
    """An element of a buffer."""
    return tirx.BufferLoad(buffer, [_expr(index) for index in indices])


def store(buffer: tirx.Buffer, value: Any, *indices: Any) -> tirx.Stmt:
    """A change of an element of a buffer."""
    return tirx.BufferStore(buffer, value, [_expr(index) for index in indices])


def load_vector(buffer: tirx.Buffer, lanes: int, *indices: Any) -> Any:
    """Neighbouring elements of a buffer."""
    return tirx.BufferLoad(buffer, _vector(indices, lanes))


def every(buffer: tirx.Buffer, first: Any, step: int, lanes: int) -> Any:
    """A vector of every second element of a flat buffer, or every third and so on."""
    if lanes == 1:
        return load(buffer, first)
    vectors = [load_vector(buffer, lanes, first + number * lanes) for number in range(step)]
    return vectors[0] if step == 1 else shuffled(vectors, range(0, step * lanes, step))


def shuffled(vectors: Sequence[Any], lanes: Sequence[int]) -> Any:
    """A vector of lanes, which are counted through all of some vectors."""
    return tirx.Shuffle(list(vectors), [integer(lane) for lane in lanes])


def transposed(rows: Sequence[Any]) -> list[Any]:
    """The columns of a square matrix whose rows are vectors: as many as each has lanes.

    Halves, then quarters and so on change places (Eklundh, "A Fast Computer Method for Matrix
    Transposing", 1972). Each value is part of several results; LLVM computes it once.
    """
    size, columns = len(rows), list(rows)
    distance = 1
    while distance < size:
        own = [lane if lane & distance == 0 else size + lane - distance for lane in range(size)]
        other = [lane + distance if lane & distance == 0 else size + lane for lane in range(size)]
        pairs = [(columns[i & ~distance], columns[i | distance]) for i in range(size)]
        columns = [shuffled(p, other if i & distance else own) for i, p in enumerate(pairs)]
        distance *= 2
    return columns


def store_vector(buffer: tirx.Buffer, value: Any, lanes: int, *indices: Any) -> tirx.Stmt:
    """A change of neighbouring elements of a buffer."""
    return tirx.BufferStore(buffer, value, _vector(indices, lanes))


def prefetch(buffer: tirx.Buffer, *indices: Any) -> tirx.Stmt:
    """Ask for an element that will be read, and its neighbours, in the second cache."""
    address = tirx.address_of(load(buffer, *indices))
    return tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, 0, 2, 1))


def when(condition: Any, then: tirx.Stmt, otherwise: tirx.Stmt | None = None) -> tirx.Stmt:
    """One of two statements."""
    return tirx.IfThenElse(condition, then, otherwise)


def zero() -> Any:
    """0.0 in single precision."""
    return tirx.FloatImm("float32", 0.0)


def integer(value: int) -> Any:
    """A constant index."""
    return tirx.IntImm("int32", value)


def scratch(name: str, *shape: int, dtype: str = "float32") -> tirx.Buffer:
    """Memory of a kernel's own. What is small and used within one loop becomes registers."""
    return tirx.decl_buffer(shape, dtype, name, scope="global")


def using(buffers: Sequence[tirx.Buffer], statements: Sequence[tirx.Stmt]) -> tirx.Stmt:
    """Statements that share memory of their own."""
    return sequence([*(tirx.AllocBuffer(buffer) for buffer in buffers), *statements])


def rewrite(
    function: tirx.PrimFunc,
    body: tirx.Stmt,
    memory: Sequence[tirx.Buffer],
    overwritable: Sequence[int] = (),
) -> tirx.PrimFunc:
    """The same prim func with another body.

    Args:
        function: of one result, if this may overwrite something.
        body: what it does now.
        memory: scratch, for the whole call.
        overwritable: positions of the inputs that the result may overwrite.
    """
    block = s_tir.SBlock([], [], [], "root", body, alloc_buffers=list(memory))
    realize = s_tir.SBlockRealize([], True, block)
    written = tirx.PrimFunc(function.params, realize, function.ret_type, function.attrs)
    if overwritable:
        # Arguments may overlap, so the code generator must not assume the contrary.
        written = written.with_attr("tirx.noalias", False)
    pairs = [number for position in overwritable for number in (0, position)]
    return written.with_attrs({HAND_WRITTEN: True, IN_PLACE: pairs})


def _vector(indices: Sequence[Any], lanes: int) -> list[Any]:
    *before, last = map(_expr, indices)
    return [*before, tirx.Ramp(last, 1, lanes) if lanes > 1 else last]


def _expr(value: Any) -> Any:
    return integer(value) if isinstance(value, int) else value
