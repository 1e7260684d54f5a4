"""The little that layouts and schedules know of a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvmake.target import Target


@dataclass(frozen=True)
class CpuModel:
    """A CPU as layouts and schedules see it.

    Attributes:
        vector_bits: width of a vector register.
        vector_registers: how many of them there are.
    """

    vector_bits: int
    vector_registers: int

    @staticmethod
    def of(target: Target) -> CpuModel:
        """The description of a target."""
        few = target.architecture.startswith(("x86", "i", "arm")) and target.vector_bits < 512
        return CpuModel(target.vector_bits, 16 if few else 32)

    def lanes(self, dtype_bits: int) -> int:
        """How many elements one vector register holds."""
        return max(1, self.vector_bits // dtype_bits)

    @property
    def accumulators(self) -> int:
        """How many vectors of sums fit, beside the operands of a multiply-add."""
        return self.vector_registers - 4
