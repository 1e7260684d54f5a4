"""Activation functions that exporters write out as arithmetic, put back as one operator.

PyTorch and TensorFlow write GELU as products of x, a half and 1 + erf(x/√2), in any order, and SiLU
as x · sigmoid(x). So a product is taken apart into its factors, and these are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm import relax

from tvmake.optimize.main_function import MainFunction, Replacement, replace_values, scalar, shape

if TYPE_CHECKING:
    import tvm

_CLOSE = 1e-5  # exporters round constants to float32, or further
_CUBIC = 0.044715  # of GELU's approximation by tanh (Hendrycks and Gimpel, 2016)


def recognize_activations(module: tvm.IRModule) -> tvm.IRModule:
    """Put GELU (by erf and by tanh) and SiLU in the place of what they are written as."""
    return replace_values(module, _activation)


def _activation(variable: relax.Var, main: MainFunction) -> Replacement | None:
    found = _match(variable, main)
    return _replacement(*found) if found else None


_Operator = Callable[[relax.Expr], relax.Expr]


@dataclass(frozen=True)
class _Product:
    """A coefficient times factors."""

    coefficient: float
    factors: tuple[relax.Expr, ...]


def _match(variable: relax.Var, main: MainFunction) -> tuple[_Operator, relax.Expr] | None:
    """The operator that a variable is the result of, and its operand."""
    if main.call(variable, "relax.multiply", "relax.divide") is None:
        return None
    product = _factors(variable, main)
    if len(product.factors) != 2:
        return None
    for x, gate in (product.factors, product.factors[::-1]):
        if shape(x) != shape(variable):
            continue
        sigmoid = main.call(gate, "relax.sigmoid")
        if sigmoid is not None and sigmoid.args[0].same_as(x) and _close(product.coefficient, 1):
            return relax.op.nn.silu, x
        inner = _plus_one(gate, main)
        if inner is None or not _close(product.coefficient, 0.5):
            continue
        if _is_erf(inner, x, main):
            return relax.op.nn.gelu, x
        if _is_tanh(inner, x, main):
            return relax.op.nn.gelu_tanh, x
    return None


def _replacement(operator: _Operator, x: relax.Expr) -> Replacement:
    def emit(
        builder: relax.BlockBuilder, new: Callable[[relax.Expr], relax.Expr], name: str
    ) -> relax.Expr:
        return builder.emit(operator(new(x)), name_hint=name)

    return emit


def _is_erf(expression: relax.Expr, x: relax.Expr, main: MainFunction) -> bool:
    """erf(x / √2)."""
    call = main.call(expression, "relax.erf")
    if call is None:
        return False
    product = _factors(call.args[0], main)
    return _is_only(product.factors, x) and _close(product.coefficient, math.sqrt(0.5))


def _is_tanh(expression: relax.Expr, x: relax.Expr, main: MainFunction) -> bool:
    """tanh(√(2/π) · (x + 0.044715·x³))."""
    call = main.call(expression, "relax.tanh")
    if call is None:
        return False
    product = _factors(call.args[0], main)
    if len(product.factors) != 1 or not _close(product.coefficient, math.sqrt(2 / math.pi)):
        return False
    added = main.call(product.factors[0], "relax.add")
    if added is None:
        return False
    for linear, cubic in (tuple(added.args), tuple(added.args)[::-1]):
        if linear.same_as(x):
            cube = _factors(cubic, main)
            return _is_cube(cube.factors, x, main) and _close(cube.coefficient, _CUBIC)
    return False


def _is_cube(factors: tuple[relax.Expr, ...], x: relax.Expr, main: MainFunction) -> bool:
    if len(factors) == 3:
        return all(factor.same_as(x) for factor in factors)
    power = main.call(factors[0], "relax.power") if len(factors) == 1 else None
    return power is not None and power.args[0].same_as(x) and scalar(power.args[1]) == 3.0


def _plus_one(expression: relax.Expr, main: MainFunction) -> relax.Expr | None:
    """What one is added to."""
    call = main.call(expression, "relax.add")
    if call is None:
        return None
    for value, one in (tuple(call.args), tuple(call.args)[::-1]):
        if scalar(one) == 1.0:
            return value
    return None


def _factors(expression: relax.Expr, main: MainFunction) -> _Product:
    """An expression as a product: multiplications and divisions by constants taken apart."""
    value = scalar(expression)
    if value is not None:
        return _Product(value, ())
    call = main.call(expression, "relax.multiply", "relax.divide")
    if call is None:
        return _Product(1.0, (expression,))
    left, right = (_factors(argument, main) for argument in call.args)
    if call.op.name == "relax.multiply":
        return _Product(left.coefficient * right.coefficient, left.factors + right.factors)
    if right.factors or right.coefficient == 0:
        return _Product(1.0, (expression,))
    return _Product(left.coefficient / right.coefficient, left.factors)


def _is_only(factors: tuple[relax.Expr, ...], x: relax.Expr) -> bool:
    return len(factors) == 1 and factors[0].same_as(x)


def _close(value: float, wanted: float) -> bool:
    return math.isclose(value, wanted, rel_tol=_CLOSE)
