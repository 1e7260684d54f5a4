"""ONNX operators that we convert ourselves, because TVM's converter is missing, wasteful or wrong.

One file per family of operators, each with a table from operator to converter. Operators outside
the default domain are called `domain.Operator`. A converter returns None to leave a case to TVM's.
"""

from __future__ import annotations

from . import (
    arithmetic,
    attention,
    casts,
    contrib,
    indexing,
    linear_algebra,
    ml,
    ml_svm,
    ml_trees,
    normalization,
    pooling,
    quantized,
    rearranging,
    recurrent,
    reductions,
    resize,
    sampling,
    scans,
    shapes,
    signal,
    sorting,
    training,
)
from .operator import Converter, Operator, qualified_name
from .stored import convert as convert_stored

__all__ = ["CONVERTERS", "Converter", "Operator", "convert_stored", "qualified_name"]

CONVERTERS: dict[str, Converter] = {
    **arithmetic.CONVERTERS,
    **attention.CONVERTERS,
    **casts.CONVERTERS,
    **contrib.CONVERTERS,
    **indexing.CONVERTERS,
    **linear_algebra.CONVERTERS,
    **ml.CONVERTERS,
    **ml_svm.CONVERTERS,
    **ml_trees.CONVERTERS,
    **normalization.CONVERTERS,
    **pooling.CONVERTERS,
    **quantized.CONVERTERS,
    **rearranging.CONVERTERS,
    **recurrent.CONVERTERS,
    **reductions.CONVERTERS,
    **resize.CONVERTERS,
    **sampling.CONVERTERS,
    **scans.CONVERTERS,
    **shapes.CONVERTERS,
    **signal.CONVERTERS,
    **sorting.CONVERTERS,
    **training.CONVERTERS,
}
