"""Extents that are known at run time only: their bounds, and the program that computes them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tvm
import tvm_ffi
from tvm import tirx

from tvmake.errors import UnsupportedError
from tvmake.frontend.imported import Symbol
from tvmake.frontend.symbolic import substitute

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UNBOUNDED = -1  # in place of an extent for which there is no upper bound
_MOST = 1 << 60  # stands for no bound; what is made of it is still far beyond any tensor
_LARGEST = 1 << 31
_SAMPLES = (1009, 5003)

# Operations of the program, in the order of their codes. cpp/src/shape_program.cc runs them.
_CODES = {
    tirx.IntImm: 0,
    tirx.Var: 1,
    tirx.Add: 2,
    tirx.Sub: 3,
    tirx.Mul: 4,
    tirx.FloorDiv: 5,
    tirx.FloorMod: 6,
    tirx.Min: 7,
    tirx.Max: 8,
    tirx.Div: 5,  # of extents, nothing is negative
    tirx.Mod: 6,
    tirx.EQ: 9,
    tirx.LT: 10,
    tirx.Select: 11,
}


class Bounds:
    """Upper bounds of expressions of symbols.

    Args:
        symbols: of the model's inputs.
        upper: bounds of other symbols by name, in terms of these.
    """

    def __init__(
        self, symbols: Sequence[Symbol] = (), upper: Mapping[str, Any] | None = None
    ) -> None:
        self._analyzer = tvm.sym.Analyzer()
        self._inputs = {symbol.name: symbol for symbol in symbols}
        self._upper = upper or {}
        self._known: set[Any] = set()

    def most(self, extent: Any) -> int:
        """The largest value of an extent, or UNBOUNDED."""
        if isinstance(extent, int):
            return extent
        for variable in variables(extent):
            self._learn(variable)
        bound = int(self._analyzer.const_int_bound(extent).max_value)
        return bound if 0 <= bound < _LARGEST else UNBOUNDED

    def of_symbol(self, name: str) -> int:
        """The largest value of a symbol, or UNBOUNDED."""
        if name in self._inputs:
            bound = self._inputs[name].most or UNBOUNDED
            return bound if bound < _LARGEST else UNBOUNDED
        return self.most(self._upper[name]) if name in self._upper else UNBOUNDED

    def symbol(self, name: str) -> Symbol:
        """What the executor is told of a symbol."""
        most = self.of_symbol(name)
        least = self._inputs[name].least if name in self._inputs else 1
        return Symbol(name, None if most == UNBOUNDED else most, least)

    def _learn(self, variable: Any) -> None:
        key = variable.__chandle__()
        if key in self._known:
            return
        self._known.add(key)
        least = self._inputs[variable.name].least if variable.name in self._inputs else 0
        most = self.of_symbol(variable.name)
        most = _MOST if most == UNBOUNDED else max(most, least)
        extent = tirx.IntImm("int64", most - least + 1)
        self._analyzer.bind(
            variable, tvm.ir.Range.from_min_extent(tirx.IntImm("int64", least), extent)
        )


def variables(expression: Any) -> list[Any]:
    """The symbols in an expression."""
    found: list[Any] = []
    if not isinstance(expression, int):
        tvm_ffi.structural_walk(expression, (tirx.Var, found.append))
    return found


def same_size(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether two shapes have the same number of elements, whatever their symbols are.

    Tried with a few numbers that make an accident unlikely; simplification may not see it.
    """
    names = {v.name for dim in (*a, *b) for v in variables(dim)}
    for first in _SAMPLES:
        values = {name: tirx.IntImm("int64", first + 2 * i) for i, name in enumerate(sorted(names))}
        if _elements(a, values) != _elements(b, values):
            return False
    return True


def _elements(shape: Sequence[Any], values: Mapping[str, Any]) -> int:
    analyzer = tvm.sym.Analyzer()
    return math.prod(int(analyzer.simplify(substitute(dim, values))) for dim in shape)


def extent(dim: Any) -> Any:
    """A dimension as an int, where it is one."""
    return int(dim) if isinstance(dim, int | tirx.IntImm) else dim


@dataclass(frozen=True)
class Program:
    """Expressions of symbols, in an order in which each uses only those before it.

    Attributes:
        symbols: names; those of the inputs first.
        steps: (code, a, b, c): operands are indices of steps; of a constant, `a` is its value, and
            of a symbol, its index.
    """

    symbols: tuple[str, ...]
    steps: tuple[tuple[int, ...], ...]


class ProgramBuilder:
    """Collects expressions; equal ones are computed once."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols = list(symbols)
        self._steps: dict[tuple[int, ...], int] = {}

    def add(self, expression: Any) -> int:
        """The step that computes an expression.

        Raises:
            UnsupportedError: when it uses an operation that the executor does not have.
        """
        if isinstance(expression, int):
            return self._step(0, expression)
        if isinstance(expression, tirx.Cast):
            return self.add(expression.value)
        if isinstance(expression, tirx.NE):
            same = self._step(9, self.add(expression.a), self.add(expression.b))
            return self._step(11, same, self.add(0), self.add(1))
        if isinstance(expression, tirx.GT | tirx.GE | tirx.LE):
            return self._ordered(expression)
        code = _CODES.get(type(expression))
        if code is None:
            raise UnsupportedError(f"an extent of the model is computed by '{expression}'")
        if code == 0:
            return self._step(0, int(expression))
        if code == 1:
            return self._step(1, self._symbols.index(expression.name))
        if code == 11:
            parts = (expression.condition, expression.true_value, expression.false_value)
            return self._step(11, *(self.add(part) for part in parts))
        return self._step(code, self.add(expression.a), self.add(expression.b))

    def finish(self) -> Program:
        """All that was added."""
        return Program(tuple(self._symbols), tuple(self._steps))

    def _ordered(self, expression: Any) -> int:
        a, b = self.add(expression.a), self.add(expression.b)
        if isinstance(expression, tirx.GT):
            return self._step(10, b, a)
        less = self._step(10, a, b) if isinstance(expression, tirx.GE) else self._step(10, b, a)
        return self._step(11, less, self.add(0), self.add(1))

    def _step(self, code: int, a: int, b: int = 0, c: int = 0) -> int:
        return self._steps.setdefault((code, a, b, c), len(self._steps))


def readable(expression: Any) -> int | str:
    """An extent for people: a number, or the expression as text."""
    if isinstance(expression, int):
        return expression
    return re.sub(r"T\.int64\((-?[0-9]+)\)", r"\1", str(expression))
