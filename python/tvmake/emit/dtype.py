"""Element types in the words of DLPack and of C."""

from __future__ import annotations

from tvmake.elements import dlpack_type, storage

__all__ = ["c_type", "dlpack_type"]

_C_NAMES = {"float32": "float", "float64": "double", "float16": "uint16_t", "bool": "bool"}


def c_type(dtype: str) -> str:
    """The C type that holds one element. C has no small floats: their bits are handed over."""
    return _C_NAMES.get(dtype, f"{storage(dtype)}_t")
