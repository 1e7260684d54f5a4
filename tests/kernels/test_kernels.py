"""Every class of kernel over odd shapes, on every instruction set, against float64.

Kernels of other architectures, and of instruction sets that this CPU lacks, run in an emulator.
Memory is poisoned before the run.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

import kernels.convolutions
import kernels.others
import kernels.recurrent  # noqa: F401 - they fill CLASSES
from kernels import emulated
from kernels.cases import CLASSES, OPSET, Cases
from kernels.emulated import BOCHS, Job, Toolchain
from kernels.float64 import float64_outputs
from python.arena_runner import run
from python.instruction_sets import INSTRUCTION_SETS, missing_features
from python.onnx_models import save, spec
from tvmake.compiler import compile_model
from tvmake.spec import TargetSpec

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

COUNT = 12  # operators of a class
CROSS_COUNT = 6  # compilers and emulators of other architectures take time

# Of float32 results, relative to the largest value of the output.
TOLERANCE = 3e-6
WINOGRAD_TOLERANCE = 1e-4  # adds and subtracts before it multiplies
WINOGRAD = (  # classes with kernels that it is for
    *("convolution", "convolution_beyond_borders"),
    *("three_by_three_convolution", "filtered_convolution", "dilated_convolution"),
)
STRASSEN_TOLERANCE = 1e-5  # adds and subtracts once
STRASSEN = ("pointwise_convolution", "large_product")  # classes of which some are by it
TOLERANCES = {
    **dict.fromkeys(WINOGRAD, WINOGRAD_TOLERANCE),
    **dict.fromkeys(STRASSEN, STRASSEN_TOLERANCE),
}


@dataclass(frozen=True)
class Machine:
    """An instruction set, and how its programs run; without a toolchain: in this process."""

    triple: str
    cpu: str = ""
    features: tuple[str, ...] = ()
    toolchain: Toolchain | None = None
    count: int = CROSS_COUNT


def _x86(cpu: str) -> Machine:
    toolchain = BOCHS if missing_features(cpu) else None
    return Machine("x86_64-linux-gnu", cpu, toolchain=toolchain, count=COUNT)


_RISCV = "riscv64-linux-gnu-gcc"
MACHINES = {
    **{name: _x86(cpu) for name, cpu in INSTRUCTION_SETS.items()},
    "NEON": Machine(
        "aarch64-linux-gnu", toolchain=Toolchain("aarch64-linux-gnu-gcc", ("qemu-aarch64",))
    ),
    "VFPv4": Machine(
        "armv7l-linux-gnueabihf",
        toolchain=Toolchain("arm-linux-gnueabihf-gcc", ("qemu-arm", "-cpu", "cortex-a7")),
    ),
    "scalar": Machine("riscv64-linux-gnu", toolchain=Toolchain(_RISCV, ("qemu-riscv64",))),
    "RVV": Machine(
        "riscv64-linux-gnu",
        features=("+v",),
        toolchain=Toolchain(_RISCV, ("qemu-riscv64", "-cpu", "rv64,v=true,vlen=256")),
    ),
}


@dataclass(frozen=True)
class Sample:
    """A model with the operators of one class, inputs, and outputs in float64."""

    path: Path
    inputs: dict[str, Array]
    expected: dict[str, Array]


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes a class's sample, once for all machines."""

    @functools.cache
    def make(name: str, count: int) -> Sample:
        seed = [] if count == COUNT else [count]  # other shapes for other machines
        cases = Cases(np.random.default_rng([*seed, *map(ord, name)]))
        for _ in range(count):
            CLASSES[name](cases)
        folder = tmp_path_factory.mktemp(name)
        path = save(
            folder / "m.onnx", cases.nodes, cases.inputs, cases.outputs, cases.weights, opset=OPSET
        )
        inputs = {
            name: cases.random.standard_normal(shape).astype("float32")
            for name, shape in cases.inputs.items()
        }
        return Sample(path, inputs, float64_outputs(onnx.load(path), inputs))

    return make


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", CLASSES)
def test_kernel(name: str, machine: str, sample: Any, tmp_path: Path) -> None:
    described = MACHINES[machine]
    target = TargetSpec(described.triple, described.cpu, described.features)
    toolchain = described.toolchain
    case: Sample = sample(name, described.count)
    model = compile_model(spec(case.path, target=target))
    if toolchain:
        toolchain.skip_if_missing()
        job = Job(model.graph, model.plan, model.target)
        got = emulated.run(job, case.inputs, toolchain, tmp_path)
    else:
        got = run(model, case.inputs)
    if name in STRASSEN and machine != "scalar":  # which has no vectors, so no blocks
        assert any("strassen" in kernel for kernel in model.graph.kernels)
    tolerance = TOLERANCES.get(name, TOLERANCE)
    for output, expected in case.expected.items():
        scale = max(float(np.abs(expected).max(initial=0.0)), 1e-3)
        np.testing.assert_allclose(
            got[output], expected, rtol=0, atol=tolerance * scale, err_msg=output
        )
