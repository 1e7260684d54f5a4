"""TVM's kinds of operators (`relay::OpPatternKind`), which decide what is fused with what."""

from __future__ import annotations

from typing import Final

PATTERN: Final = "op_pattern"  # the attribute of a prim func that tells its kind

BROADCAST: Final = 1
INJECTIVE: Final = 2
REDUCTION: Final = 3  # takes elementwise operators before it only
OUT_ELEMENTWISE_FUSABLE: Final = 4  # takes elementwise operators after it
OPAQUE: Final = 8  # not to be fused
