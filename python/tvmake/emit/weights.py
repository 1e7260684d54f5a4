"""weights.bin: all weights in one file that a program maps and uses as it is.

Little endian. A header of 64 bytes, a table with 24 bytes for each tensor, then the tensors, each
aligned, in the order of the graph's parameters:

    0  char[8] "TVMAKEW1"      8  u32 start of data       12 u32 number of tensors
    16 u64 size of the file    24 u8[32] id               56 u32 alignment   60 u32 0
    table: u64 offset, u64 bytes, u8 type code, u8 bits, u16 lanes, u32 rank

The id is the SHA-256 of everything behind the header.
"""

from __future__ import annotations

import hashlib
import struct
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from tvmake.emit.dtype import dlpack_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[Any, Any]

MAGIC = b"TVMAKEW1"
_HEADER = struct.Struct("<8sIIQ32sII")
_ENTRY = struct.Struct("<QQBBHI")


def write_weights(file: IO[bytes], values: Sequence[Array], alignment: int) -> tuple[str, int]:
    """Write the weights to a seekable file.

    Returns:
        The id as 64 hexadecimal digits, and the file's size in bytes.
    """
    start = _align(_HEADER.size + _ENTRY.size * len(values), alignment)
    offset, table = start, b""
    for value in values:
        code, bits, lanes = dlpack_type(str(value.dtype))
        table += _ENTRY.pack(offset, value.nbytes, code, bits, lanes, value.ndim)
        offset = _align(offset + value.nbytes, alignment)
    digest = hashlib.sha256()
    file.seek(_HEADER.size)

    def emit(data: bytes | memoryview) -> None:
        digest.update(data)
        file.write(data)

    emit(table)
    position = _HEADER.size + len(table)
    for value in values:
        padding = _align(position, alignment) - position
        emit(b"\0" * padding)
        emit(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        position += padding + value.nbytes
    emit(b"\0" * (offset - position))
    file.seek(0)
    header = (MAGIC, start, len(values), offset, digest.digest(), alignment, 0)
    file.write(_HEADER.pack(*header))
    return digest.hexdigest(), offset


def _align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
