"""ONNX graphs made flat: what can be known at compile time is resolved there."""

from __future__ import annotations

from .flattener import RESOLVED, FlatGraph, flatten
from .functions import has_body
from .inputs import element_names, flat_inputs

__all__ = ["RESOLVED", "FlatGraph", "element_names", "flat_inputs", "flatten", "has_body"]
