"""Edits relocatable ELF objects."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Literal

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection


def rename_symbols(data: bytes, names: Mapping[str, str]) -> bytes:
    """The object with other names for its symbols.

    New names go into a table of names behind everything else, which begins with the old table: the
    names of sections, which may share it, stay where they are.

    Args:
        data: an ELF object of any class and byte order.
        names: new names by old ones; other symbols keep theirs.
    """
    elf = ELFFile(BytesIO(data))
    edited = bytearray(data)
    order: Literal["little", "big"] = "little" if elf.little_endian else "big"
    word = elf.structs.Elf_word("").sizeof()
    for symbols in elf.iter_sections():
        if not isinstance(symbols, SymbolTableSection):
            continue
        table = bytearray(symbols.stringtable.data())
        for index, symbol in enumerate(symbols.iter_symbols()):
            if symbol.name in names:
                # The name's offset is the first field of a symbol.
                at = symbols["sh_offset"] + index * symbols["sh_entsize"]
                edited[at : at + word] = len(table).to_bytes(word, order)
                table += names[symbol.name].encode() + b"\0"
        header = symbols.stringtable.header
        header["sh_offset"], header["sh_size"] = len(edited), len(table)
        at = elf["e_shoff"] + symbols["sh_link"] * elf["e_shentsize"]
        edited[at : at + elf["e_shentsize"]] = elf.structs.Elf_Shdr.build(header)
        edited += table
    return bytes(edited)
