"""Values that follow from shapes: known as expressions of the symbolic dimensions, without data.

Exporters compute shapes by operators (Shape, Gather, Concat, Reshape). What such operators say is
followed here on arrays of expressions, so that shapes stay known at compile time in terms of the
inputs' dimensions. A value that depends on data becomes a symbol of its own, which the executor
binds when it gets there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax, te, tirx

if TYPE_CHECKING:
    from onnx import NodeProto

    from .converters import Operator

    Dim = Any  # int or tirx expression
    Values = np.ndarray[Any, Any]  # of Dim

BIND = "tvmake.bind"  # the external function whose results the executor takes for symbols
_LARGEST = 64  # elements: more is data, not a shape
_MOST = 1 << 40
_INT_MAX = (1 << 63) - 1


class Shapes:
    """What is known of a model's shape values while it is imported.

    Attributes:
        upper: upper bounds of the symbols made here, in terms of others.
        limits: the most turns of loops that collect values, by the loop's name.
        carried: the first values of what loops carry, likewise.
    """

    def __init__(self, builder: relax.BlockBuilder | None = None) -> None:
        self.builder = builder
        self.values: dict[str, Values] = {}
        self.upper: dict[str, Dim] = {}
        self.limits: dict[str, Dim] = {}
        self.carried: dict[str, list[relax.Expr]] = {}
        self.analyzer = tvm.sym.Analyzer()
        self._names: set[str] = set()

    def add_input(self, dims: Sequence[Dim]) -> None:
        """Learn that the symbols in an input's shape are positive."""
        for dim in dims:
            if isinstance(dim, tirx.Var) and dim.name not in self._names:
                self._names.add(dim.name)
                self.analyzer.bind(dim, tvm.ir.Range.from_min_extent(_int(1), _int(_MOST)))

    # Expressions.

    def simplify(self, value: Dim) -> Dim:
        """The shortest equal expression; an int where there is one."""
        if isinstance(value, int | np.integer):
            return int(value)
        value = self.analyzer.simplify(value)
        return int(value) if isinstance(value, tirx.IntImm) else value

    def proves(self, condition: Any) -> bool:
        """Whether a condition holds for all shapes."""
        if isinstance(condition, bool | np.bool_):
            return bool(condition)
        return bool(self.analyzer.can_prove(condition))

    def clamp(self, value: Dim, low: Dim, high: Dim) -> Dim:
        """`value` between two bounds."""
        return self.least(self.largest(value, low), high)

    def least(self, a: Dim, b: Dim) -> Dim:
        """The smaller of two."""
        return self.simplify(tirx.min(_int(a), _int(b)))

    def largest(self, a: Dim, b: Dim) -> Dim:
        """The larger of two."""
        return self.simplify(tirx.max(_int(a), _int(b)))

    def same(self, a: Dim, b: Dim) -> bool:
        """Whether two expressions are equal for all shapes."""
        return bool(self.analyzer.can_prove_equal(_int(a), _int(b)))

    # Operators.

    def known(self, node: NodeProto, operator: Operator, index: int) -> Values | None:
        """An operand's value, if it follows from shapes and constants."""
        if index >= len(node.input) or not node.input[index]:
            return None
        value = self.values.get(node.input[index])
        if value is not None:
            return value
        expr = operator.inputs[index]
        if isinstance(expr, tvm.ir.GenericConst):
            array = expr.value.numpy()
            if array.size > _LARGEST:
                return None
            if array.dtype.kind == "f" and np.all(array == np.round(array)):
                array = np.clip(array, -_MOST, _MOST).astype(np.int64)
            if array.dtype.kind in "iub":
                return _objects(array)
        return None

    def compute(
        self,
        function: Callable[[Sequence[te.Tensor], Sequence[Any]], te.Tensor],
        tensors: Sequence[relax.Expr],
        expressions: Sequence[Dim],
        name: str,
        **attributes: Any,
    ) -> relax.Expr:
        """A kernel over tensors and expressions of symbols."""
        assert self.builder is not None
        variables: dict[str, tirx.Var] = {}
        for expression in expressions:
            for variable in variables_of(expression):
                variables.setdefault(variable.name, variable)

        def build(*arguments: Any) -> te.Tensor:
            replaced = dict(zip(variables, arguments[len(tensors) :], strict=True))
            given = [substitute(expression, replaced) for expression in expressions]
            return function(arguments[: len(tensors)], given)

        call = self.builder.call_te(
            build,
            *tensors,
            *variables.values(),
            primfunc_name_hint=name,
            primfunc_attrs=attributes or None,
        )
        return self.builder.emit(call)

    def tensor(self, values: Values, dtype: str) -> relax.Expr:
        """Known values as a tensor that operators can take."""
        flat = [self.simplify(value) for value in values.reshape(-1)]
        if all(isinstance(value, int) for value in flat):
            return relax.const(np.asarray(flat, dtype).reshape(values.shape), dtype)

        def build(_: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
            def element(*index: Any) -> Any:
                position: Any = 0
                for i, extent in zip(index, values.shape, strict=True):
                    position = position * extent + i
                result = given[-1]
                for k in reversed(range(len(given) - 1)):
                    result = tirx.Select(position == k, given[k], result)
                return result.astype(dtype)

            return te.compute(values.shape, element, name="shape_value")

        return self.compute(build, [], flat, "shape_value")

    def bind(self, tensor: relax.Expr, name: str, upper: Sequence[Dim | None]) -> list[tirx.Var]:
        """Symbols for the elements of an int64 tensor of one dimension, known at run time only.

        Args:
            tensor: the values, none of them negative.
            name: to call the symbols after.
            upper: for each, the largest value it can have; None if there is no bound.
        """
        assert self.builder is not None
        symbols = []
        for bound in upper:
            symbol = tirx.Var(self._unique(name), "int64")
            self.analyzer.bind(symbol, tvm.ir.Range.from_min_extent(_int(0), _int(_MOST)))
            if bound is not None:
                self.upper[symbol.name] = bound
            symbols.append(symbol)
        shape = relax.call_pure_packed(BIND, tensor, ty_args=[relax.ShapeType(ndim=len(upper))])
        self.builder.match_cast(self.builder.emit(shape), relax.ShapeType(symbols))
        return symbols

    def dims(self, value: relax.Expr) -> list[Dim]:
        """A tensor's shape.

        Raises:
            ValueError: when it is not known.
        """
        if not isinstance(value.ty, relax.TensorType) or value.ty.shape is None:
            raise ValueError("the rank of an operand is not known")
        return [self.simplify(dim) for dim in value.ty.shape]

    def _unique(self, name: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_]", "_", name)
        base = base if base[:1].isalpha() else f"d{base}"
        unique, count = base, 1
        while unique in self._names:
            count += 1
            unique = f"{base}_{count}"
        self._names.add(unique)
        return unique


def variables_of(expression: Dim) -> list[tirx.Var]:
    """The symbols in an expression."""
    found: list[tirx.Var] = []
    if not isinstance(expression, int | np.integer):
        tvm_ffi.structural_walk(expression, (tirx.Var, found.append))
    return [variable for variable in found if tvm.ir.is_prim_expr(variable)]


def substitute(expression: Dim, values: Mapping[str, Any]) -> Any:
    """An expression with its symbols, by name, replaced."""

    def replace(variable: tirx.Var) -> Any:
        return values.get(variable.name, variable)

    return tvm_ffi.structural_map(_int(expression), (tirx.Var, replace))


def is_static(dims: Sequence[Dim]) -> bool:
    """Whether all extents are numbers."""
    return all(isinstance(dim, int) for dim in dims)


def product(values: Sequence[Dim]) -> Dim:
    """The number of elements."""
    result: Dim = 1
    for value in values:
        result = result * value
    return result


def scalar(value: Dim) -> Values:
    """One value, of no dimension."""
    result = np.empty((), object)
    result[()] = value
    return result


def _objects(array: np.ndarray[Any, Any]) -> Values:
    result = np.empty(array.shape, object)
    for index in np.ndindex(array.shape):
        result[index] = int(array[index])
    return result


def _int(value: Dim) -> Any:
    return tirx.IntImm("int64", int(value)) if isinstance(value, int | np.integer) else value
