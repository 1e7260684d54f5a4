"""ATen operators on tensors of open dimensions.

Torch knows every shape of an exported program as an expression of its symbols. These expressions
are taken over: no shape is inferred a second time, and numbers that follow from shapes need no
operators. Each rule returns None for what other converters can do.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
import tvm
from torch import fx
from tvm import relax, te, tirx

from .pt2_dims import dtype_name
from .shape_operators import broadcast_to, tile
from .slice_operator import cut, window
from .symbolic import Shapes, is_static, scalar

if TYPE_CHECKING:
    from .pt2_dims import OpenDims
    from .symbolic import Dim

    Rule = Callable[["TorchShapes", fx.Node, Sequence[Any]], relax.Expr | None]

_END = 1 << 40  # beyond every axis

_OPERATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add,
    "Mul": operator.mul,
    "FloorDiv": tirx.floordiv,
    "CleanDiv": tirx.floordiv,
    "Mod": tirx.floormod,
    "PythonMod": tirx.floormod,
    "Max": tirx.max,
    "Min": tirx.min,
}


class TorchShapes(Shapes):
    """Shapes of a program of torch in terms of its open dimensions.

    Attributes:
        results: what each node was converted to.
    """

    def __init__(self, dims: OpenDims) -> None:
        super().__init__()
        self.results: Mapping[fx.Node, Any] = {}
        variables = {symbol.name: tirx.Var(symbol.name, "int64") for symbol in dims.symbols}
        self.add_input(list(variables.values()))
        self._symbols: dict[str, Dim] = {
            symbol: value if isinstance(value, int) else variables[value]
            for symbol, value in dims.values.items()
        }

    def knows(self, size: int | torch.SymInt) -> bool:
        """Whether a size follows from the inputs' shapes, and not from data."""
        return isinstance(size, int) or all(
            str(symbol) in self._symbols for symbol in size.node.expr.free_symbols
        )

    def extent(self, size: int | torch.SymInt) -> Dim:
        """A size of torch's."""
        return size if isinstance(size, int) else self.simplify(self.expression(size.node.expr))

    def extents(self, tensor: torch.Tensor) -> list[Dim]:
        """A tensor's shape, as torch knows it."""
        return [self.extent(size) for size in tensor.shape]

    def expression(self, value: Any) -> Dim:
        """A size of torch's as an expression of the model's symbols.

        Raises:
            ValueError: when it is computed by an operation that the executor does not have.
        """
        if value.is_Integer:
            return int(value)
        if value.is_Symbol:
            return self._symbols[str(value)]
        if value.is_Pow and value.args[1].is_Integer and value.args[1].is_positive:
            return reduce(operator.mul, [self.expression(value.args[0])] * int(value.args[1]))
        operation = _OPERATIONS.get(type(value).__name__)
        if operation is None:
            raise ValueError(f"a size is {value}, which is not arithmetic of whole numbers")
        operands = [
            tirx.IntImm("int64", v) if isinstance(v, int) else v
            for v in map(self.expression, value.args)
        ]
        return reduce(operation, operands)

    def convert(self, node: fx.Node, arguments: Sequence[Any], converter: Callable[[], Any]) -> Any:
        """A node's result: a number that follows from shapes, or a tensor of the right shape.

        Args:
            node: of the program.
            arguments: its arguments, converted.
            converter: makes the result if no rule here does.

        Raises:
            ValueError: when it depends on shapes in a way that cannot be compiled.
        """
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt):
            return self.extent(value)
        if isinstance(value, torch.SymBool):
            return None  # what is asserted: torch checked it for the ranges of the symbols
        if isinstance(value, torch.SymFloat):
            raise ValueError("a number that depends on a dimension is no whole number")
        rule = RULES.get(node.target.__name__) if callable(node.target) else None
        result = rule(self, node, arguments) if rule else None
        if result is None:
            result = converter()
        return self._of_shape(result, value) if isinstance(value, torch.Tensor) else result

    def _of_shape(self, result: relax.Expr, value: torch.Tensor) -> relax.Expr:
        """The result in the shape that torch knows."""
        got, wanted = self.dims(result), self.extents(value)
        if len(got) == len(wanted) and all(map(self.same, got, wanted)):
            return result
        if is_static(got) and is_static(wanted):
            raise ValueError(f"its result has the shape {got}, expected {wanted}")
        return self.emit(relax.op.reshape(result, relax.ShapeExpr(wanted)))

    def emit(self, value: relax.Expr) -> relax.Expr:
        """A value of the program."""
        assert self.builder is not None
        return self.builder.emit(value)

    def operand(self, value: Any, dtype: str) -> relax.Expr:
        """An operand of arithmetic as a tensor: a number may depend on dimensions."""
        if is_tensor(value):
            return value if str(value.ty.dtype) == dtype else relax.op.astype(value, dtype)
        if isinstance(value, int | float):
            return relax.const(value, dtype)
        return self.tensor(scalar(value), dtype)


def is_tensor(value: Any) -> bool:
    """Whether an argument is a tensor, and not a number."""
    return isinstance(value, relax.Expr) and isinstance(value.ty, relax.TensorType)


def _is_number(value: Any) -> bool:
    """Whether an argument is a number that depends on dimensions."""
    return isinstance(value, tvm.ir.Expr) and not is_tensor(value)


def _view(shapes: TorchShapes, node: fx.Node, arguments: Sequence[Any]) -> relax.Expr:
    target = relax.ShapeExpr(shapes.extents(node.meta["val"]))
    return shapes.emit(relax.op.reshape(arguments[0], target))


def _expand(shapes: TorchShapes, node: fx.Node, arguments: Sequence[Any]) -> relax.Expr:
    data, target = arguments[0], shapes.extents(node.meta["val"])
    own = shapes.dims(data)
    if len(own) == len(target) and all(map(shapes.same, own, target)):
        return data
    return broadcast_to(shapes, data, target)


def _repeat(shapes: TorchShapes, node: fx.Node, arguments: Sequence[Any]) -> relax.Expr:
    data, target = arguments[0], shapes.extents(node.meta["val"])
    own = shapes.dims(data)
    whole = relax.ShapeExpr([1] * (len(target) - len(own)) + own)
    return tile(shapes, shapes.emit(relax.op.reshape(data, whole)), target)


def _full(shapes: TorchShapes, node: fx.Node, arguments: Sequence[Any]) -> relax.Expr:
    value = node.meta["val"]
    dtype = dtype_name(value.dtype)
    target = relax.ShapeExpr(shapes.extents(value))
    return shapes.emit(relax.op.full(target, shapes.operand(arguments[1], dtype), dtype))


def _scalar_tensor(shapes: TorchShapes, node: fx.Node, arguments: Sequence[Any]) -> relax.Expr:
    return shapes.operand(arguments[0], dtype_name(node.meta["val"].dtype))


def _arange(shapes: TorchShapes, node: fx.Node, arguments: Sequence[Any]) -> relax.Expr | None:
    start = 0 if len(arguments) == 1 else arguments[0]
    step = arguments[2] if len(arguments) > 2 else 1
    value = node.meta["val"]
    count, dtype = shapes.extents(value)[0], dtype_name(value.dtype)
    if isinstance(start, float) or isinstance(step, float) or is_static([count, start, step]):
        return None

    def build(_: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
        return te.compute(
            (given[0],), lambda i: (given[1] + i * given[2]).astype(dtype), name="range"
        )

    return shapes.compute(build, [], [count, start, step], "range")


def _slice(shapes: TorchShapes, node: fx.Node, arguments: Sequence[Any]) -> relax.Expr | None:
    given: list[Any] = [*arguments, *(None, 0, None, None, 1)[len(arguments) :]]
    data, axis, start, end, step = given
    dims, target = shapes.dims(data), shapes.extents(node.meta["val"])
    if is_static(dims) and is_static(target):
        return None
    axis %= len(dims)
    if step == 1 and shapes.same(dims[axis], target[axis]):
        return data
    begin, _ = window(shapes, start or 0, _END if end is None else end, step, dims[axis])
    return cut(shapes, data, [axis], [begin], [step], target)


def _select(shapes: TorchShapes, node: fx.Node, arguments: Sequence[Any]) -> relax.Expr | None:
    data, axis, index = arguments
    dims = shapes.dims(data)
    if is_static(dims) and isinstance(index, int):
        return None
    axis %= len(dims)
    begin = index + dims[axis] if isinstance(index, int) and index < 0 else index
    part = cut(shapes, data, [axis], [begin], [1], [*dims[:axis], 1, *dims[axis + 1 :]])
    return _view(shapes, node, [part])


def _bmm(shapes: TorchShapes, node: fx.Node, arguments: Sequence[Any]) -> relax.Expr | None:
    """A product whose second matrix is one for the whole batch, which torch repeats."""
    matrix = node.args[1]
    while isinstance(matrix, fx.Node) and _overload(matrix) in ("expand.default", "view.default"):
        before = matrix.args[0]
        assert isinstance(before, fx.Node)
        if before.meta["val"].shape[-2:] != matrix.meta["val"].shape[-2:]:
            break
        matrix = before
    if not isinstance(matrix, fx.Node) or matrix.meta["val"].ndim != 2:
        return None
    return shapes.emit(relax.op.matmul(arguments[0], shapes.results[matrix]))


def _overload(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))


def _arithmetic(operation: Callable[[Any, Any], relax.Expr]) -> Rule:
    """Operators of which one operand is a number that depends on dimensions."""

    def convert(shapes: TorchShapes, node: fx.Node, arguments: Sequence[Any]) -> relax.Expr | None:
        if not any(map(_is_number, arguments)) or len(arguments) != 2 or node.kwargs:
            return None
        value = node.meta["val"].dtype
        own = next(str(a.ty.dtype) for a in arguments if is_tensor(a))
        dtype = own if value is torch.bool else dtype_name(value)
        return shapes.emit(operation(*(shapes.operand(a, dtype) for a in arguments)))

    return convert


_ARITHMETIC: Mapping[str, Callable[[Any, Any], relax.Expr]] = {
    "add": relax.op.add,
    "sub": relax.op.subtract,
    "mul": relax.op.multiply,
    "div": relax.op.divide,
    "eq": relax.op.equal,
    "ne": relax.op.not_equal,
    "lt": relax.op.less,
    "le": relax.op.less_equal,
    "gt": relax.op.greater,
    "ge": relax.op.greater_equal,
}

RULES: Mapping[str, Rule] = {
    "view.default": _view,
    "_unsafe_view.default": _view,
    "reshape.default": _view,
    "expand.default": _expand,
    "repeat.default": _repeat,
    "full.default": _full,
    "scalar_tensor.default": _scalar_tensor,
    "arange.default": _arange,
    "arange.start": _arange,
    "arange.start_step": _arange,
    "slice.Tensor": _slice,
    "select.int": _select,
    "bmm.default": _bmm,
    **{
        f"{name}.{overload}": _arithmetic(operation)
        for name, operation in _ARITHMETIC.items()
        for overload in ("Tensor", "Scalar")
    },
}
