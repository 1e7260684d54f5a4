"""Reading and writing tensors through indices."""

from __future__ import annotations

from tvm import relax

from .operator import Converter, Operator


def _gather(operator: Operator) -> relax.Expr | None:
    """Gather with indices clipped to the table: TVM's reads whatever memory an index points to."""
    data, indices = operator.operand(0), operator.operand(1)
    static = all(isinstance(v.ty, relax.TensorType) and v.ty.shape for v in (data, indices))
    if not static:
        return None
    axis = int(operator.attributes.get("axis", 0)) % len(data.ty.shape)
    size = relax.const(int(data.ty.shape[axis]), str(indices.ty.dtype))
    zero = relax.const(0, str(indices.ty.dtype))
    from_end = operator.emit(relax.op.add(indices, size))
    wrapped = relax.op.where(operator.emit(relax.op.less(indices, zero)), from_end, indices)
    return operator.emit(relax.op.take(data, operator.emit(wrapped), axis=axis, mode="clip"))


CONVERTERS: dict[str, Converter] = {"Gather": _gather}
