"""The vector functions against float64, over the whole range of float32, on every width."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import s_tir, te, tirx

from kernels import emulated
from kernels.emulated import BOCHS, Job
from python.arena_runner import copy_aligned
from python.instruction_sets import INSTRUCTION_SETS, missing_features
from tvmake.emit.codegen import compile_module
from tvmake.kernels import vector_math
from tvmake.lower.graph import Call, Graph, Tensor
from tvmake.lower.memory import plan_memory
from tvmake.spec import TargetSpec
from tvmake.target import resolve_target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tvmake.target import Target

    Array = np.ndarray[Any, Any]

_erf = np.vectorize(math.erf, otypes=["float64"])
REFERENCE: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "erf": _erf,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "rsqrt": lambda x: 1 / np.sqrt(x),
}
# Units in the last place of the result, as the module promises.
ULPS = {"exp": 2, "log": 2, "log1p": 4, "tanh": 6, "erf": 6, "sigmoid": 3, "rsqrt": 2}
SPECIAL = (0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e-45, -1e-45, 1.17e-38, 3.4e38)
LANES = 16


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("name", vector_math.FUNCTIONS)
def test_function(name: str, instruction_set: str, tmp_path: Path) -> None:
    cpu = INSTRUCTION_SETS[instruction_set]
    inputs = _inputs()
    kernel = _kernel(name, inputs.shape)
    target = resolve_target(TargetSpec("x86_64-linux-gnu", cpu))
    if missing_features(cpu):
        BOCHS.skip_if_missing()
        got = _run_emulated(kernel, inputs, target, tmp_path).astype("float64")
    else:
        got = _run(kernel, inputs, target).astype("float64")
    with np.errstate(all="ignore"):
        expected = REFERENCE[name](inputs.astype("float64"))
        rounded = expected.astype("float32").astype("float64")
    infinite = ~np.isfinite(rounded)
    np.testing.assert_array_equal(got[infinite], rounded[infinite])
    finite = ~infinite
    ulp = np.spacing(np.maximum(np.abs(rounded[finite]), 2.0**-126).astype("float32"))
    error = np.abs(got[finite] - expected[finite]) / ulp
    worst = int(error.argmax())
    assert error[worst] <= ULPS[name], f"{error[worst]} ulp at {inputs[finite][worst]}"


def _inputs() -> Array:
    """Every order of magnitude, finely between -100 and 100, and what is special."""
    magnitudes = np.geomspace(1e-45, 3e38, 40_000)
    values = np.concatenate([np.linspace(-110, 110, 120_001), magnitudes, -magnitudes, SPECIAL])
    padded = np.resize(values, -(-len(values) // LANES) * LANES)
    return padded.astype("float32")


def _kernel(name: str, shape: tuple[int, ...]) -> tvm.tirx.PrimFunc:
    operator = getattr(tirx, name)
    x = te.placeholder(shape, name="x")
    y = te.compute(shape, lambda i: operator(x[i]), name="y")
    schedule = s_tir.Schedule(tvm.IRModule({"main": te.create_prim_func([x, y])}))
    (loop,) = schedule.get_loops(schedule.get_sblock("y"))
    schedule.vectorize(schedule.split(loop, [None, LANES])[1])
    return schedule.mod["main"]


def _run(kernel: tvm.tirx.PrimFunc, values: Array, target: Target) -> Array:
    library = compile_module(tvm.IRModule({"main": kernel}), target.tvm_target())
    arrays = copy_aligned(values, 64), copy_aligned(np.full_like(values, 7e7), 64)
    library["main"](*map(tvm_ffi.from_dlpack, arrays))
    return arrays[1]


def _run_emulated(kernel: tvm.tirx.PrimFunc, values: Array, target: Target, folder: Path) -> Array:
    tensors = Tensor("x", "float32", values.shape), Tensor("y", "float32", values.shape)
    graph = Graph(
        tensors=tensors,
        calls=(Call("main", "main", inputs=(0,), outputs=(1,)),),
        inputs=(0,),
        weights=(),
        outputs=(1,),
        output_names=("y",),
        values=(),
        kernels={"main": kernel},
    )
    job = Job(graph, plan_memory(graph, 64), target)
    return emulated.run(job, {"x": values}, BOCHS, folder)["y"]
