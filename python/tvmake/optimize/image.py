"""The steps of `PREPROCESS`, compiled in front of a model. `preprocess` says what they mean."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from tvm import relax, te, tirx, topi

from tvmake.errors import SpecError, did_you_mean
from tvmake.preprocess import Image, PreparedInput, swapped, taps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvmake.frontend.imported import ImportedModel


def take_images(model: ImportedModel, images: Sequence[Image]) -> ImportedModel:
    """A model whose named inputs are images, brought to what the model wants by its own kernels.

    Raises:
        SpecError: when an entry names no input, or its steps do not fit the input's shape.
    """
    if not images:
        return model
    by_name = _by_name(model, images)
    main = model.module["main"]
    builder = relax.BlockBuilder(model.module)
    parameters, results = [], []
    for parameter, name in zip(main.params, model.inputs, strict=True):
        image = by_name.get(name)
        shape = _static_shape(parameter, image) if image else ()
        type_ = relax.TensorType(image.source_shape(shape), image.dtype) if image else parameter.ty
        parameters.append(relax.Var(parameter.name, type_))
    with builder.function("prologue", parameters):
        with builder.dataflow():
            for old, new, name in zip(main.params, parameters, model.inputs, strict=True):
                value = _prepare(builder, new, old, by_name[name]) if name in by_name else new
                results.append(value)
            result = builder.emit_output(relax.Tuple(results))
        builder.emit_func_output(result)
    module = builder.get()
    function = _joined(module["prologue"], main)
    functions = {v: f for v, f in module.functions_items() if v.name_hint != "prologue"}
    functions = {v: f for v, f in functions.items() if v.name_hint != "main"}
    functions[tvm.ir.GlobalVar("main")] = function
    return replace(
        model,
        module=relax.transform.Normalize()(tvm.IRModule(functions, attrs=module.attrs)),
        prepared=tuple(
            PreparedInput(name, by_name[name].text, str(p.ty.dtype), _shape(p))
            for p, name in zip(main.params, model.inputs, strict=True)
            if name in by_name
        ),
        input_types=tuple(
            by_name[name].dtype if name in by_name else dtype
            for name, dtype in zip(model.inputs, model.input_types, strict=True)
        )
        if model.input_types
        else (),
    )


def _by_name(model: ImportedModel, images: Sequence[Image]) -> dict[str, Image]:
    for image in images:
        if image.name not in model.inputs:
            raise SpecError(
                f"PREPROCESS names '{image.name}', which is no input of the model",
                where=model.files[0],
                expected="one of: " + ", ".join(model.inputs),
                fix=did_you_mean(image.name, model.inputs),
            )
    return {image.name: image for image in images}


def _static_shape(parameter: relax.Var, image: Image) -> tuple[int, ...]:
    if not all(isinstance(size, tirx.IntImm) for size in parameter.ty.shape):
        raise SpecError(
            f"PREPROCESS of '{image.name}' needs an input of fixed shape",
            fix="give its shape with INPUTS",
        )
    return _shape(parameter)


def _shape(parameter: relax.Var) -> tuple[int, ...]:
    return tuple(int(size) for size in parameter.ty.shape)


def _joined(prologue: relax.Function, main: relax.Function) -> relax.Function:
    """Main behind the prologue, whose results take the names of main's parameters."""
    *blocks, last = prologue.body.blocks
    results = last.bindings[-1].value.fields
    taken = [
        relax.VarBinding(parameter, result)
        for parameter, result in zip(main.params, results, strict=True)
    ]
    first = relax.DataflowBlock([*last.bindings[:-1], *taken])
    body = relax.SeqExpr([*blocks, first, *main.body.blocks], main.body.body)
    function = relax.Function(prologue.params, body, main.ret_ty, is_pure=bool(main.is_pure))
    return function.with_attrs(dict(main.attrs.items()))


def _prepare(
    builder: relax.BlockBuilder, image: relax.Var, wanted: relax.Var, steps: Image
) -> relax.Var:
    """From the caller's image to the model's input. Rows come first: they lie together."""
    shape = tuple(int(size) for size in wanted.ty.shape)
    sizes = dict(zip(steps.model_layout(shape), shape, strict=True))
    value = image
    for axis in "HW":
        position = steps.layout.index(axis)
        source = int(value.ty.shape[position])
        if source != sizes[axis]:
            value = _resized(builder, value, position, sizes[axis], steps.resize)
    order = [steps.layout.find(axis) for axis in steps.model_layout(shape)]
    factor, offset = (
        relax.const(values.astype("float32")) for values in steps.per_channel(sizes["C"])
    )
    operator = partial(
        _normalized,
        order=order,
        shape=shape,
        channel=steps.model_layout(shape).index("C"),
        swap=swapped(sizes["C"]) if steps.swap else None,
        dtype=str(wanted.ty.dtype),
    )
    call = builder.call_te(operator, value, factor, offset, primfunc_name_hint="normalize_image")
    return builder.emit(call)


def _resized(
    builder: relax.BlockBuilder, value: relax.Var, position: int, size: int, method: str
) -> relax.Var:
    shape = [int(dim) for dim in value.ty.shape]
    first, weights = taps(shape[position], size, method)
    before, after = (int(np.prod(part)) for part in (shape[:position], shape[position + 1 :]))
    lines = builder.emit(relax.op.reshape(value, (before, shape[position], after)))
    call = builder.call_te(
        _resample,
        lines,
        relax.const(first),
        relax.const(weights.astype("float32")),
        primfunc_name_hint="resize_image",
    )
    shape[position] = size
    return builder.emit(relax.op.reshape(builder.emit(call), shape))


def _resample(lines: te.Tensor, first: te.Tensor, weights: te.Tensor) -> te.Tensor:
    """[b, n, a] to [b, m, a] by m weighted sums of pixels that follow one another."""
    before, _, after = lines.shape
    target, count = weights.shape
    tap = te.reduce_axis((0, count), name="tap")
    return te.compute(
        (before, target, after),
        lambda b, i, a: te.sum(
            weights[i, tap] * lines[b, first[i] + tap, a].astype("float32"), axis=tap
        ),
        name="resample",
    )


def _normalized(
    value: te.Tensor,
    factor: te.Tensor,
    offset: te.Tensor,
    *,
    order: Sequence[int],
    shape: Sequence[int],
    channel: int,
    swap: Sequence[int] | None,
    dtype: str,
) -> te.Tensor:
    """Factor · pixel + offset, in the model's layout. `order` is -1 for a batch that is not there.

    Integers are rounded to the nearest and saturate.
    """

    def pixel(*index: Any) -> Any:
        position = list(index)
        if swap:
            position[channel] = _choose(swap, index[channel])
        source: list[Any] = [None] * len(value.shape)
        for axis, place in enumerate(order):
            if place >= 0:
                source[place] = position[axis]
        scaled = value(*source).astype("float32") * factor(index[channel]) + offset(index[channel])
        if dtype.startswith("float"):
            return scaled.astype(dtype)
        limits = tirx.min_value(dtype), tirx.max_value(dtype)
        bounded = te.min(te.max(te.round(scaled), limits[0].astype("float32")), _float(limits[1]))
        return bounded.astype(dtype)

    return te.compute(tuple(shape), pixel, name="normalized", tag=topi.tag.INJECTIVE)


def _float(value: Any) -> Any:
    return value.astype("float32")


def _choose(table: Sequence[int], index: Any) -> Any:
    """table[index] without memory: index is small."""
    result: Any = tirx.const(table[-1], "int32")
    for position in reversed(range(len(table) - 1)):
        result = tirx.Select(index == position, tirx.const(table[position], "int32"), result)
    return result
