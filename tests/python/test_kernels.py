"""Every class of kernel over odd shapes, on every instruction set, against onnxruntime.

One model holds a dozen independent operators of a class with random shapes, so that compiling it
once checks them all. Memory is poisoned before the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from python.arena_runner import run
from python.onnx_models import node, save, spec
from tvmake.compiler import compile_model
from tvmake.reference import reference_outputs
from tvmake.spec import TargetSpec
from tvmake.target import resolve_target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

INSTRUCTION_SETS = {"SSE2": "x86-64", "AVX2": "x86-64-v3", "AVX-512": "x86-64-v4"}
CHANNELS = (1, 3, 5, 8, 16, 17, 33)
SIZES = (1, 2, 5, 7, 14, 23, 32, 65)
COUNT = 12

# Compared with float32 results of another order of summation.
TOLERANCE = 3e-6


@dataclass
class Cases:
    """Operators under way into one model."""

    random: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    def pick(self, values: Sequence[int], at_least: int = 0) -> int:
        return int(self.random.choice([value for value in values if value >= at_least]))

    def input(self, *shape: int) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs[name] = shape
        return name

    def weight(self, *shape: int, values: Any = None) -> str:
        name = f"w{len(self.weights)}"
        data = self.random.standard_normal(shape).astype("float32") if values is None else values
        self.weights[name] = data
        return name

    def add(self, op_type: str, inputs: str, *, keep: bool = True, **attributes: Any) -> str:
        name = f"y{len(self.nodes)}"
        self.nodes.append(node(op_type, inputs, name, **attributes))
        if keep:
            self.outputs.append(name)
        return name


def convolution(cases: Cases) -> None:
    groups = cases.pick((1, 1, 1, 2, 3))
    inner, outer = (cases.pick((1, 3, 5, 8, 17)) * groups for _ in range(2))
    rank = cases.pick((1, 2, 2, 2, 3))
    kernel = [cases.pick((1, 3, 5)) for _ in range(rank)]
    dilations = [cases.pick((1, 1, 2)) for _ in range(rank)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = [cases.pick(SIZES if rank < 3 else (5, 7, 14), at_least=r) for r in reach]
    x = cases.input(cases.pick((1, 2)), inner, *sizes)
    w = cases.weight(outer, inner // groups, *kernel)
    attributes: dict[str, Any] = {
        "group": groups,
        "dilations": dilations,
        "strides": [cases.pick((1, 1, 2)) for _ in range(rank)],
        "pads": [int(p) for p in cases.random.integers(0, 3, 2 * rank)],
    }
    if rank == 2:  # fused with what usually follows
        y = cases.add("Conv", f"{x} {w} {cases.weight(outer)}", keep=False, **attributes)
        cases.add("Relu", y)
    else:
        cases.add("Conv", f"{x} {w}", **attributes)


def depthwise_convolution(cases: Cases) -> None:
    channels, size, kernel = cases.pick(CHANNELS), cases.pick(SIZES, 5), cases.pick((3, 5))
    x = cases.input(1, channels, size, size)
    w = cases.weight(channels, 1, kernel, kernel)
    stride = cases.pick((1, 2))
    pads = [kernel // 2] * 4
    cases.add("Conv", f"{x} {w}", group=channels, strides=[stride, stride], pads=pads)


def transposed_convolution(cases: Cases) -> None:
    inner, outer, size = cases.pick((1, 3, 8)), cases.pick((1, 5, 16)), cases.pick((1, 5, 14))
    kernel, stride = cases.pick((2, 3)), cases.pick((1, 2))
    x, w = cases.input(1, inner, size, size), cases.weight(inner, outer, kernel, kernel)
    cases.add("ConvTranspose", f"{x} {w}", strides=[stride, stride])


def matrix_product(cases: Cases) -> None:
    m, k, n = (cases.pick((1, 3, 7, 16, 33, 65, 130)) for _ in range(3))
    kind = cases.pick(range(3))
    if kind == 0:  # constant weights
        cases.add("MatMul", f"{cases.input(m, k)} {cases.weight(k, n)}")
    elif kind == 1:  # dense with bias, transposed weights
        x, w, b = cases.input(m, k), cases.weight(n, k), cases.weight(n)
        cases.add("Gemm", f"{x} {w} {b}", transB=1)
    else:  # batched, both operands computed
        batch = cases.pick((1, 3, 12))
        cases.add("MatMul", f"{cases.input(batch, m, k)} {cases.input(batch, k, n)}")


def dense_layer(cases: Cases) -> None:
    """A product with constant weights and what may follow it, in one kernel."""
    m, k, n = (cases.pick((1, 2, 5, 16, 23, 65, 129)) for _ in range(3))
    x, residual = cases.input(2, m, k), cases.input(2, m, n)
    value = cases.add("MatMul", f"{x} {cases.weight(k, n)}", keep=False)
    value = cases.add("Add", f"{value} {cases.weight(n)}", keep=False)
    activation = cases.pick(range(4))
    if activation == 0:
        value = cases.add("Relu", value, keep=False)
    elif activation == 1:
        value = cases.add("Tanh", value, keep=False)
    elif activation == 2:  # exported so, and recognized as one function
        gate = cases.add("Sigmoid", value, keep=False)
        value = cases.add("Mul", f"{value} {gate}", keep=False)
    cases.add("Add", f"{residual} {value}")


def attention(cases: Cases) -> None:
    """As exported: heads taken from rows side by side, scaled, masked, guarded against NaN."""
    batch, heads = cases.pick((1, 2)), cases.pick((1, 3, 12))
    length, keys = (cases.pick((5, 16, 33)) for _ in range(2))
    width = cases.pick((8, 17, 32))

    def constant(*values: float | int, dtype: str = "float32") -> str:
        shape = () if dtype == "float32" else (-1,)
        return cases.weight(values=np.array(values, dtype).reshape(shape))

    def head_rows(rows: int, perm: Sequence[int]) -> str:
        shape = constant(batch, rows, heads, width, dtype="int64")
        x = cases.input(batch, rows, heads * width)
        return cases.add(
            "Transpose", cases.add("Reshape", f"{x} {shape}", keep=False), keep=False, perm=perm
        )

    q, v = head_rows(length, [0, 2, 1, 3]), head_rows(keys, [0, 2, 1, 3])
    k = head_rows(keys, [0, 2, 3, 1])
    scaled = cases.add("Mul", f"{q} {constant(0.5)}", keep=False)
    scores = cases.add("MatMul", f"{scaled} {k}", keep=False)
    kind = cases.pick(range(3))
    if kind:
        scores = cases.add("Div", f"{scores} {constant(3.0)}", keep=False)
        mask = np.where(cases.random.random((batch, 1, length, keys)) < 0.3, -np.inf, 0.5)
        mask[0, 0, 0] = -np.inf if kind == 2 else 0
        mask[..., 0, 0] = mask[..., 1:, 0] = 0
        mask[0, 0, 0, 0] = -np.inf if kind == 2 else 0
        added = cases.weight(values=mask.astype("float32"))
        scores = cases.add("Add", f"{scores} {added}", keep=False)
    weights = cases.add("Softmax", scores, keep=False, axis=-1)
    if kind == 2:  # one row is masked as a whole
        empty = cases.add("IsNaN", weights, keep=False)
        weights = cases.add("Where", f"{empty} {constant(0.0)} {weights}", keep=False)
    value = cases.add("MatMul", f"{weights} {v}", keep=False)
    if cases.pick((0, 1)):
        value = cases.add("Transpose", value, keep=False, perm=[0, 2, 1, 3])
    shape = constant(batch, -1, dtype="int64")
    cases.add("Reshape", f"{value} {shape}")


def pooling(cases: Cases) -> None:
    channels, size = cases.pick(CHANNELS), cases.pick(SIZES, 5)
    x = cases.input(1, channels, size, size)
    attributes: dict[str, Any] = {
        "kernel_shape": [3, 3],
        "strides": [cases.pick((1, 2))] * 2,
        "pads": [int(p) for p in cases.random.integers(0, 2, 4)],
    }
    kind = cases.pick(range(3))
    if kind == 0:
        cases.add("MaxPool", x, **attributes)
    elif kind == 1:
        include = cases.pick((0, 1))
        cases.add("AveragePool", x, count_include_pad=include, **attributes)
    else:
        cases.add("GlobalAveragePool" if cases.pick((0, 1)) else "GlobalMaxPool", x)


def softmax(cases: Cases) -> None:
    shape = [cases.pick(CHANNELS) for _ in range(3)]
    kind = "Softmax" if cases.pick((0, 1)) else "LogSoftmax"
    cases.add(kind, cases.input(*shape), axis=cases.pick(range(3)))


def normalization(cases: Cases) -> None:
    batch, channels, size = 2, cases.pick(CHANNELS), cases.pick((2, 5, 14))
    x = cases.input(batch, channels, size, size)
    kind = cases.pick(range(3))
    if kind == 0:
        w, b = cases.weight(size), cases.weight(size)
        cases.add("LayerNormalization", f"{x} {w} {b}", axis=-1)
    elif kind == 1:
        cases.add("InstanceNormalization", f"{x} {cases.weight(channels)} {cases.weight(channels)}")
    else:  # no convolution before it
        variance = cases.weight(channels, values=np.linspace(0.5, 2, channels, dtype="float32"))
        parameters = " ".join(cases.weight(channels) for _ in range(3))
        cases.add("BatchNormalization", f"{x} {parameters} {variance}")


def reduction(cases: Cases) -> None:
    shape = [cases.pick(CHANNELS) for _ in range(4)]
    kinds = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd")
    axes = sorted({cases.pick(range(4)), cases.pick(range(4))})
    cases.add(
        str(cases.random.choice(kinds)), cases.input(*shape), axes=axes, keepdims=cases.pick((0, 1))
    )


def elementwise_chain(cases: Cases) -> None:
    shape = [cases.pick(CHANNELS) for _ in range(3)]
    x, y = cases.input(*shape), cases.input(shape[0], 1, shape[2])
    value = cases.add("Add", f"{x} {y}", keep=False)
    for op_type in ("Tanh", "Sigmoid", "Exp", "Neg", "Abs", "Sqrt", "Softplus", "Erf"):
        if cases.pick((0, 1)):
            if op_type == "Sqrt":
                value = cases.add("Abs", value, keep=False)
            value = cases.add(op_type, value, keep=False)
    cases.add("Mul", f"{value} {cases.weight(shape[2])}")


def data_movement(cases: Cases) -> None:
    a, b, c = (cases.pick((2, 4, 6, 18)) for _ in range(3))
    x = cases.input(a, b, c)
    kind = cases.pick(range(6))
    integers = np.int64
    if kind == 0:
        cases.add("Transpose", x, perm=[int(p) for p in cases.random.permutation(3)])
    elif kind == 1:
        cases.add("Concat", f"{x} {cases.input(a, cases.pick(CHANNELS), c)}", axis=1)
    elif kind == 2:
        bounds = [cases.weight(values=np.array(v, integers)) for v in ([0, 1], [a, b], [0, 1])]
        cases.add("Slice", f"{x} {' '.join(bounds)}")
    elif kind == 3:
        pads = cases.weight(values=np.array([0, 1, 2, 1, 0, 3], integers))
        cases.add("Pad", f"{x} {pads}", mode="constant")
    elif kind == 4:
        indices = cases.weight(values=cases.random.integers(-b, b, 5).astype(integers))
        cases.add("Gather", f"{x} {indices}", axis=1)
    else:
        cases.add("Expand", f"{x} {cases.weight(values=np.array([3, a, b, c], integers))}")


def written_out(cases: Cases) -> None:
    """Activation functions as exporters write them, and chains of shapes."""
    a, b = cases.pick((2, 5, 16)), cases.pick((3, 8, 33))
    x = cases.input(a, b)
    kind = cases.pick(range(4))

    def constant(value: float) -> str:
        return cases.weight(values=np.array(value, "float32"))

    def binary(op_type: str, left: str, right: str) -> str:
        return cases.add(op_type, f"{left} {right}", keep=False)

    if kind < 2:  # GELU by the error function, in two orders
        scaled = binary("Div", x, constant(np.sqrt(2)))
        gate = binary("Add", cases.add("Erf", scaled, keep=False), constant(1))
        parts = [(x, constant(0.5)), gate] if kind else [(gate, constant(0.5)), x]
        cases.add("Mul", f"{binary('Mul', *parts[0])} {parts[1]}")
    elif kind == 2:  # by the hyperbolic tangent
        cube = cases.add("Pow", f"{x} {constant(3)}", keep=False)
        inner = binary("Add", x, binary("Mul", cube, constant(0.044715)))
        scaled = binary("Mul", inner, constant(np.sqrt(2 / np.pi)))
        gate = binary("Add", cases.add("Tanh", scaled, keep=False), constant(1))
        cases.add("Mul", f"{binary('Mul', x, constant(0.5))} {gate}")
    else:
        moved = cases.add("Transpose", cases.input(a, b, 3), keep=False, perm=[2, 0, 1])
        shape = cases.weight(values=np.array([3, b * a], "int64"))
        again = cases.weight(values=np.array([3, b, a], "int64"))
        value = cases.add("Reshape", f"{moved} {shape}", keep=False)
        value = cases.add("Reshape", f"{value} {again}", keep=False)
        value = cases.add("Transpose", value, keep=False, perm=[1, 2, 0])
        cases.add("Transpose", value, perm=[2, 0, 1])


def tile(cases: Cases) -> None:
    """Tile loops are what LLVM's loop vectorizer gets wrong with AVX-512."""
    shape = [cases.pick((2, 3, 4, 5)) for _ in range(4)]
    repeats = np.array([7, 6, 4, 2], "int64")
    cases.add("Tile", f"{cases.input(*shape)} {cases.weight(values=repeats)}")


KERNELS: tuple[Callable[[Cases], None], ...] = (
    convolution,
    depthwise_convolution,
    transposed_convolution,
    matrix_product,
    dense_layer,
    attention,
    pooling,
    softmax,
    normalization,
    reduction,
    elementwise_chain,
    data_movement,
    written_out,
    tile,
)


def missing_features(cpu: str) -> set[str]:
    """What a CPU has that this machine lacks. Names as in /proc/cpuinfo where they agree."""
    wanted = {"avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq"}
    target = resolve_target(TargetSpec("x86_64-linux-gnu", cpu))
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return (wanted & set(target.required_features)) - set(flags)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: str(kernel.__name__))
def test_kernel(kernel: Callable[[Cases], None], instruction_set: str, tmp_path: Path) -> None:
    cpu = INSTRUCTION_SETS[instruction_set]
    if missing := missing_features(cpu):
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
    cases = Cases(np.random.default_rng([ord(c) for c in kernel.__name__]))
    for _ in range(COUNT):
        kernel(cases)
    path = save(tmp_path / "m.onnx", cases.nodes, cases.inputs, cases.outputs, cases.weights)
    inputs = {
        name: cases.random.standard_normal(shape).astype("float32")
        for name, shape in cases.inputs.items()
    }
    target = TargetSpec("x86_64-linux-gnu", cpu)
    got = run(compile_model(spec(path, target=target)), inputs)
    expected = reference_outputs(path, inputs, cases.outputs)
    for name in cases.outputs:
        scale = float(np.abs(expected[name]).max(initial=0.0))
        np.testing.assert_allclose(
            got[name], expected[name], rtol=0, atol=TOLERANCE * max(scale, 1e-3), err_msg=name
        )
