"""Which calls only one branch of an If needs.

A select takes one of two values, by a condition. What only the other value needs need not run: so
every value is asked, from the outputs backward, under which conditions somebody wants it.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from tvmake.lower.extents import variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tvmake.lower.graph import Call, Tensor

    Guards = tuple[tuple[int, bool], ...]

SELECT = "select_branch"  # kernels of condition, value if true, value if false


def guard_calls(
    tensors: Sequence[Tensor], calls: Sequence[Call], outputs: Iterable[int]
) -> list[Call]:
    """Give each call the conditions under which it is needed."""
    if not any(call.kernel.startswith(SELECT) or call.loop for call in calls):
        return list(calls)
    wanted: dict[int, Guards] = dict.fromkeys(outputs, ())
    symbols: dict[str, Guards] = {}
    guarded: list[Call] = []
    turns: dict[int, Guards] = {}  # by what a loop overwrites: when its turns are made
    made = {index: time for time, call in enumerate(calls) for index in call.outputs}
    for time, call in reversed(list(enumerate(calls))):
        guards = _needed(call, wanted, symbols)
        if call.loop:
            results = (*call.loop.states, *call.loop.collected)
            guards = _common_of(wanted[index] for index in results if index in wanted)
            turn = (*guards, (call.inputs[0], True))
            turns |= dict.fromkeys(call.loop.states, turn)
            # Their first values are needed before it is known whether there is a turn.
            wanted |= dict.fromkeys(call.loop.states, guards)
            wanted |= dict.fromkeys(call.loop.collected, turn)
        elif call.overwrites is not None:
            guards = turns[call.overwrites]
        known = (made.get(index, -1) < time for index, _ in guards)
        guards = tuple(guard for guard, _ in zip(guards, takewhile(bool, known), strict=False))
        dims = [dim for index in call.outputs for dim in tensors[index].dims]
        for name in {v.name for dim in (*dims, *call.scalars) for v in variables(dim)}:
            symbols[name] = _common(symbols.get(name), guards)
        for position, index in enumerate(call.inputs):
            condition = guards
            if call.kernel.startswith(SELECT) and position in (1, 2):
                condition = (*guards, (call.inputs[0], position == 1))
            wanted[index] = _common(wanted.get(index), condition)
        for index, _ in guards:
            wanted[index] = _common(wanted.get(index), ())
        guarded.append(replace(call, guards=guards))
    return guarded[::-1]


def _needed(call: Call, wanted: dict[int, Guards], symbols: dict[str, Guards]) -> Guards:
    uses = [wanted[index] for index in call.outputs if index in wanted]
    uses += [symbols[name] for name in call.binds if name in symbols]
    return _common_of(uses)


def _common_of(uses: Iterable[Guards]) -> Guards:
    result: Guards | None = None
    for use in uses:
        result = _common(result, use)
    return result or ()


def _common(a: Guards | None, b: Guards) -> Guards:
    """The conditions that two users share, from the outermost inward."""
    if a is None:
        return b
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return a[:length]
