"""Quantized operators against onnxruntime, element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from python.converter_cases import Cases, integers, random

if TYPE_CHECKING:
    from pathlib import Path


def scales(count: int, seed: int) -> list[float]:
    return [0.01 + abs(float(value)) / 50 for value in random(count, seed=seed)]


def test_quantize_and_dequantize(tmp_path: Path) -> None:
    cases = Cases(opset=21)
    x = cases.input(random(4, 6, 5) * 3)
    for number, dtype in enumerate(("uint8", "int8", "uint16", "int16")):
        zero = cases.weight(3, dtype)
        scale = cases.weight(0.02)
        (q,) = cases.add("QuantizeLinear", f"{x} {scale} {zero}")
        cases.add("DequantizeLinear", f"{q} {scale} {zero}", tolerance=1e-6)
        each = cases.weight(scales(6, number)), cases.weight(integers(6, dtype=dtype), dtype)
        (q,) = cases.add("QuantizeLinear", f"{x} {each[0]} {each[1]}", axis=1)
        cases.add("DequantizeLinear", f"{q} {each[0]} {each[1]}", axis=-2, tolerance=1e-6)
    blocks = cases.weight(0.01 + abs(random(4, 2, 5)) / 50)
    (q,) = cases.add("QuantizeLinear", f"{x} {blocks}", axis=1, block_size=3)
    cases.add("DequantizeLinear", f"{q} {blocks}", axis=1, block_size=3, tolerance=1e-6)
    cases.add("DynamicQuantizeLinear", x, results=3, tolerance=1e-6)
    cases.check(tmp_path)


def test_integer_products(tmp_path: Path) -> None:
    cases = Cases()
    a, b = cases.input(integers(3, 9), "uint8"), cases.weight(integers(9, 5, seed=1), "uint8")
    za, zb = cases.weight(130, "uint8"), cases.weight(integers(5, seed=2), "uint8")
    cases.add("MatMulInteger", f"{a} {b} {za} {zb}")
    x = cases.input(integers(1, 4, 9, 9), "uint8")
    w = cases.weight(integers(6, 4, 3, 3, seed=3), "uint8")
    zw = cases.weight(100, "uint8")
    cases.add("ConvInteger", f"{x} {w} {za} {zw}", pads=[1, 0, 2, 1], strides=[2, 1])
    cases.check(tmp_path)


def test_requantized_products(tmp_path: Path) -> None:
    cases = Cases()
    za, zy = cases.weight(130, "uint8"), cases.weight(120, "uint8")
    sa, sy = cases.weight(0.02), cases.weight(0.3)
    a, b = cases.input(integers(3, 9), "uint8"), cases.weight(integers(9, 5, seed=1), "uint8")
    cases.add("QLinearMatMul", f"{a} {sa} {za} {b} {sa} {za} {sy} {zy}")
    x = cases.input(integers(1, 4, 9, 9), "uint8")
    # Half the range: onnxruntime saturates pairs of products on CPUs without VNNI.
    w = cases.weight(integers(6, 2, 3, 3, seed=3, dtype="int8") // 2, "int8")
    zw, sw = cases.weight([0] * 6, "int8"), cases.weight(scales(6, 5))
    bias = cases.weight(range(-300, 300, 100), "int32")
    operands = f"{x} {sa} {za} {w} {sw} {zw} {sy} {zy}"
    cases.add("QLinearConv", f"{operands} {bias}", group=2, dilations=[2, 1])
    cases.add("QLinearConv", operands, group=2, auto_pad="SAME_UPPER", strides=[2, 2])
    cases.check(tmp_path)


def test_operators_of_onnxruntime(tmp_path: Path) -> None:
    cases = Cases()
    one = f"{cases.weight(0.03)} {cases.weight(140, 'uint8')}"
    two = f"{cases.weight(0.02)} {cases.weight(100, 'uint8')}"
    out = f"{cases.weight(0.05)} {cases.weight(128, 'uint8')}"
    a, b = (cases.input(integers(2, 3, 4, 5, seed=s), "uint8") for s in (0, 1))
    for name in ("QLinearAdd", "QLinearMul"):
        cases.add(f"com.microsoft.{name}", f"{a} {one} {b} {two} {out}")
    cases.add("com.microsoft.QLinearSigmoid", f"{a} {one} {out}")
    cases.add("com.microsoft.QLinearLeakyRelu", f"{a} {one} {out}", alpha=0.2)
    cases.add("com.microsoft.QLinearGlobalAveragePool", f"{a} {one} {out}", channels_last=0)
    cases.add("com.microsoft.QLinearConcat", f"{out} {a} {one} {b} {two}", axis=1)
    m, k = cases.input(random(3, 8)), cases.weight(integers(8, 5, dtype="int8") // 2, "int8")
    each = f"{cases.weight(scales(5, 3))} {cases.weight([0] * 5, 'int8')}"
    bias = cases.weight(random(5))
    cases.add("com.microsoft.DynamicQuantizeMatMul", f"{m} {k} {each} {bias}", tolerance=1e-5)
    q, scale = cases.input(integers(3, 8), "uint8"), each.split(maxsplit=1)[0]
    operands = f"{q} {k} {cases.weight(0.02)} {scale} {cases.weight(9, 'uint8')} _ {bias}"
    cases.add("com.microsoft.MatMulIntegerToFloat", operands, tolerance=1e-6)
    cases.check(tmp_path)
