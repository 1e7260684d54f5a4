"""What the command line shows of a compiled model, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tvmake.compiler import CompiledModel


def compile_summary(model: CompiledModel) -> str:
    """A few lines on a compiled model: what it is, for which CPU, and its memory."""
    graph, plan, target = model.graph, model.plan, model.target
    kernel_calls = sum(not call.is_alias for call in graph.calls)
    weights = sum(value.nbytes for value in graph.values)
    saved = 1 - plan.arena_bytes / max(plan.tensors_bytes, 1)
    planning = f" ({saved:.0%} less than without planning)" if saved > 0 else ""
    return "\n".join(
        (
            f"tvmake: {model.spec.name} for {target.triple}, CPU {target.cpu}",
            f"  executor {model.executor[0]}: {model.executor[1]}",
            f"  kernels  {len(graph.kernels)}, called {kernel_calls} times",
            f"  weights  {size(weights)} in {len(graph.values)} tensors",
            f"  arena    {size(plan.arena_bytes)}{planning}",
            f"  live     {size(plan.live_bytes)} at most, the least that an arena can have",
        )
    )


def size(count: int) -> str:
    """A number of bytes, for people."""
    if count < 10_000:
        return f"{count} bytes"
    return f"{count / 1e3:.1f} kB" if count < 10_000_000 else f"{count / 1e6:.1f} MB"
