"""onnxruntime's own operators, against onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from python.converter_cases import Cases, integers, random

if TYPE_CHECKING:
    from pathlib import Path

BATCH, LENGTH, WIDTH, HEADS = 2, 5, 24, 3
TOLERANCE = 1e-5


def add(cases: Cases, name: str, inputs: str, **attributes: Any) -> list[str]:
    return cases.add(f"com.microsoft.{name}", inputs, tolerance=TOLERANCE, **attributes)


def test_activations_and_norms(tmp_path: Path) -> None:
    cases = Cases()
    x, y = (cases.input(random(BATCH, LENGTH, WIDTH, seed=s)) for s in (0, 1))
    gamma, beta, bias = (cases.weight(random(WIDTH, seed=s)) for s in (2, 3, 4))
    add(cases, "Gelu", x)
    add(cases, "BiasGelu", f"{x} {bias}")
    add(cases, "FastGelu", f"{x} {bias}")
    add(cases, "QuickGelu", x, alpha=1.5)
    add(cases, "SkipLayerNormalization", f"{x} {y} {gamma} {beta} {bias}", epsilon=1e-5)
    add(cases, "SkipLayerNormalization", f"{x} {y} {gamma}")
    add(cases, "SkipSimplifiedLayerNormalization", f"{x} {y} {gamma} {bias}", epsilon=1e-5)
    cases.add("SimplifiedLayerNormalization", f"{x} {gamma}", tolerance=TOLERANCE)
    cases.check(tmp_path)


def test_embedding(tmp_path: Path) -> None:
    cases = Cases()
    ids = cases.input(integers(BATCH, LENGTH) % 11, "int32")
    segments = cases.input(integers(BATCH, LENGTH, seed=1) % 2, "int32")
    tables = " ".join(cases.weight(random(n, WIDTH, seed=n)) for n in (11, 7, 2))
    norm = " ".join(cases.weight(random(WIDTH, seed=s)) for s in (3, 4))
    mask = cases.input(np.ones((BATCH, LENGTH)), "int32")
    add(cases, "EmbedLayerNormalization", f"{ids} {segments} {tables} {norm} {mask}", results=2)
    cases.check(tmp_path)


def test_products(tmp_path: Path) -> None:
    cases = Cases()
    a, b = cases.input(random(2, 6, 4)), cases.weight(random(2, 7, 6))
    add(cases, "FusedMatMul", f"{a} {b}", transA=1, transB=1, alpha=0.3)
    x, w = cases.input(random(1, 4, 7, 7)), cases.weight(random(6, 2, 3, 3))
    bias = cases.weight(random(6))
    rules: dict[str, Any] = {"group": 2, "pads": [1, 1, 0, 1], "activation": "LeakyRelu"}
    add(cases, "FusedConv", f"{x} {w} {bias}", activation_params=[0.2], **rules)
    values = cases.input(random(3, 48))
    for bits in (4, 8):
        packed = cases.weight(integers(10, 3, 16 * bits // 8, seed=bits), "uint8")
        scales = cases.weight(abs(random(10 * 3, seed=bits)) / 50)
        sizes = {"K": 48, "N": 10, "bits": bits, "block_size": 16}
        add(cases, "MatMulNBits", f"{values} {packed} {scales}", **sizes)
        zeros = cases.weight(integers(10 * -(-3 * bits // 8), seed=9), "uint8")
        add(cases, "MatMulNBits", f"{values} {packed} {scales} {zeros}", **sizes)
    cases.check(tmp_path)


def test_attention(tmp_path: Path) -> None:
    cases = Cases()
    x = cases.input(random(BATCH, LENGTH, WIDTH))
    w = cases.weight(random(WIDTH, 3 * WIDTH, seed=1) / 4)
    b = cases.weight(random(3 * WIDTH, seed=2))
    lengths = cases.input([3, 5], "int32")
    mask = cases.input(np.arange(LENGTH)[None] < [[4], [2]], "int32")
    past = cases.input(random(2, BATCH, HEADS, 4, WIDTH // HEADS, seed=3))
    heads = {"num_heads": HEADS}
    add(cases, "Attention", f"{x} {w} {b}", **heads)
    add(cases, "Attention", f"{x} {w} {b} {lengths}", **heads)
    add(cases, "Attention", f"{x} {w} {b} {mask}", unidirectional=1, **heads)
    add(cases, "Attention", f"{x} {w} {b} _ {past}", results=2, unidirectional=1, **heads)
    cases.check(tmp_path)


def test_multi_head_attention(tmp_path: Path) -> None:
    cases = Cases()
    q = cases.input(random(BATCH, LENGTH, WIDTH))
    k, v = (cases.input(random(BATCH, 7, WIDTH, seed=s)) for s in (1, 2))
    bias = cases.weight(random(3 * WIDTH, seed=3))
    mask = cases.input(np.arange(7)[None] < [[6], [3]], "int32")
    extra = cases.input(random(1, HEADS, LENGTH, 7, seed=4))
    add(cases, "MultiHeadAttention", f"{q} {k} {v}", num_heads=HEADS)
    operands = f"{q} {k} {v} {bias} {mask} {extra}"
    add(cases, "MultiHeadAttention", operands, num_heads=HEADS, scale=0.2)
    cases.check(tmp_path)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_and_grouped(tmp_path: Path, interleaved: int) -> None:
    cases = Cases()

    def tables(width: int) -> str:
        angles = np.arange(16)[:, None] * 10.0 ** -np.arange(width)[None, :]
        return f"{cases.weight(np.cos(angles))} {cases.weight(np.sin(angles))}"

    x = cases.input(random(BATCH, LENGTH, WIDTH))
    places = cases.input([[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]], "int64")
    add(cases, "RotaryEmbedding", f"{x} {places} {tables(4)}", interleaved=interleaved)
    q = cases.input(random(BATCH, LENGTH, 64))
    k, v = (cases.input(random(BATCH, LENGTH, 32, seed=s)) for s in (1, 2))
    ends, total = cases.input([4, 4], "int32"), cases.weight(LENGTH, "int32")
    heads = {"num_heads": 4, "kv_num_heads": 2, "rotary_interleaved": interleaved}
    operands = f"{q} {k} {v} _ _ {ends} {total} {tables(8)}"
    add(cases, "GroupQueryAttention", operands, results=3, do_rotary=1, **heads)
    cases.check(tmp_path)
