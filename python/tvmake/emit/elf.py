"""Reads and writes relocatable ELF objects of any class and byte order.

What refers to what is references here, not numbers: sections and symbols can be taken out and put
together, and get their numbers when they are written. (Tool Interface Standard, "Executable and
Linking Format", version 1.2, book I; System V ABI, edition 4.1, chapter 4.)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

SYMTAB, STRTAB, RELA, NOBITS, REL, _SYMTAB_SHNDX = 2, 3, 4, 8, 9, 18  # types of sections
ALLOC, _INFO_LINK, LINK_ORDER, GROUP = 0x2, 0x40, 0x80, 0x200  # flags of sections
LOCAL, GLOBAL, WEAK = 0, 1, 2  # bindings of symbols
FILE = 4  # type of the symbol that names the source

UNDEFINED = 0  # in the place of a symbol's section
_RESERVED = 0xFF00  # numbers from here on stand for something else than a section
_ELSEWHERE = 0xFFFF  # the number stands where there is more room for it
_RELOCATABLE = 1  # type of the file


@dataclass(eq=False)
class Section:
    """A section; tables of symbols, names and relocations are none here.

    Attributes:
        linked: the section that an ordered one belongs to.
        relocations: of its bytes.
        relocation_type: REL or RELA.
    """

    name: str
    type: int
    flags: int = 0
    data: bytes = b""
    size: int = 0
    align: int = 1
    entry_size: int = 0
    linked: Section | None = None
    relocations: list[Relocation] = field(default_factory=list)
    relocation_type: int = 0


@dataclass(eq=False)
class Symbol:
    """A symbol; its section may be a reserved number, such as `UNDEFINED`."""

    name: str
    info: int
    other: int
    section: Section | int
    value: int
    size: int

    @property
    def binding(self) -> int:
        """LOCAL, GLOBAL or WEAK."""
        return self.info >> 4

    @property
    def type(self) -> int:
        """FILE, or what the symbol stands for."""
        return self.info & 0xF


class Relocation(NamedTuple):
    """A place in a section that depends on a symbol; `addend` is empty where the section has it."""

    offset: int
    type: int
    symbol: Symbol | None
    addend: tuple[int, ...]


@dataclass(frozen=True)
class Object:
    """A relocatable object.

    Attributes:
        identity: the file's first 16 bytes: class, byte order, ABI.
        machine: the machine and flags of it.
    """

    identity: bytes
    machine: tuple[int, int]
    sections: list[Section]
    symbols: list[Symbol]


class _Format:
    """How the records of one class and byte order are laid out."""

    def __init__(self, identity: bytes) -> None:
        self.order = order = "<" if identity[5] == 1 else ">"
        self.wide = identity[4] == 2
        self.header = struct.Struct(f"{order}16sHHI{'3Q' if self.wide else '3I'}I6H")
        self.section = struct.Struct(f"{order}2I{'4Q2I2Q' if self.wide else '8I'}")
        self.symbol = struct.Struct(f"{order}{'I2BH2Q' if self.wide else '3I2BH'}")
        self.relocation = {
            REL: struct.Struct(f"{order}{'2Q' if self.wide else '2I'}"),
            RELA: struct.Struct(f"{order}{'2Qq' if self.wide else '2Ii'}"),
        }
        self.symbol_shift = 32 if self.wide else 8  # of the second field of a relocation
        self.align = 8 if self.wide else 4


def read(data: bytes) -> Object:
    """Parse an object. Relocations of what is not loaded, as debug information, are left out.

    Raises:
        ValueError: when it is none.
    """
    if data[:4] != b"\x7fELF" or len(data) < 64:
        raise ValueError("not an ELF object")
    form = _Format(data[:16])
    header = form.header.unpack_from(data)
    machine, start, flags, step, count, names = (header[i] for i in (2, 6, 7, 11, 12, 13))
    rows = [form.section.unpack_from(data, start + step * number) for number in range(count)]
    contents = [b"" if row[1] == NOBITS else data[row[4] : row[4] + row[5]] for row in rows]
    sections = [
        Section(_string(contents[names], row[0]), row[1], row[2], content, row[5], row[8], row[9])
        for row, content in zip(rows, contents, strict=True)
    ]
    symbols: list[Symbol] = []
    for row, content in zip(rows, contents, strict=True):
        if row[1] == SYMTAB:
            symbols = _read_symbols(form, content, contents[row[6]], sections)
    for row, section in zip(rows, sections, strict=True):
        if row[2] & LINK_ORDER:
            section.linked = sections[row[6]]
        if row[1] in form.relocation and sections[row[7]].flags & ALLOC:
            _read_relocations(form, section, sections[row[7]], symbols)
    tables = (0, SYMTAB, STRTAB, *form.relocation)
    kept = [section for section in sections if section.type not in tables]
    return Object(data[:16], (machine, flags), kept, symbols[1:])


def _read_symbols(
    form: _Format, table: bytes, names: bytes, sections: list[Section]
) -> list[Symbol]:
    symbols = []
    for name, *fields in form.symbol.iter_unpack(table):
        info, other, number, value, size = fields if form.wide else (*fields[2:], *fields[:2])
        section = sections[number] if UNDEFINED < number < _RESERVED else number
        symbols.append(Symbol(_string(names, name), info, other, section, value, size))
    return symbols


def _read_relocations(
    form: _Format, table: Section, target: Section, symbols: list[Symbol]
) -> None:
    target.relocation_type = table.type
    mask = (1 << form.symbol_shift) - 1
    for offset, info, *addend in form.relocation[table.type].iter_unpack(table.data):
        number = info >> form.symbol_shift
        symbol = symbols[number] if number else None
        target.relocations.append(Relocation(offset, info & mask, symbol, tuple(addend)))


def _string(table: bytes, start: int) -> str:
    return table[start : table.index(b"\0", start)].decode()


def write(content: Object) -> bytes:
    """The object as a file; the same object gives the same bytes."""
    form = _Format(content.identity)
    numbers: dict[Section, int] = {}
    count = 1
    for section in content.sections:  # behind each that has some stand its relocations
        numbers[section] = count
        count += 2 if section.relocations else 1
    symbols = sorted(content.symbols, key=lambda symbol: symbol.binding != LOCAL)
    places = {symbol: place for place, symbol in enumerate(symbols, 1)}
    writer = _Writer(form)
    for section in content.sections:
        writer.add(section, numbers[section.linked] if section.linked else 0)
        if section.relocations:
            writer.add(_pack_relocations(form, section, places), count, numbers[section])
    table, far = _pack_symbols(form, symbols, numbers, writer)
    first_global = 1 + sum(symbol.binding == LOCAL for symbol in symbols)
    writer.add(table, count + (2 if far else 1), first_global)
    if far:
        writer.add(far, count)
    return writer.finish(content)


def _pack_relocations(form: _Format, section: Section, places: dict[Symbol, int]) -> Section:
    record = form.relocation[section.relocation_type]
    data = b"".join(
        record.pack(offset, (places[symbol] if symbol else 0) << form.symbol_shift | kind, *addend)
        for offset, kind, symbol, addend in section.relocations
    )
    name = f"{'.rela' if section.relocation_type == RELA else '.rel'}{section.name}"
    kind = section.relocation_type
    return Section(name, kind, _INFO_LINK, data, len(data), form.align, record.size)


def _pack_symbols(
    form: _Format, symbols: list[Symbol], numbers: dict[Section, int], writer: _Writer
) -> tuple[Section, Section | None]:
    """The table of symbols, and that of the sections' numbers where these are too large for it."""
    records, far = [bytes(form.symbol.size)], [0]
    for s in symbols:
        number = numbers[s.section] if isinstance(s.section, Section) else s.section
        is_far = isinstance(s.section, Section) and number >= _RESERVED
        far.append(number if is_far else 0)
        place, size = (s.value, s.size), (s.info, s.other, _ELSEWHERE if is_far else number)
        fields = (*size, *place) if form.wide else (*place, *size)
        records.append(form.symbol.pack(writer.name(s.name), *fields))
    data = b"".join(records)
    table = Section(".symtab", SYMTAB, 0, data, len(data), form.align, form.symbol.size)
    if not any(far):
        return table, None
    data = struct.pack(f"{form.order}{len(far)}I", *far)
    return table, Section(".symtab_shndx", _SYMTAB_SHNDX, 0, data, len(data), 4, 4)


class _Writer:
    """A file under way."""

    def __init__(self, form: _Format) -> None:
        self._form = form
        self._body = bytearray(form.header.size)
        self._rows: list[tuple[int, ...]] = [(0,) * 10]
        self._names = bytearray(1)
        self._places = {"": 0}

    def name(self, name: str) -> int:
        """The place of a name in the table of all names."""
        if name not in self._places:
            self._places[name] = len(self._names)
            self._names += name.encode() + b"\0"
        return self._places[name]

    def add(self, section: Section, link: int = 0, info: int = 0) -> None:
        """Append a section; its number is that of the call."""
        self._body += bytes(-len(self._body) % max(section.align, 1))
        fixed = (self.name(section.name), section.type, section.flags, 0, len(self._body))
        self._rows.append((*fixed, section.size, link, info, section.align, section.entry_size))
        self._body += section.data

    def finish(self, content: Object) -> bytes:
        """Append names and headers."""
        self.name(".strtab")
        self.add(Section(".strtab", STRTAB, 0, bytes(self._names), len(self._names)))
        form, count, names = self._form, len(self._rows), len(self._rows) - 1
        if count >= _RESERVED:  # then the first header has the numbers
            self._rows[0] = (0, 0, 0, 0, 0, count, names, 0, 0, 0)
            count, names = 0, _ELSEWHERE
        self._body += bytes(-len(self._body) % form.align)
        start = len(self._body)
        self._body += b"".join(form.section.pack(*row) for row in self._rows)
        machine, flags = content.machine
        sizes = (form.header.size, 0, 0, form.section.size, count, names)
        form.header.pack_into(
            self._body, 0, content.identity, _RELOCATABLE, machine, 1, 0, 0, start, flags, *sizes
        )
        return bytes(self._body)
