"""Casts from and to the element types that are stored as integers, and casts of bits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tvm import relax, tirx

from tvmake.elements import ELEMENTS, storage
from tvmake.frontend.onnx_file import dtype_name
from tvmake.op_patterns import REDUCTION

from . import elements
from .elements import INTEGER_BITS
from .operator import Converter, Operator


def cast(
    operator: Operator,
    value: relax.Expr,
    source: str,
    target: str,
    *,
    saturate: bool = True,
    round_mode: str = "up",
) -> relax.Expr:
    """A tensor of the model's type `source` as one of the model's type `target`.

    Both types may be stored as integers. `saturate` and `round_mode` are ONNX's, see
    `elements.encode`.
    """
    if source == target:
        return value
    if source in ELEMENTS and source not in INTEGER_BITS:
        value = _map(operator, value, partial(elements.decode, element=source), "decode")
        source = "float32"
    if target in INTEGER_BITS:
        if source in INTEGER_BITS and _holds(target, source):
            return _plain(operator, value, storage(target))
        return _map(operator, value, partial(elements.wrap_integer, element=target), "wrap")
    if target in ELEMENTS:
        saturate = saturate and target != "bfloat16"
        function = partial(
            elements.encode, element=target, saturate=saturate, round_mode=round_mode
        )
        return _map(operator, value, function, "encode")
    return _plain(operator, value, target)


def _holds(target: str, source: str) -> bool:
    """Whether every value of one small integer type is one of the other."""
    is_signed = [name[0] != "u" for name in (source, target)]
    room = INTEGER_BITS[target] - INTEGER_BITS[source]
    return (is_signed[0] == is_signed[1] and room >= 0) or (is_signed == [False, True] and room > 0)


def _plain(operator: Operator, value: relax.Expr, dtype: str) -> relax.Expr:
    same = str(value.ty.dtype) == dtype
    return value if same else operator.emit(relax.op.astype(value, dtype))


def _map(
    operator: Operator, value: relax.Expr, function: Callable[[Any], Any], name: str
) -> relax.Expr:
    # What encodes reads its operand several times: a chain of such in one kernel would double the
    # expression again and again.
    attributes = {"op_pattern": REDUCTION} if name == "encode" else {}
    return operator.call_te(elements.elementwise(function, name), value, name=name, **attributes)


def _cast(operator: Operator) -> relax.Expr | None:
    return _convert(operator, int(operator.attributes["to"]))


def _cast_like(operator: Operator) -> relax.Expr | None:
    return _convert(operator, operator.input_types[1])


def _convert(operator: Operator, target_type: int) -> relax.Expr | None:
    names = [operator.dtype(0), dtype_name(target_type)]
    if names == ["float64", "float16"]:
        return _map(operator, operator.operand(0), elements.encode_half, "encode")
    if not set(names) & set(ELEMENTS):
        return None
    mode = operator.attributes.get("round_mode", b"up")
    return cast(
        operator,
        operator.operand(0),
        *names,
        saturate=bool(operator.attributes.get("saturate", 1)),
        round_mode=mode.decode() if isinstance(mode, bytes) else str(mode),
    )


def _bit_cast(operator: Operator) -> relax.Expr:
    value = operator.operand(0)
    source, target = operator.dtype(0), dtype_name(int(operator.attributes["to"]))
    have, want = str(value.ty.dtype), storage(target)
    widths = [INTEGER_BITS.get(name, _bits(name)) for name in (source, target)]
    if widths[0] != widths[1]:
        raise ValueError(
            f"BitCast from {source} to {target}, which have {widths[0]} and {widths[1]} bits"
        )
    if target in INTEGER_BITS:
        return _map(operator, value, partial(elements.wrap_integer, element=target), "wrap")
    if want == "bool":  # any byte but zero is true to NumPy
        return operator.emit(relax.op.astype(value, want))
    if have == "bool":
        value, have = operator.emit(relax.op.astype(value, "uint8")), "uint8"
    if have == want:
        return value
    return _map(operator, value, lambda x: tirx.reinterpret(want, x), "reinterpret")


def _bits(name: str) -> int:
    plain = storage(name)
    small = {"float4_e2m1fn": 4, "float6_e2m3fn": 6, "float6_e3m2fn": 6, "bool": 8}
    return small.get(name) or int(plain.strip("abcdefghijklmnopqrstuvwxyz"))


CONVERTERS: dict[str, Converter] = {
    "BitCast": _bit_cast,
    "Cast": _cast,
    "CastLike": _cast_like,
}
