"""Convolutions and matrix products use the target's vector units: told by the disassembly."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from cmake_support.project import run
from tvmake import compiler
from tvmake.spec import ModelSpec, TargetSpec


@dataclass(frozen=True)
class Machine:
    """A target, and the instructions that multiply and add whole vectors there."""

    triple: str
    cpu: str
    features: tuple[str, ...]
    disassembler: str
    vector: str


MACHINES = {
    "SSE2": Machine("x86_64-linux-gnu", "", (), "objdump", r"mulps"),
    "AVX2": Machine("x86_64-linux-gnu", "x86-64-v3", (), "objdump", r"vfmadd\d+ps"),
    "AVX-512": Machine("x86_64-linux-gnu", "x86-64-v4", (), "objdump", r"vfmadd\d+ps"),
    "NEON": Machine("aarch64-linux-gnu", "", (), "aarch64-linux-gnu-objdump", r"fmla"),
    "VFPv4": Machine("armv7l-linux-gnueabihf", "", (), "arm-linux-gnueabihf-objdump", r"vfma\.f32"),
    "RV64GC": Machine("riscv64-linux-gnu", "", (), "riscv64-linux-gnu-objdump", r"fmadd\.s"),
    "RVV": Machine("riscv64-linux-gnu", "", ("+v",), "riscv64-linux-gnu-objdump", r"vfmacc\.v[vf]"),
}
# Of one number at a time, as a slow kernel has them.
_SCALAR = r"(v?mulss|vfmadd\d+ss|fmadd(\.s)?|fmul)$"


def network(operator: str) -> onnx.ModelProto:
    shape, weight = (
        ([1, 16, 16, 16], (16, 16, 3, 3)) if operator == "Conv" else ([32, 64], (64, 64))
    )
    values = np.random.default_rng(0).standard_normal(weight).astype(np.float32)
    node = helper.make_node(operator, ["x", "w"], ["y"])
    if operator == "Conv":
        node.attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
    graph = helper.make_graph(
        [node],
        "vectors",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(values, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def instructions(machine: Machine, operator: str, folder: Path) -> Counter[str]:
    """How often each instruction is in the kernels of a network of one operator."""
    onnx.save(network(operator), folder / "net.onnx")
    target = TargetSpec(machine.triple, machine.cpu, machine.features)
    request = ModelSpec.from_options(
        folder / "net.onnx", name="net", target=target, inputs=[], outputs=[], weights="EMBED"
    )
    compiler.emit(compiler.compile_model(request, None), folder, folder / "cache")
    listing = run(machine.disassembler, "--disassemble", folder / "kernels.o").check()
    fields = [line.split("\t") for line in listing.splitlines()]
    return Counter(field[2].split()[0] for field in fields if len(field) > 2 and field[2].strip())


@pytest.mark.parametrize("operator", ["Conv", "MatMul"])
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_sums_are_vector_multiply_adds(machine: Machine, operator: str, tmp_path: Path) -> None:
    assert shutil.which(machine.disassembler), f"{machine.disassembler} is missing"
    count = instructions(machine, operator, tmp_path)
    vector = sum(number for name, number in count.items() if re.fullmatch(machine.vector, name))
    scalar = sum(number for name, number in count.items() if re.match(_SCALAR, name))
    assert vector >= 8, count
    assert scalar <= vector, count
