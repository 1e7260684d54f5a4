"""One step of the optimizers of ONNX's training operators, for each of their tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax

from .operator import Converter, Operator

_Values = Sequence[relax.Expr]
# (operator, learning rate, step count, tensors of one group) -> the group's new values
_Step = Callable[[Operator, relax.Expr, relax.Expr, _Values], list[relax.Expr]]


def _optimizer(step: _Step, groups: int) -> Converter:
    """Operands: R, T, then all X, all G and the state, each with one entry for each tensor."""

    def convert(operator: Operator) -> relax.Expr:
        rate, count = operator.operand(0), operator.operand(1)
        tensors = [operator.operand(i) for i in range(2, len(operator.inputs))]
        size = len(tensors) // groups
        columns = [step(operator, rate, count, tensors[i::size]) for i in range(size)]
        return relax.Tuple([result for row in zip(*columns, strict=True) for result in row])

    return convert


def _number(operator: Operator, name: str, default: float, like: relax.Expr) -> relax.Expr:
    return relax.const(float(operator.attributes.get(name, default)), str(like.ty.dtype))


def _regularized(operator: Operator, x: relax.Expr, g: relax.Expr) -> relax.Expr:
    weight = _number(operator, "norm_coefficient", 0.0, x)
    return _sum(operator, _product(operator, weight, x), g)


def _adagrad(
    operator: Operator, rate: relax.Expr, count: relax.Expr, tensors: _Values
) -> list[relax.Expr]:
    x, g, h = tensors
    decay = _number(operator, "decay_factor", 0.0, rate)
    steps = operator.emit(relax.op.astype(count, str(rate.ty.dtype)))
    one = relax.const(1.0, str(rate.ty.dtype))
    slowed = _quotient(operator, rate, _sum(operator, one, _product(operator, steps, decay)))
    g = _regularized(operator, x, g)
    h = _sum(operator, h, _product(operator, g, g))
    epsilon = _number(operator, "epsilon", 1e-6, x)
    root = _sum(operator, operator.emit(relax.op.sqrt(h)), epsilon)
    step = _quotient(operator, _product(operator, slowed, g), root)
    return [_difference(operator, x, step), h]


def _momentum(
    operator: Operator, rate: relax.Expr, count: relax.Expr, tensors: _Values
) -> list[relax.Expr]:
    x, g, v = tensors
    alpha, beta = (_number(operator, name, 0.0, x) for name in ("alpha", "beta"))
    g = _regularized(operator, x, g)
    # The first gradient counts fully.
    first = operator.emit(relax.op.equal(count, relax.const(0, str(count.ty.dtype))))
    one = relax.const(1.0, str(x.ty.dtype))
    weight = operator.emit(relax.op.where(first, one, beta))
    v = _sum(operator, _product(operator, alpha, v), _product(operator, weight, g))
    if operator.text("mode", "standard") == "nesterov":
        step = _sum(operator, g, _product(operator, alpha, v))
    else:
        step = v
    return [_difference(operator, x, _product(operator, rate, step)), v]


def _adam(
    operator: Operator, rate: relax.Expr, count: relax.Expr, tensors: _Values
) -> list[relax.Expr]:
    x, g, v, h = tensors
    dtype = str(x.ty.dtype)
    one = relax.const(1.0, dtype)
    alpha, beta = _number(operator, "alpha", 0.9, x), _number(operator, "beta", 0.999, x)
    g = _regularized(operator, x, g)
    v = _mix(operator, alpha, v, g)
    h = _mix(operator, beta, h, _product(operator, g, g))
    steps = operator.emit(relax.op.astype(count, dtype))
    started = operator.emit(relax.op.greater(steps, relax.const(0.0, dtype)))

    def rest(base: relax.Expr) -> relax.Expr:
        return _difference(operator, one, operator.emit(relax.op.power(base, steps)))

    corrected = _quotient(operator, operator.emit(relax.op.sqrt(rest(beta))), rest(alpha))
    adjusted = operator.emit(relax.op.where(started, _product(operator, rate, corrected), rate))
    root = _sum(operator, operator.emit(relax.op.sqrt(h)), _number(operator, "epsilon", 1e-6, x))
    step = _quotient(operator, _product(operator, adjusted, v), root)
    post = _number(operator, "norm_coefficient_post", 0.0, x)
    moved = _difference(operator, x, step)
    return [_product(operator, _difference(operator, one, post), moved), v, h]


def _mix(operator: Operator, weight: relax.Expr, old: relax.Expr, new: relax.Expr) -> relax.Expr:
    one = relax.const(1.0, str(old.ty.dtype))
    share = _product(operator, _difference(operator, one, weight), new)
    return _sum(operator, _product(operator, weight, old), share)


def _sum(operator: Operator, a: Any, b: Any) -> relax.Expr:
    return operator.emit(relax.op.add(a, b))


def _difference(operator: Operator, a: Any, b: Any) -> relax.Expr:
    return operator.emit(relax.op.subtract(a, b))


def _product(operator: Operator, a: Any, b: Any) -> relax.Expr:
    return operator.emit(relax.op.multiply(a, b))


def _quotient(operator: Operator, a: Any, b: Any) -> relax.Expr:
    return operator.emit(relax.op.divide(a, b))


_DOMAIN = "ai.onnx.preview.training"
CONVERTERS: dict[str, Converter] = {
    f"{_DOMAIN}.Adagrad": _optimizer(_adagrad, 3),
    f"{_DOMAIN}.Adam": _optimizer(_adam, 4),
    f"{_DOMAIN}.Momentum": _optimizer(_momentum, 3),
}
