"""ONNX operators that we convert ourselves, because TVM's converter is missing, wasteful or wrong.

One file per family of operators, each with a table from operator to converter. Operators outside
the default domain are called `domain.Operator`. A converter returns None to leave a case to TVM's.
"""

from __future__ import annotations

from . import (
    arithmetic,
    casts,
    indexing,
    ml,
    ml_trees,
    pooling,
    quantized,
    rearranging,
    recurrent,
    resize,
    sampling,
    sorting,
)
from .operator import Converter, Operator, qualified_name
from .stored import convert as convert_stored

__all__ = ["CONVERTERS", "Converter", "Operator", "convert_stored", "qualified_name"]

CONVERTERS: dict[str, Converter] = {
    **arithmetic.CONVERTERS,
    **casts.CONVERTERS,
    **indexing.CONVERTERS,
    **ml.CONVERTERS,
    **ml_trees.CONVERTERS,
    **pooling.CONVERTERS,
    **quantized.CONVERTERS,
    **rearranging.CONVERTERS,
    **recurrent.CONVERTERS,
    **resize.CONVERTERS,
    **sampling.CONVERTERS,
    **sorting.CONVERTERS,
}
