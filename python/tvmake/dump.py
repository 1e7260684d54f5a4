"""The stages' results as text, for people: `--dump-dir`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvmake.emit import files

if TYPE_CHECKING:
    from pathlib import Path

    import tvm

    from tvmake.lower import Graph, MemoryPlan


@dataclass(frozen=True)
class Dump:
    """A folder that takes one file for each stage."""

    folder: Path

    def relax(self, name: str, module: tvm.IRModule) -> None:
        """A Relax module as TVMScript."""
        files.write(self.folder / f"{name}.py", module.script())

    def kernels(self, name: str, kernels: dict[str, tvm.tirx.PrimFunc]) -> None:
        """Every scheduled prim func as TVMScript."""
        text = "\n\n".join(f"# {kernel}\n{kernels[kernel].script()}" for kernel in sorted(kernels))
        files.write(self.folder / f"{name}.py", text + "\n")

    def plan(self, name: str, graph: Graph, plan: MemoryPlan) -> None:
        """The calls with their tensors' places in the arena."""
        sizes = (plan.arena_bytes, plan.live_bytes, plan.tensors_bytes)
        lines = ["arena {} bytes, live at most {}, all tensors {}".format(*sizes)]
        for call in graph.calls:
            lines.append(f"{call.name} = {call.kernel}")
            for label, indices in (("in ", call.inputs), ("out", call.outputs)):
                for index in indices:
                    tensor, offset = graph.tensors[index], plan.offsets[index]
                    place = "weights" if offset < 0 else f"{offset}..{offset + tensor.bytes}"
                    lines.append(f"  {label} {tensor.name} {tensor.dtype}{tensor.shape} {place}")
        files.write(self.folder / f"{name}.txt", "\n".join(lines) + "\n")
