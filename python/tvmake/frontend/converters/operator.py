"""What a converter gets to see of an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import relax


@dataclass(frozen=True)
class Operator:
    """One operator of the model, with operands that are Relax expressions already.

    Attributes:
        name: the operator's type, with its domain in front unless that is the default one.
        inputs: the operands; None where an optional one is left out.
        attributes: those that the model gives; defaults are the converter's matter.
        opset: version of the operator's domain.
        num_outputs: how many results the model names.
        builder: where to emit intermediate values.
    """

    name: str
    inputs: Sequence[relax.Expr | None]
    attributes: Mapping[str, Any]
    opset: int
    num_outputs: int
    builder: relax.BlockBuilder

    def operand(self, index: int) -> relax.Expr:
        """A required operand, with its type known.

        Raises:
            ValueError: when the model leaves it out.
        """
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise ValueError(f"{self.name} lacks its operand {index}")
        return self.builder.normalize(value)

    def optional(self, index: int) -> relax.Expr | None:
        """An operand that may be left out."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return None if value is None else self.builder.normalize(value)

    def emit(self, value: relax.Expr) -> relax.Expr:
        """An intermediate value, with its type known."""
        return self.builder.normalize(value)


# Several results are a relax.Tuple.
Converter = Callable[[Operator], "relax.Expr | None"]


def qualified_name(domain: str, op_type: str) -> str:
    """The key of an operator in the tables."""
    return op_type if domain in ("", "ai.onnx") else f"{domain}.{op_type}"
