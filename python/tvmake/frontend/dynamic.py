"""Operators whose results have shapes that are known at run time only.

Used where TVM's converters want constants. Each rule returns None for what those can do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from tvm import relax, te

from tvmake.op_patterns import OPAQUE

from . import data_operators, loops, shape_operators
from .expressions import extents_tensor
from .shape_rules import EXACT_ON_INTEGERS, RULES
from .slice_operator import convert_slice
from .symbolic import Shapes, is_static, product

if TYPE_CHECKING:
    from onnx import NodeProto

    from .converters import Operator
    from .symbolic import Dim, Values

    Rule = Callable[["DynamicShapes", NodeProto, Operator], relax.Expr | None]

SELECT = "tvmake.Select"
_COMPARISONS = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}


class DynamicShapes(Shapes):
    """Converts the operators that work on shapes, or whose results depend on data in shape."""

    def convert(self, node: NodeProto, operator: Operator) -> relax.Expr | None:
        """The operator's result, or None to leave it to other converters."""
        self.builder = operator.builder
        if node.domain not in ("", "ai.onnx", "tvmake"):
            return None
        operator = self._with_shapes(node, operator)
        values = self._evaluate(node, operator)
        if values is not None:
            self.values[node.output[0]] = values
            return self.tensor(values, _result_type(node, operator))
        rule = _CONVERTERS.get(operator.name)
        return rule(self, node, operator) if rule else None

    def _with_shapes(self, node: NodeProto, operator: Operator) -> Operator:
        """Sizes that TVM's converters take as expressions, as such."""
        if operator.name != "Resize" or len(node.input) < 4:
            return operator
        sizes = self.known(node, operator, 3)
        if sizes is not None and not is_static([self.simplify(s) for s in sizes]):
            assert isinstance(operator.inputs, list)
            operator.inputs[3] = relax.ShapeExpr(list(sizes))
        return operator

    def _evaluate(self, node: NodeProto, operator: Operator) -> Values | None:
        if operator.name in ("Shape", "Size"):
            value = operator.inputs[0]
            if (
                value is None
                or not isinstance(value.ty, relax.TensorType)
                or value.ty.shape is None
            ):
                return None
            dims = self.dims(value)
            if operator.name == "Size":
                return _array([product(dims)]).reshape(())
            stop = operator.attributes.get("end", len(dims))
            return _array(dims[operator.attributes.get("start", 0) : stop])
        rule = RULES.get(operator.name)
        if rule is None or not any(name in self.values for name in node.input):
            return None
        if operator.name in EXACT_ON_INTEGERS and _is_float(operator):
            return None
        operands = []
        for index, name in enumerate(node.input):
            if not name:
                continue
            known = self.known(node, operator, index)
            if known is None:
                return None
            operands.append(known)
        return rule(self, operands, operator.attributes)

    def shape_operand(
        self,
        node: NodeProto,
        operator: Operator,
        index: int,
        resolve: Callable[[list[Any]], list[Any]],
        extra: Sequence[Dim] = (),
    ) -> list[Dim]:
        """The extents that an operand asks for: known, or bound at run time.

        Args:
            node: the operator in the model.
            operator: the same, converted.
            index: of the operand.
            resolve: turns the operand's elements into extents. Gets the elements, then `extra`.
            extra: expressions that `resolve` needs, for a kernel cannot see symbols otherwise.
        """
        known = self.known(node, operator, index)
        if known is not None:
            return [self.simplify(d) for d in resolve([*known.reshape(-1), *extra])]
        tensor = operator.operand(index)
        count = self.dims(tensor)
        if len(count) > 1 or not is_static(count):
            raise ValueError(f"operand {index} has {tensor.ty}, expected a list of extents")
        length = count[0] if count else 1

        def build(tensors: Sequence[te.Tensor], given: Sequence[Any]) -> te.Tensor:
            elements = [tensors[0](k) if count else tensors[0]() for k in range(length)]
            return extents_tensor([e.astype("int64") for e in elements], given, resolve)

        resolved = self.compute(build, [tensor], list(extra), "resolve_shape", op_pattern=OPAQUE)
        return list(self.bind(resolved, node.output[0], [None] * int(resolved.ty.shape[0])))


def _array(values: Sequence[Any]) -> Values:
    result = np.empty(len(values), object)
    result[:] = values
    return result


def _is_float(operator: Operator) -> bool:
    return any("float" in str(value.ty.dtype) for value in operator.inputs if value is not None)


def _result_type(node: NodeProto, operator: Operator) -> str:
    if operator.name in ("Shape", "Size"):
        return "int64"
    if operator.name in _COMPARISONS:
        return "bool"
    if operator.name == "Cast":
        kind = next(a.i for a in node.attribute if a.name == "to")
        return str(onnx.helper.tensor_dtype_to_np_dtype(kind))
    if operator.name == "ConstantOfShape":
        value = operator.attributes.get("value")
        return "float32" if value is None else str(onnx.numpy_helper.to_array(value).dtype)
    operand = operator.operand(1 if operator.name == "Where" else 0)
    return str(operand.ty.dtype)


_CONVERTERS: dict[str, Rule] = {
    **data_operators.RULES,
    **loops.RULES,
    **shape_operators.RULES,
    "Slice": convert_slice,
}
