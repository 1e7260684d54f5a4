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
        broadcasts_in_operand: whether a multiply-add takes one element of memory or of a register
            as an operand for all lanes, so that it needs no register of its own.
        l1_bytes: size of a core's first data cache.
        l2_bytes: size of a core's second cache.
    """

    vector_bits: int
    vector_registers: int
    broadcasts_in_operand: bool = False
    l1_bytes: int = 32 << 10
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
        )

    def lanes(self, dtype_bits: int) -> int:
        """How many elements one vector register holds."""
        return max(1, self.vector_bits // dtype_bits)

    @property
    def accumulators(self) -> int:
        """How many vectors of sums fit, beside the operands of a multiply-add."""
        return self.vector_registers - 4
