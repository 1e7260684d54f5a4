"""Grouped convolutions on blocked layout whose groups are no whole number of blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx


@dataclass(frozen=True)
class Straddling:
    """Groups whose channels are no whole number of blocks, so that blocks straddle them.

    For a block of outputs, input blocks from the first to the last that its groups touch are
    multiplied with weights that are zero for the channels of other groups.

    Attributes:
        inputs, outputs: channels of a group.
        lanes: of a block.
        blocks: of the input.
    """

    inputs: int
    outputs: int
    lanes: int
    blocks: int

    def first(self, o: Any) -> Any:
        """The first input block that block `o` of outputs takes. For integers and expressions."""
        return o * self.lanes // self.outputs * self.inputs // self.lanes

    def end(self, o: Any) -> Any:
        """One more than the last."""
        group = (o * self.lanes + self.lanes - 1) // self.outputs
        return ((group + 1) * self.inputs + self.lanes - 1) // self.lanes

    @property
    def most(self) -> int:
        """How many input blocks a block of outputs takes at most."""
        count = self.blocks * self.lanes // self.inputs * self.outputs // self.lanes
        return int(max(self.end(o) - self.first(o) for o in range(count)))

    def base(self, o: Any) -> Any:
        """The input block that the first block of weights belongs to: so that all are there."""
        last = self.blocks - self.most
        first = self.first(o)
        return min(first, last) if isinstance(first, int) else tirx.min(first, last)
