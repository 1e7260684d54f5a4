"""Local response normalization, and normalizations in the forms that TVM's converters get wrong.

An operator that is refused here is replaced by its function body, if ONNX defines one.
"""

from __future__ import annotations

from functools import partial

from tvm import relax

from tvmake.kernels import lrn

from .operator import Converter, Operator


def _layer_norm(operator: Operator) -> relax.Expr | None:
    if operator.num_outputs > 1:
        raise ValueError("TVM's layer normalization does not compute mean and deviation")
    return None


def _rms_norm(operator: Operator) -> relax.Expr | None:
    rank = len(operator.shape(0))
    if int(operator.attributes.get("axis", -1)) % rank != rank - 1:
        raise ValueError("TVM's RMS normalization takes the last axis only")
    return None


def _batch_norm(operator: Operator) -> relax.Expr | None:
    if operator.attributes.get("training_mode", 0):
        raise ValueError("training_mode = 1 is for training; export the model for inference")
    operands = [operator.operand(index) for index in range(5)]
    if operator.num_outputs > 1 or len({operand.ty.dtype for operand in operands}) > 1:
        return None
    # As TVM's converter does it, but for the result, which it binds to a name of its own.
    epsilon = float(operator.attributes.get("epsilon", 1e-5))
    norm = relax.op.nn.batch_norm(*operands, axis=1, epsilon=epsilon, training=False)
    return relax.TupleGetItem(operator.emit(norm), 0)


def _lrn(operator: Operator) -> relax.Expr:
    """One kernel, which layouts know: TVM's converter pads, pools and transposes."""
    size = int(operator.attributes["size"])
    factors = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    given = {name: float(operator.attributes.get(name, v)) for name, v in factors.items()}
    if size < 1:
        raise ValueError(f"LRN's size is a number of channels, but it is {size}")
    parameters = lrn.Lrn(size, **given)
    function = partial(lrn.plain, lrn=parameters)
    return operator.builder.call_te(
        function,
        operator.operand(0),
        primfunc_name_hint="lrn",
        primfunc_attrs={lrn.ANNOTATION: parameters.annotation},
    )


CONVERTERS: dict[str, Converter] = {
    "BatchNormalization": _batch_norm,
    "LRN": _lrn,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
}
