"""Relax calls to a flat graph of kernel calls, with one planned arena."""

from __future__ import annotations

from tvmake.lower.build import build_graph
from tvmake.lower.graph import Call, Graph, MemoryPlan, Tensor
from tvmake.lower.memory import plan_memory
from tvmake.lower.sharing import share_memory

__all__ = ["Call", "Graph", "MemoryPlan", "Tensor", "build_graph", "plan_memory", "share_memory"]
