"""Merges relocatable objects into one, without what no kernel needs.

Sections are not joined to larger ones: each comes over as it is, as compilers write them with
`-ffunction-sections`. So no place moves, and one way serves all machines and relocations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from tvmake.emit import elf
from tvmake.emit.elf import Object, Relocation, Section, Symbol

_ATTRIBUTES = 0x70000003  # type of a section about the object, on all machines that have one
_UNWIND = ".eh_frame"
_Order = Literal["little", "big"]


def merge(parts: Sequence[tuple[bytes, Callable[[str], str]]]) -> Object:
    """One object out of several.

    It has the sections that define strong symbols, what these refer to, and their unwind tables,
    but no debug information. Of weak symbols with one name the first stays.

    Args:
        parts: objects, and what each of their symbols is called in the result.

    Raises:
        ValueError: when a strong symbol is defined twice, the objects are for different machines,
            or one has what is not known here.
    """
    objects = []
    for data, rename in parts:
        objects.append(elf.read(data))
        for symbol in objects[-1].symbols:
            symbol.name = rename(symbol.name)
    identity, machine = objects[0].identity, objects[0].machine
    if any((part.identity, part.machine) != (identity, machine) for part in objects):
        raise ValueError("the objects are for different machines")
    _unite(objects)
    kept = _reach(objects)
    sections = [section for part in objects for section in part.sections if section in kept]
    symbols = _symbols(objects, sections)
    return Object(identity, machine, [*sections, *_about(objects)], symbols)


def _unite(objects: Sequence[Object]) -> None:
    """Let all relocations of a name refer to one symbol: the definition, if there is one."""
    chosen: dict[str, Symbol] = {}
    for symbol in (s for part in objects for s in part.symbols if s.binding != elf.LOCAL):
        known = chosen.setdefault(symbol.name, symbol)
        if known is not symbol and _is_strong(known) and _is_strong(symbol):
            raise ValueError(f"symbol {symbol.name} is defined twice")
        if _rank(symbol) > _rank(known):
            chosen[symbol.name] = symbol
    for part in objects:
        part.symbols[:] = [
            symbol
            for symbol in part.symbols
            if symbol.binding == elf.LOCAL or chosen[symbol.name] is symbol
        ]
        for section in part.sections:
            section.relocations = [
                relocation._replace(symbol=chosen[relocation.symbol.name])
                if relocation.symbol and relocation.symbol.binding != elf.LOCAL
                else relocation
                for relocation in section.relocations
            ]


def _rank(symbol: Symbol) -> tuple[bool, bool]:
    return symbol.section != elf.UNDEFINED, symbol.binding == elf.GLOBAL


def _is_strong(symbol: Symbol) -> bool:
    return _rank(symbol) == (True, True)


def _reach(objects: Sequence[Object]) -> set[Section]:
    """The sections that are needed; unwind tables are cut to what is."""
    order: _Order = "little" if objects[0].identity[5] == 1 else "big"
    sections = [section for part in objects for section in part.sections]
    frames = [section for section in sections if section.name == _UNWIND]
    ordered: dict[Section, list[Section]] = {}  # what goes with a section
    for section in sections:
        if section.linked:
            ordered.setdefault(section.linked, []).append(section)
    strong = (symbol.section for part in objects for symbol in part.symbols if _is_strong(symbol))
    todo = [section for section in strong if isinstance(section, Section)]
    kept: set[Section] = set()
    while todo:
        _follow(todo, ordered, kept)
        cuts = [_last_entry(frame, kept, order) for frame in frames]
        for frame, (_, end) in zip(frames, cuts, strict=True):
            todo += set(_targets(r for r in frame.relocations if r.offset < end)) - kept
    for frame, (last, end) in zip(frames, cuts, strict=True):
        if end:
            _cut(frame, last, end, order)
            kept.add(frame)
    return kept


def _follow(todo: list[Section], ordered: dict[Section, list[Section]], kept: set[Section]) -> None:
    """Keep sections, and all that they refer to."""
    while todo:
        section = todo.pop()
        if section.flags & elf.GROUP:
            raise ValueError(f"section {section.name} belongs to a group")
        if section not in kept:
            kept.add(section)
            todo += [*_targets(section.relocations), *ordered.get(section, ())]


def _targets(relocations: Iterable[Relocation]) -> Iterator[Section]:
    for relocation in relocations:
        if relocation.symbol and isinstance(relocation.symbol.section, Section):
            yield relocation.symbol.section


def _last_entry(frame: Section, kept: set[Section], order: _Order) -> tuple[int, int]:
    """Where an unwind table's last entry about a section that is kept begins, and where it ends.

    Each entry is its length, the way back to what entries have in common, or zero when it is that
    itself, and the place that it is about (Linux Standard Base, core specification, 10.6).
    """
    about: dict[int, set[Section]] = {}
    for relocation in frame.relocations:
        about.setdefault(relocation.offset, set()).update(_targets([relocation]))
    last = end = at = 0
    while at < len(frame.data):
        length, common = (
            int.from_bytes(frame.data[place : place + 4], order) for place in (at, at + 4)
        )
        if common and kept & about.get(at + 8, set()):
            last, end = at, at + 4 + length
        at += 4 + length
    return last, end


def _cut(frame: Section, last: int, end: int, order: _Order) -> None:
    """End an unwind table with an entry, which fills up what the alignment asks for."""
    end += (padding := -end % frame.align)
    entry = (end - last - 4).to_bytes(4, order) + frame.data[last + 4 : end - padding]
    frame.data, frame.size = frame.data[:last] + entry + bytes(padding), end
    frame.relocations = [r for r in frame.relocations if r.offset < end]


def _symbols(objects: Sequence[Object], sections: Sequence[Section]) -> list[Symbol]:
    """What the result's table of symbols has; objects that have the same source name it once."""
    kept = set(sections)
    used = {relocation.symbol for section in sections for relocation in section.relocations}
    symbols = []
    sources = set()
    for symbol in (symbol for part in objects for symbol in part.symbols):
        if isinstance(symbol.section, Section):
            # An unwind table that was cut has no places behind its end.
            if symbol.section in kept and symbol.value <= symbol.section.size:
                symbols.append(symbol)
        elif symbol.type == elf.FILE:
            if symbol.name not in sources:
                symbols.append(symbol)
                sources.add(symbol.name)
        elif symbol.section != elf.UNDEFINED or symbol in used:
            symbols.append(symbol)
    return symbols


def _about(objects: Sequence[Object]) -> list[Section]:
    """The sections that describe an object, which must be the same in all."""
    found: dict[str, Section] = {}
    for section in (section for part in objects for section in part.sections):
        is_about = section.type == _ATTRIBUTES or section.name.startswith(".note.")
        if is_about and found.setdefault(section.name, section).data != section.data:
            raise ValueError(f"the objects differ in {section.name}")
    return list(found.values())
