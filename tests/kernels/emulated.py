"""Runs a graph's kernels on another machine's emulator, or on this machine, as a program.

What python.arena_runner does inside this process: arena and outputs start full of poison, inputs
must be unchanged afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tvm_ffi

from tvmake.emit.dtype import dlpack_type
from tvmake.emit.kernels import write_kernels

if TYPE_CHECKING:
    from tvmake.lower.graph import Graph, MemoryPlan
    from tvmake.target import Target

    Array = np.ndarray[Any, Any]

_PREFIX = "k_"
_POISON = 0xFF  # NaN in every float type, and no small integer
_ALIGNMENT = 64


@dataclass(frozen=True)
class Toolchain:
    """How to make and run programs for a machine."""

    compiler: str
    emulator: tuple[str, ...] = ()  # what comes before a program and its arguments
    needs: tuple[str, ...] = ()  # what the emulator runs in its turn

    def skip_if_missing(self) -> None:
        """Skip the test if this machine lacks one of the programs."""
        programs = (self.compiler, *self.emulator[:1], *self.needs)
        if missing := [program for program in programs if shutil.which(program) is None]:
            pytest.skip(f"needs {', '.join(missing)}")


# x86-64 with AVX-512, which qemu's machines have not.
BOCHS = Toolchain(
    "cc", (sys.executable, str(Path(__file__).parent / "bochs" / "run.py")), needs=("bochs",)
)


@dataclass(frozen=True)
class Job:
    """Kernel calls, where their tensors live, and the machine to compile for."""

    graph: Graph
    plan: MemoryPlan
    target: Target


def run(job: Job, inputs: dict[str, Array], toolchain: Toolchain, folder: Path) -> dict[str, Array]:
    """Run the calls once; outputs by name."""
    program = _build(job, toolchain, folder)
    arena = np.full(job.plan.arena_bytes, _POISON, np.uint8)
    for index in job.graph.inputs:
        _view(job, arena, index)[...] = inputs[job.graph.tensors[index].name]
    arena.tofile(folder / "arena.bin")
    (folder / "weights.bin").write_bytes(_weights(job)[0])
    _call([*toolchain.emulator, program, folder / "arena.bin", folder / "weights.bin"])
    arena = np.fromfile(folder / "arena.bin", np.uint8)
    for index in job.graph.inputs:
        given = inputs[job.graph.tensors[index].name]
        np.testing.assert_array_equal(_view(job, arena, index), given, "input overwritten")
    return {
        name: _view(job, arena, index)
        for index, name in zip(job.graph.outputs, job.graph.output_names, strict=True)
    }


def _build(job: Job, toolchain: Toolchain, folder: Path) -> Path:
    """Make the program, without libraries of the machine that would have to be found."""
    kernels = write_kernels(
        folder / "kernels.o", job.graph.kernels, job.target, _PREFIX, folder / "cache"
    )
    text = _calls(job, kernels.symbols, kernels.backend_symbols)
    (folder / "calls.inc").write_text(text, encoding="utf-8")
    include = Path(tvm_ffi.__file__).parent / "include"
    program = folder / "program"
    _call(
        [
            *(toolchain.compiler, "-O1", "-static", "-Wall", "-Wextra", "-Werror"),
            *(f"-I{folder}", f"-isystem{include}", Path(__file__).with_name("emulated.c")),
            *(folder / "kernels.o", "-o", program, "-lm"),
        ]
    )
    return program


def _view(job: Job, arena: Array, index: int) -> Array:
    tensor, offset = job.graph.tensors[index], job.plan.offsets[index]
    view: Array = arena[offset : offset + tensor.bytes].view(tensor.dtype).reshape(tensor.shape)
    return view


def _weights(job: Job) -> tuple[bytes, dict[int, int]]:
    """All weights behind one another, and the offset of each."""
    data, offsets = bytearray(), {}
    for index, value in zip(job.graph.weights, job.graph.values, strict=True):
        offsets[index] = len(data)
        data += np.ascontiguousarray(value).tobytes()
        data += bytes(-len(data) % _ALIGNMENT)
    return bytes(data), offsets


def _calls(job: Job, symbols: dict[str, str], backend: Sequence[str]) -> str:
    """calls.inc: the job as C tables."""
    data, offsets = _weights(job)
    shapes: list[int] = []
    tensors = []
    for index, tensor in enumerate(job.graph.tensors):
        code, bits, lanes = dlpack_type(tensor.dtype)
        place = offsets.get(index, job.plan.offsets[index])
        first, rank = len(shapes), len(tensor.shape)
        shapes += tensor.shape
        dtype = f"{{{code}, {bits}, {lanes}}}"
        tensors.append(f"{{{int(index in offsets)}, {place}, {rank}, {first}, {dtype}}}")
    arguments: list[int] = []
    calls = []
    for call in job.graph.calls:
        if not call.is_alias:
            used = (*call.inputs, *call.outputs)
            calls.append(
                f'{{{symbols[call.kernel]}, "{call.name}", {len(arguments)}, {len(used)}}}'
            )
            arguments += used
    known = "__TVMBackendParallelLaunch"
    assert set(backend) <= {known}, f"emulated.c lacks {set(backend) - {known}}"
    return "\n".join(
        [
            f"enum {{ kArenaBytes = {job.plan.arena_bytes}, kWeightsBytes = {len(data)} }};",
            *(
                f"int {symbol}(void*, const TVMFFIAny*, int32_t, TVMFFIAny*);"
                for symbol in symbols.values()
            ),
            _table("const int64_t kShapes", map(str, [*shapes, 0])),
            _table("const Tensor kTensors", tensors),
            _table("const size_t kArguments", map(str, arguments)),
            _table("const Call kCalls", calls),
            *(f"extern void* {symbol};" for symbol in backend),
            "static void Bind(void) {",
            *(f"  {symbol} = (void*)&Launch;" for symbol in backend),
            "}\n",
        ]
    )


def _table(declaration: str, values: Any) -> str:
    return f"static {declaration}[] = {{{', '.join(values)}}};"


def _call(command: Sequence[str | Path]) -> None:
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    words = " ".join(map(str, command))
    assert result.returncode == 0, f"{words}\n{result.stdout}{result.stderr}"
