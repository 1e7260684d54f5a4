"""The little that layouts and schedules know of a CPU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvmake.target import Target

_LINE = 64  # bytes


@dataclass(frozen=True)
class CpuModel:
    """A CPU as layouts and schedules see it.

    Attributes:
        vector_bits: width of a vector register.
        vector_registers: how many of them there are.
        broadcasts_in_operand: whether a multiply-add takes one element of memory or of a register
            as an operand for all lanes, so that it needs no register of its own.
        l1_bytes: size of a core's first data cache.
        l1_ways: how many lines it keeps of those whose addresses differ by multiples of
            l1_bytes / l1_ways.
        l2_bytes: size of a core's second cache.
    """

    vector_bits: int
    vector_registers: int
    broadcasts_in_operand: bool = False
    l1_bytes: int = 32 << 10
    l1_ways: int = 4
    l2_bytes: int = 512 << 10

    @staticmethod
    def of(target: Target) -> CpuModel:
        """The description of a target."""
        x86 = target.architecture.startswith(("x86", "i"))
        few = target.architecture.startswith(("x86", "i", "arm")) and target.vector_bits < 512
        return CpuModel(
            target.vector_bits,
            16 if few else 32,
            broadcasts_in_operand=not x86 or target.vector_bits >= 512,
            l1_ways=8 if x86 else 4,
        )

    def lanes(self, dtype_bits: int) -> int:
        """How many elements one vector register holds."""
        return max(1, self.vector_bits // dtype_bits)

    def lines_apart(self, stride: int) -> int:
        """How many lines the first cache keeps of those that lie `stride` bytes apart."""
        span = self.l1_bytes // self.l1_ways
        return self.l1_ways * (span // max(_LINE, math.gcd(stride, span)))

    def multiply_adds(self, lanes: int) -> int:
        """How many of them begin in a cycle, each for so many 32-bit lanes.

        Two, but one of 512 bits: many CPUs have one unit for these, or calculate them in halves.
        """
        return 1 if 32 * lanes >= 512 else 2

    @property
    def accumulators(self) -> int:
        """How many vectors of sums fit, beside the operands of a multiply-add."""
        return self.vector_registers - 4
