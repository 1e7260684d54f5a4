"""What ONNX operators say of shape values: see `symbolic`.

Each rule gets the known operands as arrays of ints and expressions, and returns the result, or None
where it does not follow from them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import tirx

from .symbolic import Shapes, product

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .symbolic import Values

    Attributes = Mapping[str, Any]
    Rule = Callable[[Shapes, Sequence[Values], Attributes], Values | None]


def _elementwise(function: Callable[[Any, Any], Any]) -> Rule:
    def rule(shapes: Shapes, operands: Sequence[Values], _: Attributes) -> Values | None:
        try:
            return _map(lambda a, b: shapes.simplify(function(a, b)), *operands)
        except ValueError:
            return None

    return rule


def _compare(holds: Callable[[Any, Any], Any], fails: Callable[[Any, Any], Any]) -> Rule:
    """A comparison that has the same answer for all shapes."""

    def decide(shapes: Shapes, a: Any, b: Any) -> bool:
        if shapes.proves(holds(a, b)):
            return True
        if shapes.proves(fails(a, b)):
            return False
        raise ValueError

    def rule(shapes: Shapes, operands: Sequence[Values], _: Attributes) -> Values | None:
        try:
            return _map(functools.partial(decide, shapes), *operands)
        except ValueError:
            return None

    return rule


def _map(function: Callable[..., Any], *operands: Values) -> Values:
    broadcast = np.broadcast_arrays(*operands)
    result = np.empty(broadcast[0].shape, object)
    for index in np.ndindex(result.shape):
        result[index] = function(*(operand[index] for operand in broadcast))
    return result


def _divide(a: Any, b: Any) -> Any:
    """ONNX rounds toward zero; of shapes, nothing is negative."""
    if isinstance(a, int) and isinstance(b, int):
        if b == 0:
            raise ValueError
        return int(a / b) if a * b < 0 else a // b
    if isinstance(b, int) and b <= 0:
        raise ValueError
    return tirx.floordiv(a, b)


def _modulo(a: Any, b: Any) -> Any:
    if isinstance(b, int) and b <= 0:
        raise ValueError
    return a % b if isinstance(a, int) and isinstance(b, int) else tirx.floormod(a, b)


def _equal(a: Any, b: Any) -> Any:
    return bool(a == b) if isinstance(a, int) and isinstance(b, int) else tirx.EQ(*_exprs(a, b))


def _differ(a: Any, b: Any) -> Any:
    return bool(a != b) if isinstance(a, int) and isinstance(b, int) else tirx.NE(*_exprs(a, b))


def _exprs(*values: Any) -> list[Any]:
    return [tirx.IntImm("int64", v) if isinstance(v, int) else v for v in values]


def _gather(_: Shapes, operands: Sequence[Values], attributes: Attributes) -> Values | None:
    data, indices = operands
    if not all(isinstance(i, int) for i in indices.reshape(-1)):
        return None
    return _array(data.take(indices.astype(np.int64), axis=int(attributes.get("axis", 0))))


def _slice(_: Shapes, operands: Sequence[Values], attributes: Attributes) -> Values | None:
    data, *rest = operands
    if "starts" in attributes:
        rest = [np.asarray(attributes[name], object) for name in ("starts", "ends")]
        rest += [np.asarray(attributes["axes"], object)] if "axes" in attributes else []
    if not all(isinstance(v, int) for part in rest for v in part.reshape(-1)):
        return None
    starts, ends = rest[0], rest[1]
    axes = rest[2] if len(rest) > 2 else range(len(starts))
    steps = rest[3] if len(rest) > 3 else [1] * len(starts)
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        limit = None if step < 0 and end < -data.shape[axis] else end
        index[axis] = slice(start, limit, step)
    return _array(data[tuple(index)])


def _concat(_: Shapes, operands: Sequence[Values], attributes: Attributes) -> Values:
    return _array(np.concatenate(list(operands), axis=int(attributes.get("axis", 0))))


def _squeeze(_: Shapes, operands: Sequence[Values], attributes: Attributes) -> Values | None:
    axes = _axes(operands, attributes)
    return _array(np.squeeze(operands[0], axis=axes))


def _unsqueeze(_: Shapes, operands: Sequence[Values], attributes: Attributes) -> Values | None:
    axes = _axes(operands, attributes)
    return None if axes is None else _array(np.expand_dims(operands[0], axes))


def _axes(operands: Sequence[Values], attributes: Attributes) -> tuple[int, ...] | None:
    if len(operands) > 1:
        return tuple(int(axis) for axis in operands[1].reshape(-1))
    return tuple(attributes["axes"]) if "axes" in attributes else None


def _reshape(_: Shapes, operands: Sequence[Values], __: Attributes) -> Values | None:
    if not all(isinstance(v, int) for v in operands[1].reshape(-1)):
        return None
    return _array(operands[0].reshape([int(v) for v in operands[1].reshape(-1)]))


def _where(_: Shapes, operands: Sequence[Values], __: Attributes) -> Values | None:
    if not all(isinstance(v, bool | int) for v in operands[0].reshape(-1)):
        return None
    return _map(lambda c, a, b: a if c else b, *operands)


def _constant_of_shape(_: Shapes, operands: Sequence[Values], attributes: Attributes) -> Any:
    import onnx.numpy_helper

    dims = operands[0].reshape(-1)
    if not all(isinstance(d, int) for d in dims) or product(list(dims)) > 64:
        return None
    value = attributes.get("value")
    fill = 0 if value is None else onnx.numpy_helper.to_array(value).reshape(-1)[0].item()
    return np.full([int(d) for d in dims], fill, object) if isinstance(fill, int) else None


def _range(_: Shapes, operands: Sequence[Values], __: Attributes) -> Values | None:
    start, limit, delta = (operand.reshape(-1)[0] for operand in operands)
    if not all(isinstance(v, int) for v in (start, limit, delta)) or delta == 0:
        return None
    values = range(start, limit, delta)
    return np.asarray(values, object) if 0 < len(values) <= 64 else None


def _reduce(function: Callable[[Any, Any], Any]) -> Rule:
    def rule(shapes: Shapes, operands: Sequence[Values], attributes: Attributes) -> Values | None:
        axes, values = _axes(operands, attributes), operands[0]
        if values.ndim != 1 or axes not in (None, (0,), (-1,)):
            return None
        result = np.empty((), object)
        result[()] = shapes.simplify(functools.reduce(function, values))
        return result.reshape((1,) if attributes.get("keepdims", 1) else ())

    return rule


def _expand(_: Shapes, operands: Sequence[Values], __: Attributes) -> Values | None:
    dims = operands[1].reshape(-1)
    if not all(isinstance(d, int) for d in dims) or product(list(dims)) > 64:
        return None
    shape = np.broadcast_shapes(operands[0].shape, tuple(int(d) for d in dims))
    return _array(np.broadcast_to(operands[0], shape))


def _array(values: Any) -> Values:
    """NumPy hands out bare elements where arrays of no dimension are meant."""
    if isinstance(values, np.ndarray):
        return values
    result = np.empty((), object)
    result[()] = values
    return result


def _first(_: Shapes, operands: Sequence[Values], __: Attributes) -> Values:
    return operands[0]


RULES: dict[str, Rule] = {
    "Add": _elementwise(lambda a, b: a + b),
    "Cast": _first,
    "Ceil": _first,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _elementwise(_divide),
    "Equal": _compare(_equal, _differ),
    "Expand": _expand,
    "Floor": _first,
    "Gather": _gather,
    "Greater": _compare(lambda a, b: a > b, lambda a, b: a <= b),
    "GreaterOrEqual": _compare(lambda a, b: a >= b, lambda a, b: a < b),
    "Identity": _first,
    "Less": _compare(lambda a, b: a < b, lambda a, b: a >= b),
    "LessOrEqual": _compare(lambda a, b: a <= b, lambda a, b: a > b),
    "Max": _elementwise(lambda a, b: tirx.max(*_exprs(a, b))),
    "Min": _elementwise(lambda a, b: tirx.min(*_exprs(a, b))),
    "Mod": _elementwise(_modulo),
    "Mul": _elementwise(lambda a, b: a * b),
    "Range": _range,
    "ReduceMax": _reduce(lambda a, b: tirx.max(*_exprs(a, b))),
    "ReduceMin": _reduce(lambda a, b: tirx.min(*_exprs(a, b))),
    "ReduceProd": _reduce(lambda a, b: a * b),
    "ReduceSum": _reduce(lambda a, b: a + b),
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _elementwise(lambda a, b: a - b),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
# Whose results in floating point are whole numbers only where the operands are integers.
EXACT_ON_INTEGERS = {"Div"}
