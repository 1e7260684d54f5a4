"""Tiles of sums in registers, and how a loop nest of them goes through the caches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvmake.schedule.cpu import CpuModel

_MOST_ROWS = 3
_MOST_VECTORS = 4
_MOST_GROUPS = 64
_MOST_KEPT = 16 << 10  # bytes of sums between pieces, which are on the stack
_MEMORY = 2  # times what reading from the third cache takes
_CACHE_BANDWIDTH = 16  # bytes of the third cache in a cycle
_TASK_CYCLES = 1000  # what it costs to begin a task
_CORES = (2, 3, 4)  # numbers of cores for which work should come out even
_LATENCY = 8  # independent multiply-adds that keep the units busy: 2 units, 4 cycles


@dataclass(frozen=True)
class Part:
    """A stretch of a loop in steps of one size."""

    start: int
    step: int
    count: int


@dataclass(frozen=True)
class Tile:
    """Sums that are made together: rows by columns positions, each of some vectors of channels."""

    rows: int
    columns: int
    vectors: int

    @property
    def sums(self) -> int:
        """How many vector registers the sums take."""
        return self.rows * self.columns * self.vectors


def parts(extent: int, step: int) -> tuple[Part, ...]:
    """A loop cut into pieces of at most `step`: as few as can be, and as even as can be."""
    count = -(-extent // step)
    small, rest = divmod(extent, count)
    if rest == 0:
        return (Part(0, small, count),)
    return (Part(0, small + 1, rest), Part(rest * (small + 1), small, count - rest))


def choose_tile(
    wanted: tuple[int, int, int], lanes: int, cpu: CpuModel, most_columns: int | None = None
) -> Tile:
    """The tile that takes the fewest cycles for all that is wanted.

    A step of a tile multiplies one element of each position with one vector of weights for each
    vector of channels. It takes as long as its multiply-adds, but not less than so many as hide
    the latency of one, or a cycle for two loads, whichever is more. Of equally good tiles the one
    with the most columns reads the weights least often.

    Args:
        wanted: rows and columns of positions, and vectors of channels.
        lanes: of a vector.
        cpu: the machine.
        most_columns: how many a tile may have.
    """
    rows, columns, vectors = wanted
    best, least = Tile(1, 1, 1), (float("inf"), 0)
    for height in range(1, min(rows, _MOST_ROWS) + 1):
        for depth in range(1, min(vectors, _MOST_VECTORS) + 1):
            widest = min(_widest(height, depth, cpu), most_columns or columns)
            for width in range(1, min(columns, widest) + 1):
                tile = Tile(height, width, depth)
                cost = (_cycles(wanted, tile, cpu.multiply_adds(lanes)), -width)
                if cost < least:
                    best, least = tile, cost
    return best


def _widest(height: int, depth: int, cpu: CpuModel) -> int:
    """How many columns fit into the registers, with the weights and one broadcast element."""
    broadcast = 0 if cpu.broadcasts_in_operand else 1
    return (cpu.vector_registers - depth - broadcast) // (height * depth)


def _cycles(wanted: tuple[int, int, int], tile: Tile, multiply_adds: int) -> float:
    total = 0.0
    rows, columns, vectors = wanted
    for row in parts(rows, tile.rows):
        for column in parts(columns, tile.columns):
            for depth in parts(vectors, tile.vectors):
                positions = row.step * column.step
                sums = positions * depth.step
                step = max(max(sums, _LATENCY) / multiply_adds, (positions + depth.step) / 2)
                total += row.count * column.count * depth.count * step
    return total


@dataclass(frozen=True)
class Work:
    """What a kernel has to do, to be divided among tasks.

    Attributes:
        image_bytes: size of the input.
        weight_bytes: size of the weights.
        positions: into how many parts its positions can be cut.
        passes: into how many parts its channels can be cut; each reads its input anew.
        others: how many times all that is to be done: batch by groups of channels.
        cycles: of the multiply-adds of one of these.
    """

    image_bytes: int
    weight_bytes: int
    positions: int
    passes: int
    others: int
    cycles: float


def choose_groups(work: Work, cpu: CpuModel) -> tuple[int, int]:
    """Into how many groups to cut the positions, and the channels; each two are a task.

    A task computes all its channels for a group of positions, so the group's part of the image
    should stay in the cache, while the weights are read once for each group. Few groups read the
    weights less often, many the image, which has been written just before and so is nearer. And a
    few cores should come out even.
    """
    room = cpu.l2_bytes // 2

    def traffic(groups: int) -> int:
        weights = _MEMORY * work.weight_bytes * (groups if work.weight_bytes > room else 1)
        image = work.image_bytes * (work.passes if work.image_bytes > room * groups else 1)
        return weights + image

    def cost(choice: tuple[int, int]) -> float:
        tasks = _TASK_CYCLES * math.prod(choice)
        return tasks + traffic(choice[0]) / _CACHE_BANDWIDTH + work.cycles * _idle(work, *choice)

    channels = sorted({-(-work.passes // most) for most in range(1, work.passes + 1)})
    groups = range(1, min(work.positions, _MOST_GROUPS) + 1)
    return min(((g, c) for g in groups for c in channels), key=cost)


def _idle(work: Work, groups: int, channels: int) -> float:
    """How much longer the last core is busy than with equal shares; the mean for a few cores.

    Cores are never equally fast: on average the last one has half a task still before it when
    there is none left for the others.
    """
    tasks = work.others * groups * channels
    largest = -(-work.positions // groups) * -(-work.passes // channels)
    total = work.others * work.positions * work.passes
    rounds = [(-(-tasks // cores) + 0.5) * largest * cores / total for cores in _CORES]
    return sum(busy - 1 for busy in rounds) / len(rounds)


def choose_pieces(weight_bytes: int, sum_bytes: int, cpu: CpuModel) -> int:
    """Into how many pieces to cut the sums of a pass.

    All tiles of a pass read its weights. Where these crowd the second cache, they are taken in
    pieces that take half of the first one, beside the image, with the sums put aside in between.

    Args:
        weight_bytes: of one pass.
        sum_bytes: of one pass.
        cpu: the machine.
    """
    if weight_bytes <= cpu.l2_bytes // 4 or sum_bytes > _MOST_KEPT:
        return 1
    return -(-weight_bytes // (cpu.l1_bytes // 2))


def extents(pieces: Sequence[Part]) -> int:
    """How many steps there are in all."""
    return sum(piece.count for piece in pieces)
