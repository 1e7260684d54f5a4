"""Element types that are stored as integers: their bits, against ml_dtypes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tvm
from onnx import TensorProto
from onnx.numpy_helper import saturate_cast, to_float8e8m0
from tvm import te

from python.onnx_models import node, save, spec
from tvmake import elements
from tvmake.compiler import compile_model
from tvmake.frontend.converters.elements import (
    FORMATS,
    INTEGER_BITS,
    decode,
    elementwise,
    encode,
    encode_half,
    wrap_integer,
)

Array = np.ndarray[Any, Any]


def compute(function: Callable[[Any], Any], data: Array, dtype: str) -> Array:
    source = te.placeholder(data.shape, str(data.dtype), name="source")
    result = elementwise(function, "result")(source)
    kernel = tvm.compile(te.create_prim_func([source, result]), target="llvm")
    out = tvm.runtime.tensor(np.full(data.shape, 0x5B).astype(dtype))
    kernel(tvm.runtime.tensor(data), out)
    return np.asarray(out.numpy())


def numbers(values: Array) -> Array:
    """Random ones, the given ones, what lies between them, their neighbours, the special ones."""
    generator = np.random.default_rng(5)
    finite = np.sort(values[np.isfinite(values)].astype(np.float64))
    between = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)
    bits = generator.integers(0, 1 << 32, 20000, dtype=np.uint32)
    scaled = generator.standard_normal(20000) * np.exp2(generator.integers(-20, 18, 20000))
    special = [0.0, -0.0, np.inf, -np.inf, np.nan]
    parts = [
        *(values, between, bits.view(np.float32), scaled, special),
        *(np.nextafter(between, np.float32(sign * np.inf)) for sign in (1, -1)),
    ]
    return np.concatenate([np.asarray(part, np.float32) for part in parts])


@pytest.mark.parametrize("name", FORMATS)
def test_floats(name: str) -> None:
    dtype, bits = np.dtype(getattr(ml_dtypes, name)), np.dtype(elements.storage(name))
    codes = np.arange(2 * FORMATS[name].sign).astype(bits)
    values = codes.view(dtype).astype(np.float32)
    got = compute(lambda x: decode(x, name), codes, "float32")
    np.testing.assert_array_equal(got, values)
    is_number = ~np.isnan(values)
    np.testing.assert_array_equal(np.signbit(got)[is_number], np.signbit(values)[is_number])
    data = numbers(values)
    for saturate in (False, True):
        got = compute(partial(encode, element=name, saturate=saturate), data, str(bits))
        with np.errstate(all="ignore"):
            has_nan = FORMATS[name].nan is not None
            cast = saturate_cast(data, dtype) if saturate and has_nan else data.astype(dtype)
        known = ~np.isnan(data) | (FORMATS[name].nan is None)
        np.testing.assert_array_equal(got[known], cast.view(bits)[known])
        if has_nan:
            assert np.isnan(got[~known].view(dtype).astype(np.float32)).all()


def test_doubles_are_rounded_once() -> None:
    just_below = np.nextafter(216.0, 0)  # 216 is a tie, which float32 would make of it
    got = compute(
        lambda x: encode(x, "float8_e4m3fnuz", saturate=True), np.array([just_below]), "uint8"
    )
    assert got.view(ml_dtypes.float8_e4m3fnuz).astype(float) == [208]


def test_doubles_to_halves() -> None:
    halves = np.arange(1 << 16).astype(np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        values: list[Any] = [numbers(halves).astype(float), [65519.99, 65520.0, 2.0**-25, 1e300]]
        data: Any = np.concatenate(values)
        expected = data.astype(np.float16)
    np.testing.assert_array_equal(compute(encode_half, data, "float16"), expected)


@pytest.mark.parametrize("mode", ["up", "down", "nearest"])
@pytest.mark.parametrize("saturate", [False, True])
def test_powers_of_two(mode: str, saturate: bool) -> None:
    data = np.abs(numbers(np.exp2(np.arange(-126, 128)).astype(np.float32)))
    got = compute(
        lambda x: encode(x, "float8_e8m0fnu", saturate=saturate, round_mode=mode), data, "uint8"
    )
    expected = to_float8e8m0(data, saturate, mode)
    np.testing.assert_array_equal(got, np.asarray(expected).view(np.uint8))
    codes = np.arange(256).astype(np.uint8)
    np.testing.assert_array_equal(
        compute(lambda x: decode(x, "float8_e8m0fnu"), codes, "float32"),
        codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float32),
    )


@pytest.mark.parametrize("name", INTEGER_BITS)
@pytest.mark.parametrize("source", ["float32", "int8", "uint8", "int64"])
def test_integers(name: str, source: str) -> None:
    data = np.arange(-40, 40).astype(source)
    got = compute(lambda x: wrap_integer(x, name), data, elements.storage(name))
    np.testing.assert_array_equal(got, data.astype(getattr(ml_dtypes, name)).astype(np.int8))


def test_callers_see_the_models_types(tmp_path: Path) -> None:
    nodes = [
        node("Cast", "x", "f", to=TensorProto.FLOAT),
        node("Cast", "f", "y", to=TensorProto.INT4),
        node("Cast", "f", "z", to=TensorProto.FLOAT8E5M2),
    ]
    types = {
        "x": TensorProto.BFLOAT16,
        "y": TensorProto.INT4,
        "z": TensorProto.FLOAT8E5M2,
    }
    path = save(tmp_path / "m.onnx", nodes, {"x": (2, 3)}, ["y", "z"], types=types, opset=21)
    model = compile_model(spec(path))
    graph = model.graph
    assert [graph.tensors[index].dtype for index in graph.inputs] == ["bfloat16"]
    assert [graph.tensors[index].dtype for index in graph.outputs] == ["int8", "float8_e5m2"]
    assert [graph.tensors[index].bytes for index in graph.outputs] == [6, 6]
    assert model.imported.output_types == ("int4", "float8_e5m2")
    assert [elements.dlpack_type(name) for name in model.imported.output_types] == [
        (0, 8, 1),
        (12, 8, 1),
    ]
