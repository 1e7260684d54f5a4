"""What a converter gets to see of an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvmake.frontend.onnx_file import dtype_name


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
        input_types, output_types: ONNX's element types of operands and results; 0 if unknown.
    """

    name: str
    inputs: Sequence[relax.Expr | None]
    attributes: Mapping[str, Any]
    opset: int
    num_outputs: int
    builder: relax.BlockBuilder
    input_types: Sequence[int] = ()
    output_types: Sequence[int] = ()

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

    def dtype(self, index: int) -> str:
        """The model's element type of an operand, which may be stored as another."""
        known = self.input_types[index] if index < len(self.input_types) else 0
        return dtype_name(known) if known else str(self.operand(index).ty.dtype)

    def shape(self, index: int) -> list[int]:
        """The static shape of an operand.

        Raises:
            ValueError: when it is not static.
        """
        return static_shape(self.operand(index))

    def constant(self, index: int) -> np.ndarray[Any, Any] | None:
        """The value of an operand; None if it is left out.

        Raises:
            ValueError: when it is not known at compile time.
        """
        value = self.optional(index)
        if value is None:
            return None
        if isinstance(value, relax.ShapeExpr):
            return np.array([int(dim) for dim in value.values], dtype="int64")
        if not isinstance(value, tvm.ir.GenericConst):
            raise ValueError(f"{self.name} needs its operand {index} at compile time")
        return value.value.numpy()  # type: ignore[no-any-return]

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def call_te(
        self,
        function: Callable[..., Any],
        *operands: relax.Expr,
        name: str | None = None,
        **attributes: Any,
    ) -> relax.Expr:
        """The result of a tensor expression, as a value of its own.

        Args:
            function: makes the expression of tensors.
            operands: what the tensors are.
            name: of the kernel, if not the operator's.
            attributes: of the prim func.
        """
        hint = name or self.name.rpartition(".")[2].lower()
        call = self.builder.call_te(
            function, *operands, primfunc_name_hint=hint, primfunc_attrs=attributes or None
        )
        return self.builder.emit(call)

    def emit(self, value: relax.Expr) -> relax.Expr:
        """An intermediate value, with its type known."""
        return self.builder.normalize(value)


def static_shape(value: relax.Expr) -> list[int]:
    """The shape of a value.

    Raises:
        ValueError: when it is not static.
    """
    shape = getattr(value.ty, "shape", None)
    if shape is None or not all(isinstance(dim, tvm.tirx.IntImm) for dim in shape):
        raise ValueError(f"a static shape is needed, but it is {value.ty}")
    return [int(dim) for dim in shape]


# Several results are a relax.Tuple.
Converter = Callable[[Operator], "relax.Expr | None"]


def qualified_name(domain: str, op_type: str) -> str:
    """The key of an operator in the tables."""
    return op_type if domain in ("", "ai.onnx") else f"{domain}.{op_type}"
