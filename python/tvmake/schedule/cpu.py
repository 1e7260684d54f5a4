"""The little that the schedules know of a CPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CpuModel:
    """A CPU as the schedules see it.

    Attributes:
        vector_bits: width of a vector register.
        vector_registers: how many of them there are.
    """

    vector_bits: int
    vector_registers: int = 16

    def lanes(self, dtype_bits: int) -> int:
        """How many elements one vector register holds."""
        return max(1, self.vector_bits // dtype_bits)
