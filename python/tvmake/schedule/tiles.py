"""Tiles of sums in registers, and how a loop nest of them goes through the caches."""

from __future__ import annotations

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


def choose_tile(rows: int, columns: int, vectors: int, cpu: CpuModel) -> Tile:
    """The tile that takes the fewest cycles for rows by columns positions of so many vectors.

    A step of a tile multiplies one element of each position with one vector of weights for each
    vector of channels. It takes a cycle for two multiply-adds or two loads, whichever is more, and
    not less than the latency of a multiply-add.
    """
    best, least = Tile(1, 1, 1), float("inf")
    for height in range(1, min(rows, _MOST_ROWS) + 1):
        for depth in range(1, min(vectors, _MOST_VECTORS) + 1):
            widest = _widest(height, depth, cpu)
            for width in range(1, min(columns, widest) + 1):
                tile = Tile(height, width, depth)
                cycles = _cycles(rows, columns, vectors, tile)
                if (cycles, -width) < (least, -best.columns):
                    best, least = tile, cycles
    return best


def _widest(height: int, depth: int, cpu: CpuModel) -> int:
    """How many columns fit into the registers, with the weights and one broadcast element."""
    broadcast = 0 if cpu.broadcasts_in_operand else 1
    return (cpu.vector_registers - depth - broadcast) // (height * depth)


def _cycles(rows: int, columns: int, vectors: int, tile: Tile) -> float:
    total = 0.0
    for row in parts(rows, tile.rows):
        for column in parts(columns, tile.columns):
            for depth in parts(vectors, tile.vectors):
                positions = row.step * column.step
                sums = positions * depth.step
                step = max(sums, positions + depth.step, _LATENCY) / 2
                total += row.count * column.count * depth.count * step
    return total


def choose_groups(
    image_bytes: int, weight_bytes: int, passes: int, most: int, cpu: CpuModel
) -> int:
    """Into how many groups of positions to cut an image.

    Within a group all channels are computed, so its part of the image should stay in the cache,
    while the weights are read once for each group. Few groups read the weights less often, many the
    image, which has been written just before and so is nearer.

    Args:
        image_bytes: size of the input.
        weight_bytes: size of the weights.
        passes: how often a group reads its input: once for each tile of channels.
        most: how many groups can be made.
        cpu: the machine.
    """
    room = cpu.l2_bytes // 2

    def traffic(groups: int) -> int:
        weights = _MEMORY * weight_bytes * (groups if weight_bytes > room else 1)
        image = image_bytes * (passes if image_bytes > room * groups else 1)
        return weights + image

    return min(range(1, min(most, _MOST_GROUPS) + 1), key=lambda groups: (traffic(groups), groups))


def choose_pieces(weight_bytes: int, sum_bytes: int, cpu: CpuModel) -> int:
    """Into how many pieces to cut the sums of a pass.

    All tiles of a pass read its weights. Where these crowd the second cache, they are taken in
    pieces that stay in the first one, with the sums put aside in between.

    Args:
        weight_bytes: of one pass.
        sum_bytes: of one pass.
        cpu: the machine.
    """
    if weight_bytes <= cpu.l2_bytes // 4 or sum_bytes > _MOST_KEPT:
        return 1
    return -(-weight_bytes // cpu.l1_bytes)


def extents(pieces: Sequence[Part]) -> int:
    """How many steps there are in all."""
    return sum(piece.count for piece in pieces)
