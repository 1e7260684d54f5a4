"""A loop nest for every kernel, by rule, for the CPU at hand."""

from __future__ import annotations

from tvmake.schedule.cpu import CpuModel
from tvmake.schedule.rules import schedule_kernel

__all__ = ["CpuModel", "schedule_kernel"]
