"""Prim funcs written loop by loop, for kernels whose loop nest no schedule primitive gives.

A vector register is a buffer as wide as one: every access is to all of it at a fixed place, so that
LLVM keeps it in a register.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tvm import s_tir, tirx

from tvmake.op_patterns import OPAQUE, PATTERN

HAND_WRITTEN = "tvmake.hand_written"
IN_PLACE = "tvmake.in_place"
_KINDS = {"serial": tirx.ForKind.SERIAL, "parallel": tirx.ForKind.PARALLEL}

Expr = Any  # a TIR expression, or a number


class Builder:
    """Collects statements; loops nest as `with` blocks."""

    def __init__(self) -> None:
        self._scopes: list[list[tirx.Stmt]] = [[]]
        self._parameters: list[Any] = []
        self._scratch: list[Any] = []

    def parameter(self, name: str, shape: Sequence[int], dtype: str = "float32") -> Any:
        """A tensor that the caller passes: inputs first, then outputs."""
        buffer = tirx.decl_buffer(tuple(shape), dtype, name, layout=None)
        self._parameters.append(buffer)
        return buffer

    def scratch(self, name: str, shape: Sequence[int], dtype: str = "float32") -> Any:
        """Memory of the whole call, which lowering takes from the arena."""
        buffer = tirx.decl_buffer(tuple(shape), dtype, name, layout=None)
        self._scratch.append(buffer)
        return buffer

    def register(self, lanes: int, dtype: str = "float32", name: str = "r") -> Register:
        """One vector, or with one lane a scalar, that lives in the scope at hand."""
        return Register(self, self.stack(name, (lanes,), dtype), lanes)

    def stack(self, name: str, shape: Sequence[int], dtype: str = "float32") -> Any:
        """A little memory of the scope at hand, each thread's own."""
        buffer = tirx.decl_buffer(tuple(shape), dtype, name, layout=None)
        self.emit(tirx.AllocBuffer(buffer))
        return buffer

    def bind(self, value: Expr, name: str = "v") -> Any:
        """A name for a value that is used more than once."""
        variable = tirx.Var(name, value.ty)
        self.emit(tirx.Bind(variable, value))
        return variable

    def emit(self, statement: tirx.Stmt) -> None:
        """Append a statement."""
        self._scopes[-1].append(statement)

    def store(self, buffer: Any, value: Expr, *index: Expr) -> None:
        """Store a value; a vector goes to the last axis from the index on."""
        self.emit(tirx.BufferStore(buffer, value, list(_vector(index, _lanes(value)))))

    @contextmanager
    def loop(self, extent: int, name: str = "i", kind: str = "serial") -> Iterator[Any]:
        """A loop from 0; of one iteration, nothing but its body."""
        if extent == 1:
            yield tirx.const(0, "int32")
            return
        variable = tirx.Var(name, "int32")
        self._scopes.append([])
        yield variable
        if extent == 0:
            self._scopes.pop()
            return
        body = _sequence(self._scopes.pop())
        self.emit(tirx.For(variable, 0, extent, _KINDS[kind], body))

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        """Statements under a condition."""
        self._scopes.append([])
        yield
        self.emit(tirx.IfThenElse(condition, _sequence(self._scopes.pop()), None))

    def function(self, in_place: Sequence[tuple[int, int]] = ()) -> tirx.PrimFunc:
        """The prim func.

        Args:
            in_place: pairs (output, input) of positions such that the output may overwrite the
                input.
        """
        body = _sequence(self._scopes[0])
        root = s_tir.SBlock([], [], [], "root", body, None, self._scratch)
        function = tirx.PrimFunc(self._parameters, s_tir.SBlockRealize([], True, root))
        pairs = [number for pair in in_place for number in pair]
        attributes = {"s_tir": True, "tirx.noalias": not pairs, PATTERN: OPAQUE}
        return function.with_attrs({**attributes, HAND_WRITTEN: True, IN_PLACE: pairs})


class Register:
    """A vector that can be read and written."""

    def __init__(self, builder: Builder, buffer: Any, lanes: int) -> None:
        self._builder = builder
        self._buffer = buffer
        self.lanes = lanes

    def get(self) -> Any:
        """Its value."""
        return load(self._buffer, 0, lanes=self.lanes)

    def set(self, value: Expr) -> None:
        """Give it a value."""
        self._builder.store(self._buffer, value, 0)

    def lane(self, index: int) -> Any:
        """The value of one lane."""
        return load(self._buffer, index)

    def set_lane(self, index: int, value: Expr) -> None:
        """Give one lane a value."""
        self._builder.store(self._buffer, value, index)


def load(buffer: Any, *index: Expr, lanes: int = 1) -> Any:
    """`lanes` elements from an index on, along the last axis."""
    return tirx.BufferLoad(buffer, list(_vector(index, lanes)))


def splat(value: Expr, lanes: int, dtype: str = "float32") -> Any:
    """A value in every lane."""
    scalar = tirx.const(value, dtype) if isinstance(value, int | float) else value
    return tirx.Broadcast(scalar, lanes) if lanes > 1 else scalar


def fold(vector: Register, operation: Callable[[Expr, Expr], Expr]) -> Expr:
    """All lanes of a vector combined, in pairs."""
    parts = [vector.lane(lane) for lane in range(vector.lanes)]
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        rest = parts[-1:] if len(parts) % 2 else []
        parts = [operation(a, b) for a, b in pairs] + rest
    return parts[0]


def _vector(index: Sequence[Expr], lanes: int) -> tuple[Expr, ...]:
    if lanes == 1:
        return tuple(index)
    return (*index[:-1], tirx.Ramp(index[-1], 1, lanes))


def _lanes(value: Expr) -> int:
    dtype = str(value.ty.dtype)
    return int(dtype.rpartition("x")[2]) if "x" in dtype else 1


def _sequence(statements: Sequence[tirx.Stmt]) -> tirx.Stmt:
    if not statements:
        return tirx.Evaluate(0)
    return tirx.SeqStmt(list(statements)) if len(statements) > 1 else statements[0]
