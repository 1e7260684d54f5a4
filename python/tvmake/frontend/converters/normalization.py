"""Normalizations in the forms that TVM's converters get wrong: these are refused there.

An operator that is refused here is replaced by its function body, if ONNX defines one.
"""

from __future__ import annotations

from tvm import relax

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
    return None


CONVERTERS: dict[str, Converter] = {
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
}
