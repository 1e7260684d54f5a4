"""What TVM's fusion of operators into kernels is to leave apart."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, tirx

from tvmake.op_patterns import BROADCAST, INJECTIVE, OPAQUE, OUT_ELEMENTWISE_FUSABLE, PATTERN
from tvmake.optimize.main_function import identity
from tvmake.optimize.movement import elements, movement


def limit_fusion(module: tvm.IRModule) -> tvm.IRModule:
    """Change the patterns by which operators are fused.

    Args:
        module: legalized, with TVM's patterns.
    """
    module = tvm.IRModule(module.functions, attrs=module.attrs)
    _keep_movements(module)
    _keep_broadcasts(module)
    return module


def _keep_movements(module: tvm.IRModule) -> None:
    """Let no kernel that could be spared become a part of another one."""
    for variable, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc) and (moved := movement(function)):
            operand, *results = function.params
            if moved.is_join or any(elements(r) < elements(operand) for r in results):
                module[variable] = function.with_attr(PATTERN, OPAQUE)


def _keep_broadcasts(module: tvm.IRModule) -> None:
    """Let no convolution end in something larger than its result.

    Squeeze-and-excite multiplies a whole picture by what was computed for each of its channels.
    """
    # Operators up to BROADCAST become the end of a convolution.
    sums: set[Any] = set()  # variables that are the end of a convolution, or alike
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            call = binding.value
            if not isinstance(call, relax.Call) or call.op != tvm.ir.Op.get("relax.call_tir"):
                continue
            function = module[call.args[0]]
            pattern = int(function.attrs.get(PATTERN, OPAQUE))
            operands = call.args[1].fields if isinstance(call.args[1], relax.Tuple) else []
            ends = [
                elements(parameter)
                for parameter, operand in zip(function.params, operands, strict=False)
                if isinstance(operand, relax.Var) and identity(operand) in sums
            ]
            size = elements(function.params[-1])
            if pattern <= BROADCAST and any(end < size for end in ends):
                module[call.args[0]] = function.with_attr(PATTERN, INJECTIVE)
            elif pattern == OUT_ELEMENTWISE_FUSABLE or (pattern <= BROADCAST and ends):
                sums.add(identity(binding.var))
