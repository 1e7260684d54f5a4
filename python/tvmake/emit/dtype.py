"""Element types in the words of DLPack and of C."""

from __future__ import annotations

_CODES = {"int": 0, "uint": 1, "float": 2, "bool": 6}
_C_NAMES = {"float32": "float", "float64": "double", "float16": "uint16_t", "bool": "bool"}


def dlpack_type(dtype: str) -> tuple[int, int, int]:
    """DLPack's (code, bits, lanes) of a NumPy type name."""
    kind = dtype.rstrip("0123456789")
    bits = 8 if kind == "bool" else int(dtype[len(kind) :])
    return _CODES[kind], bits, 1


def c_type(dtype: str) -> str:
    """The C type that holds one element. C has no half precision: its bits are handed over."""
    return _C_NAMES.get(dtype, f"{dtype}_t")
