"""The way of a model through the stages: import, optimize, schedule, lower, emit.

Every stage is a function from one frozen value to the next; only the last one writes files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvmake.emit import files

if TYPE_CHECKING:
    from tvmake.dump import Dump
    from tvmake.frontend.imported import ImportedModel
    from tvmake.lower import Graph, MemoryPlan
    from tvmake.lower.kernel import Kernel
    from tvmake.optimize import OptimizedModel
    from tvmake.schedule import CpuModel
    from tvmake.spec import ModelSpec
    from tvmake.target import Target

# In the order they are written: the manifest, which vouches for the others, comes last.
ARTIFACTS = ("kernels.o", "weights.bin", "graph.json", "manifest.json")
ALIGNMENT = 64  # TVM's: kernels are compiled for it, and no vector is wider


@dataclass(frozen=True)
class CompiledModel:
    """The lowered model before it is written."""

    spec: ModelSpec
    target: Target
    imported: ImportedModel
    graph: Graph
    plan: MemoryPlan

    @property
    def executor(self) -> tuple[str, str]:
        """What runs the model, and why that."""
        if self.spec.executor != "auto":
            return self.spec.executor, "it is asked for"
        if self.imported.dynamic:
            return "vm", self.imported.dynamic
        if any(call.guards or call.loop for call in self.graph.calls):
            return "vm", "it has control flow"
        return "graph", "all shapes are static"


def default_cache_dir() -> Path:
    """$TVMAKE_CACHE_DIR, or `tvmake` in the user's cache folder."""
    if folder := os.environ.get("TVMAKE_CACHE_DIR"):
        return Path(folder)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tvmake"


def usable_cores() -> int:
    """How many cores a build may use: those of this process, or fewer if CMake is told so."""
    cores = len(os.sched_getaffinity(0))
    limit = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "")
    return min(cores, int(limit)) if limit.isdecimal() and int(limit) else cores


def compile_model(spec: ModelSpec, dump: Dump | None = None) -> CompiledModel:
    """Take a model through all stages up to code generation.

    Args:
        spec: what to compile.
        dump: where to show the stages' results, if anywhere.

    Raises:
        TvmakeError: when the model or the request is wrong.
    """
    from tvmake.frontend import import_model
    from tvmake.lower import build_graph, plan_memory, share_memory
    from tvmake.lower.extents import Bounds
    from tvmake.optimize import optimize
    from tvmake.optimize.image import take_images
    from tvmake.schedule import CpuModel
    from tvmake.target import resolve_target

    target = resolve_target(spec.target)
    imported = take_images(import_model(spec), spec.preprocess)
    cpu = CpuModel.of(target)
    optimized = optimize(imported, target.tvm_target(), cpu, spec.optimize)
    kernels = _make_kernels(optimized, cpu)
    graph = build_graph(
        optimized.module["main"],
        kernels,
        imported.inputs,
        imported.outputs,
        optimized.groups,
        (imported.input_types, imported.output_types),
        Bounds(imported.symbols, imported.upper),
        [symbol.name for symbol in imported.symbols],
    )
    graph = share_memory(graph, ALIGNMENT)
    plan = plan_memory(graph, ALIGNMENT)
    if dump:
        dump.relax("1-imported", imported.module)
        dump.relax("2-optimized", optimized.module)
        dump.kernels("3-kernels", graph.kernels)
        dump.plan("4-memory", graph, plan)
    return CompiledModel(spec, target, imported, graph, plan)


def emit(model: CompiledModel, output_dir: Path, cache_dir: Path, jobs: int = 1) -> None:
    """Write the artifacts. Each file appears whole; one that would not change is left alone.

    Args:
        model: the lowered model.
        output_dir: where to write them.
        cache_dir: where compiled kernels are kept.
        jobs: how many kernels are compiled at once. More than one forks this process, which must
            not have threads that are at work then.
    """
    from tvmake.emit.graph_json import graph_json
    from tvmake.emit.kernels import write_kernels
    from tvmake.emit.manifest import manifest_json
    from tvmake.emit.weights import write_weights

    kernels = write_kernels(
        output_dir / "kernels.o",
        model.graph.kernels,
        model.target,
        f"{model.spec.name}_",
        cache_dir / "kernels",
        jobs,
    )
    with files.replacing(output_dir / "weights.bin") as file:
        weights = write_weights(file, model.graph.values, model.plan.alignment)
    graph_text = graph_json(model.graph, model.plan, weights[0])
    files.write(output_dir / "graph.json", graph_text)
    hashes = {name: files.sha256(output_dir / name) for name in ("kernels.o", "graph.json")}
    hashes["model"] = files.sha256(model.spec.model)
    text = manifest_json(
        model.spec,
        model.target,
        model.imported,
        model.graph,
        model.plan,
        kernels,
        weights,
        hashes,
        model.executor,
    )
    files.write(output_dir / "manifest.json", text)


def _make_kernels(optimized: OptimizedModel, cpu: CpuModel) -> dict[str, Kernel]:
    from tvmake.lower.kernel import is_reshape, make_kernel, output_counts
    from tvmake.optimize.movement import movement
    from tvmake.schedule import schedule_kernel

    kernels = {}
    for name, num_outputs in output_counts(optimized.module["main"]).items():
        function = optimized.module[name]
        kernels[name] = make_kernel(
            schedule_kernel(function, cpu),
            num_outputs,
            is_reshape=is_reshape(function),
            movement=movement(function),
        )
    return kernels


def write_depfile(path: Path, output_dir: Path, inputs: tuple[str, ...]) -> None:
    """Tell Ninja which files the artifacts were made from, in Make's syntax."""

    def escape(name: str) -> str:
        return name.replace("\\", "\\\\").replace(" ", "\\ ").replace("#", "\\#").replace("$", "$$")

    outputs = " ".join(escape(str(output_dir / name)) for name in ARTIFACTS)
    files.write(path, f"{outputs}: {' '.join(map(escape, inputs))}\n")
