"""Where the channels of a blocked value are: in which block, and in which of its lanes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Channels:
    """The channels of a value [N, blocks, H, W, block].

    They need not be in order, and lanes may be without a channel: what stands there is never read.
    So a shuffle of channels moves no data, and groups may begin at blocks.

    Attributes:
        block: lanes of a block.
        blocks: how many there are.
        places: for each channel the lane that it has, counted through all blocks.
    """

    block: int
    blocks: int
    places: tuple[int, ...]

    @staticmethod
    def dense(channels: int, block: int) -> Channels:
        """Whole blocks of channels in order."""
        return Channels(block, channels // block, tuple(range(channels)))

    @staticmethod
    def grouped(groups: int, channels: int, block: int) -> Channels:
        """Groups of so many channels each; a group begins at a block."""
        blocks = -(-channels // block)
        starts = range(0, groups * blocks * block, blocks * block)
        places = tuple(start + channel for start in starts for channel in range(channels))
        return Channels(block, groups * blocks, places)

    @staticmethod
    def joined(parts: Sequence[Channels]) -> Channels:
        """Values with blocks of one size, one after the other."""
        places: list[int] = []
        blocks = 0
        for part in parts:
            places += [blocks * part.block + place for place in part.places]
            blocks += part.blocks
        return Channels(parts[0].block, blocks, tuple(places))

    def part(self, begin: int, end: int) -> tuple[int, Channels] | None:
        """Some of the channels and the block that they begin at, if they fill blocks."""
        places = self.places[begin:end]
        if not places:
            return None
        first, last = min(places) // self.block, max(places) // self.block
        blocks = last + 1 - first
        if len(places) != blocks * self.block:
            return None
        moved = (place - first * self.block for place in places)
        return first, Channels(self.block, blocks, tuple(moved))

    @property
    def is_dense(self) -> bool:
        """Whether all lanes have channels, in order."""
        return self.places == tuple(range(self.blocks * self.block))

    def shuffled(self, order: Sequence[int]) -> Channels:
        """The same data where channel `i` is what was channel `order[i]`."""
        return Channels(self.block, self.blocks, tuple(self.places[channel] for channel in order))

    def spread(self, values: Array) -> Array:
        """Values of the channels, [C, …], where these are: [blocks, block, …], zero elsewhere."""
        result = np.zeros((self.blocks * self.block, *values.shape[1:]), values.dtype)
        result[list(self.places)] = values
        return result.reshape(self.blocks, self.block, *values.shape[1:])

    def sources(self, places: Sequence[int]) -> Array:
        """For each lane, [blocks, block], the place that its channel has in another value.

        Args:
            places: of each channel there. What is read for a lane without a channel is any.
        """
        return self.spread(np.array(places, "int32"))
