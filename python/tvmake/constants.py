"""Values of constants in a Relax module, read in place: large models have no room for copies."""

from __future__ import annotations

import mmap
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import tvm

    Array = np.ndarray[Any, Any]

# By the address of their first byte. What no module uses any more leaves by itself.
_mapped: weakref.WeakValueDictionary[int, np.memmap[Any, Any]] = weakref.WeakValueDictionary()


def map_file(path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> Array:
    """A part of a file as an array. Its pages are read when they are touched."""
    # Copy on write, so that nobody sees a read-only array; nobody writes.
    array = np.memmap(path, dtype, "c", offset, shape)
    _mapped[array.ctypes.data] = array
    return array


def values(constant: tvm.ir.GenericConst) -> Array:
    """A constant's values, without a copy where NumPy knows the type."""
    try:
        return np.from_dlpack(constant.value)
    except (BufferError, RuntimeError, TypeError):
        return constant.value.numpy()  # type: ignore[no-any-return]


def release(constant: Array) -> None:
    """Give back the memory of values that are a mapped file: they are read again when needed."""
    array = _mapped.get(constant.ctypes.data)
    if array is not None and isinstance(array.base, mmap.mmap):
        array.base.madvise(mmap.MADV_DONTNEED)
