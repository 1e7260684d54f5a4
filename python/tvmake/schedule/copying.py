"""Copies of an image that a convolution reads in the place of the image itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tvmake.schedule import loops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvm import tirx


def pad(source: tirx.Buffer, target: tirx.Buffer, padding: Sequence[int], lanes: int) -> tirx.Stmt:
    """Copy an image into a larger one with zeros around it."""
    batch, blocks, *size, inner = _shape(source)
    whole, rank = _shape(target)[2:], len(size)

    def fill(place: list[Any], start: int, count: int) -> tirx.Stmt:
        """Zeros in so many steps along the axis after a place."""
        corner = [0] * (rank + 1 - len(place))
        return _run(
            count * math.prod(whole[len(place) - 1 :]),
            lanes,
            lambda at: loops.store(target, loops.zero(), *place, start, *corner, at),
        )

    def axis(index: int, here: list[Any], there: list[Any]) -> tirx.Stmt:
        """What lies at a place of the first axes."""
        before, after, count = padding[index], padding[rank + index], size[index]
        ends = [(0, before), (before + count, after)]
        statements = [fill(there, start, zeros) for start, zeros in ends if zeros]
        if index == rank - 1:

            def copy(at: Any) -> tirx.Stmt:
                value = loops.load(source, *here, 0, at)
                return loops.store(target, value, *there, before, at)

            statements.append(_run(count * inner, lanes, copy))
        else:

            def step(at: Any) -> tirx.Stmt:
                return axis(index + 1, [*here, at], [*there, at + before])

            statements.append(loops.loop(count, step, name="row"))
        return loops.sequence(statements)

    def image(index: Any) -> tirx.Stmt:
        place = [index // blocks, index % blocks]
        return axis(0, place, place)

    return loops.parallel(batch * blocks, image)


def sample(
    source: tirx.Buffer, target: tirx.Buffer, strides: Sequence[int], lanes: int
) -> tirx.Stmt:
    """Copy every so many-th position of an image along each axis."""
    batch, blocks, *size, inner = _shape(target)

    def axis(place: list[Any], here: list[Any], there: list[Any]) -> tirx.Stmt:
        if len(here) == len(size):

            def copy(at: Any) -> tirx.Stmt:
                return loops.store(
                    target, loops.load(source, *place, *here, at), *place, *there, at
                )

            return _run(inner, lanes, copy)
        stride = strides[len(here)]

        def step(at: Any) -> tirx.Stmt:
            return axis(place, [*here, at * stride], [*there, at])

        return loops.loop(size[len(here)], step, name="row")

    def image(index: Any) -> tirx.Stmt:
        return axis([index // blocks, index % blocks], [], [])

    return loops.parallel(batch * blocks, image)


def _run(count: int, lanes: int, body: Any) -> tirx.Stmt:
    """Neighbouring elements: whole vectors, then what is left one by one."""
    whole, rest = divmod(count, lanes)
    statements = []
    if whole:
        statements.append(
            loops.loop(
                whole,
                lambda at: loops.vector(lanes, lambda lane: body(at * lanes + lane)),
                name="vector",
            )
        )
    if rest:
        statements.append(loops.loop(rest, lambda at: body(at + whole * lanes), name="rest"))
    return loops.sequence(statements)


def _shape(buffer: Any) -> tuple[int, ...]:
    return tuple(int(extent) for extent in buffer.shape)
