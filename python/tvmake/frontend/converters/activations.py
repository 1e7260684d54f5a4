"""The activation functions that recurrent operators name, on scalar expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tvm import tirx

_Function = Callable[[Any], Any]


def _constant(value: Any, number: float) -> Any:
    return tirx.const(number, str(value.ty.dtype))


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    one = _constant(x, 1.0)
    return one / (one + tirx.exp(_constant(x, 0.0) - x))


def _hard_sigmoid(x: Any, alpha: float, beta: float) -> Any:
    line = x * _constant(x, alpha) + _constant(x, beta)
    return tirx.max(_constant(x, 0.0), tirx.min(_constant(x, 1.0), line))


def _softplus(x: Any) -> Any:
    # log(1 + exp(x)) without overflow.
    rest = tirx.log(_constant(x, 1.0) + tirx.exp(-tirx.abs(x)))
    return tirx.max(x, _constant(x, 0.0)) + rest


_PLAIN: dict[str, _Function] = {
    "relu": lambda x: tirx.max(x, _constant(x, 0.0)),
    "sigmoid": sigmoid,
    "softplus": _softplus,
    "softsign": lambda x: x / (_constant(x, 1.0) + tirx.abs(x)),
    "tanh": tirx.tanh,
}
# With the defaults of alpha and beta; None for a beta that there is not.
_WITH_PARAMETERS: dict[str, tuple[Callable[..., Any], float, float | None]] = {
    "affine": (lambda x, a, b: x * _constant(x, a) + _constant(x, b), 1.0, 0.0),
    "elu": (
        lambda x, a: tirx.Select(
            x < _constant(x, 0.0), (tirx.exp(x) - _constant(x, 1.0)) * _constant(x, a), x
        ),
        1.0,
        None,
    ),
    "hardsigmoid": (_hard_sigmoid, 0.2, 0.5),
    "leakyrelu": (
        lambda x, a: tirx.Select(x < _constant(x, 0.0), x * _constant(x, a), x),
        0.01,
        None,
    ),
    "scaledtanh": (
        lambda x, a, b: tirx.tanh(x * _constant(x, b)) * _constant(x, a),
        1.0,
        1.0,
    ),
    "thresholdedrelu": (
        lambda x, a: tirx.Select(x > _constant(x, a), x, _constant(x, 0.0)),
        1.0,
        None,
    ),
}


def functions(names: list[str], alphas: Iterator[float], betas: Iterator[float]) -> list[_Function]:
    """The named functions. Those with parameters take theirs from the front of the lists.

    Raises:
        ValueError: for an unknown name.
    """
    return [_function(name.lower(), alphas, betas) for name in names]


def _function(name: str, alphas: Iterator[float], betas: Iterator[float]) -> _Function:
    if name in _PLAIN:
        return _PLAIN[name]
    if name not in _WITH_PARAMETERS:
        raise ValueError(f"unknown activation function '{name}'")
    function, alpha, beta = _WITH_PARAMETERS[name]
    parameters = [float(next(alphas, alpha))]
    if beta is not None:
        parameters.append(float(next(betas, beta)))
    return lambda x: function(x, *parameters)
