"""Loops: calls that are made again while a tensor of one bool says so.

What a loop carries lives in tensors that are made before its first turn and overwritten at the end
of each: the calls that do so have no outputs, and write to their last input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tvmake.frontend.loops import BEGIN, END
from tvmake.lower.graph import REPEAT, Call, Loop, memory_roots

if TYPE_CHECKING:
    from tvmake.lower.build import Builder


@dataclass
class Loops:
    """The loops of a graph that is being built."""

    open: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)

    def add(self, builder: Builder, symbol: str, values: Sequence[int]) -> tuple[int, ...] | None:
        """Lower a mark; the tensors that it gives. None if the function is none.

        Args:
            builder: gets the calls.
            symbol: name of the external function.
            values: its arguments.
        """
        if symbol.startswith(BEGIN):
            return self._begin(builder, symbol.removeprefix(BEGIN), values)
        if symbol.startswith(END):
            return self._end(builder, symbol.removeprefix(END), values)
        return None

    def _begin(self, builder: Builder, name: str, values: Sequence[int]) -> tuple[int, ...]:
        states = tuple(builder.copy(value, name) for value in values)
        self.open[name] = (len(builder.calls), states)
        return states

    def _end(self, builder: Builder, name: str, values: Sequence[int]) -> tuple[int, ...]:
        first, states = self.open.pop(name)
        following, collected = list(values[: len(states)]), tuple(values[len(states) :])
        roots = memory_roots(len(builder.tensors), builder.calls)
        overwritten = {roots[state] for state in states}
        for index, (value, state) in enumerate(zip(following, states, strict=True)):
            # Another state's value is fetched before that is overwritten.
            if roots[value] in overwritten and value != state:
                following[index] = builder.copy(value, name)
        _, go, *_ = states
        pairs = list(zip(following, states, strict=True))
        for value, state in (pairs[0], *pairs[2:], pairs[1]):  # what all depend on comes last
            if value != state:
                kernel = builder.copy_kernel(value)
                call = Call(builder.unique(f"{name}.next"), kernel, (value, state), ())
                builder.calls.append(call)
        loop = Loop(first, states, collected)
        builder.calls.append(Call(builder.unique(f"{name}.repeat"), REPEAT, (go,), (), loop=loop))
        return (*states, *collected)
