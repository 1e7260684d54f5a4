"""Element types that no CPU computes with, and how tvmake stores them.

Kernels see each of them as a plain integer, one element in one integer of 8 or 16 bits, also those
of 2, 4 and 6 bits. Integers are stored as their value, floating point numbers as their bits.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Element:
    """An element type and its stand-in.

    Attributes:
        name: as NumPy and ml_dtypes spell it.
        storage: the integer type that kernels see.
        interface: the type that callers see: the stand-in, where DLPack would expect elements
            that share bytes.
    """

    name: str
    storage: str
    interface: str


def _float(name: str, storage: str = "uint8") -> Element:
    return Element(name, storage, name)


ELEMENTS = {
    element.name: element
    for element in (
        *(Element(f"int{bits}", "int8", "int8") for bits in (2, 4)),
        *(Element(f"uint{bits}", "uint8", "uint8") for bits in (2, 4)),
        *(Element(n, "uint8", "uint8") for n in ("float4_e2m1fn", "float6_e2m3fn")),
        Element("float6_e3m2fn", "uint8", "uint8"),
        *(_float(f"float8_{n}") for n in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")),
        _float("bfloat16", "uint16"),
    )
}

# DLPack's codes of the types that are more than a kind and a width.
_CODES = {
    "bool": 6,
    "float8_e4m3fn": 10,
    "float8_e4m3fnuz": 11,
    "float8_e5m2": 12,
    "float8_e5m2fnuz": 13,
    "float8_e8m0fnu": 14,
}
_KINDS = {"int": 0, "uint": 1, "float": 2, "bfloat": 4}


def storage(dtype: str) -> str:
    """The type that kernels see for elements of this type."""
    return ELEMENTS[dtype].storage if dtype in ELEMENTS else dtype


def interface(dtype: str) -> str:
    """The type that callers hand over for elements of this type."""
    return ELEMENTS[dtype].interface if dtype in ELEMENTS else dtype


def stored_bits(dtype: str) -> int:
    """Width of one element in memory."""
    plain = storage(dtype)
    return 8 if plain == "bool" else int(plain.lstrip("abcdefghijklmnopqrstuvwxyz"))


def dlpack_type(dtype: str) -> tuple[int, int, int]:
    """DLPack's (code, bits, lanes) of elements as callers hand them over."""
    name = interface(dtype)
    code = _CODES.get(name)
    return _KINDS[name.rstrip("0123456789")] if code is None else code, stored_bits(name), 1
