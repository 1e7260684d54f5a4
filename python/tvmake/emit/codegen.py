"""TVM's way from prim funcs to machine code, with the project's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import tvm
from tvm import tirx

from tvmake.emit.shares import share_parallel_loops
from tvmake.emit.stack import keep_scratch_on_stack
from tvmake.kernels import vector_math

_PIPELINE = "tvmake"
_STATIC = "tvmake.static"  # attribute of kernels whose extents are all numbers
_called: set[tuple[str, int]] = set()  # functions that the module under way calls


def compile_module(module: tvm.IRModule, target: tvm.target.Target) -> Any:
    """Compile prim funcs with global symbols to a runtime module."""
    _install()
    # Of a target with scalable vectors, TVM makes masked loops of any number of lanes, or none with
    # vectors at all. Schedules write vectors of a fixed width: so prim funcs know the triple only.
    plain = tvm.target.Target({"kind": "llvm", "mtriple": target.attrs["mtriple"]}, host=target)

    def prepared(function: tirx.PrimFunc) -> tirx.PrimFunc:
        bound = function.with_attr("target", plain)
        return bound.with_attr(_STATIC, True) if _is_static(function) else bound

    module = tvm.IRModule({v: prepared(f) for v, f in module.functions_items()})
    return tvm.tirx.build(module, target, pipeline=_PIPELINE)


@cache
def _install() -> None:
    """Make LLVM's code generator call `vector_math` for float32, in vectors of any width."""
    from tvm.ir import register_op_attr
    from tvm.tirx.compilation_pipeline import PIPELINE_MAP

    for name in vector_math.FUNCTIONS:
        register_op_attr(f"tirx.{name}", "TVectorizable", True, level=11)
        tirx.register_intrin_lowering(f"tirx.{name}", target="llvm", f=_lowering(name), level=100)
    PIPELINE_MAP[_PIPELINE] = _pipeline


def _lowering(name: str) -> Callable[[Any], Any]:
    general = _general_lowering(name)

    def lower(call: Any) -> Any:
        dtype, _, lanes = str(call.ty.dtype).partition("x")
        function = name, int(lanes or 1)
        if dtype == "float64":
            return general(call)
        _called.add(function)
        single = f"float32x{lanes}" if lanes else "float32"
        result = tirx.call_pure_extern(
            single, vector_math.symbol(*function), call.args[0].astype(single)
        )
        return result.astype(str(call.ty.dtype))

    return lower


def _general_lowering(name: str) -> Callable[[Any], Any]:
    operator = tvm.ir.Op.get(f"tirx.{name}")
    for attribute in ("llvm.FLowerIntrinsic", "default.FLowerIntrinsic", "default.FLegalize"):
        if lowering := operator.get_attr(attribute):
            return lowering  # type: ignore[no-any-return]
    raise ValueError(f"TVM does not lower tirx.{name}")


def _pipeline() -> tuple[Any, Any, Any]:
    passes, finish_host, finish_device = tvm.tirx.get_tir_pipeline("s_tir")
    return (
        passes,
        lambda: tvm.ir.transform.Sequential(
            [
                _trust_callers(),
                share_parallel_loops(),
                keep_scratch_on_stack(),
                finish_host(),
                _without_main(),
                _link_called(),
            ]
        ),
        finish_device,
    )


def _is_static(function: tirx.PrimFunc) -> bool:
    return all(
        not tvm.ir.is_prim_expr(param) and all(isinstance(d, tirx.IntImm) for d in param.shape)
        for param in function.params
    )


def _trust_callers() -> Any:
    """Leave out the checks of arguments, three quarters of the code, where extents are numbers.

    The executor prepares all calls of such kernels once, with tensors that the compiler laid out.
    """
    skip = tirx.transform.SkipAssert()

    @tvm.transform.module_pass(opt_level=0, name="tvmake.TrustCallers")  # type: ignore[untyped-decorator] # TVM has no types
    def trust(module: tvm.IRModule, _context: Any) -> tvm.IRModule:
        functions = dict(module.functions_items())
        static = {v: f for v, f in functions.items() if f.attrs and _STATIC in f.attrs}
        trusting = skip(tvm.IRModule(static)).functions_items()
        return tvm.IRModule({**functions, **dict(trusting)}, attrs=module.attrs)

    return trust


def _without_main() -> Any:
    """Leave out the second name that TVM gives to the one function of a module with one."""

    @tirx.transform.prim_func_pass(opt_level=0, name="tvmake.WithoutMain")  # type: ignore[untyped-decorator] # TVM has no types
    def drop(function: tirx.PrimFunc, _module: tvm.IRModule, _context: Any) -> tirx.PrimFunc:
        return function.without_attr("tirx.is_entry_func")

    return drop


def _link_called() -> Any:
    @tvm.transform.module_pass(opt_level=0, name="tvmake.LinkCalled")  # type: ignore[untyped-decorator] # TVM has no types
    def link(module: tvm.IRModule, _context: Any) -> tvm.IRModule:
        """Link the functions that were called into the module, through one of its kernels."""
        called = sorted(_called)
        _called.clear()
        if not called:
            return module
        code = "".join(vector_math.declarations(lanes) for lanes in sorted({c[1] for c in called}))
        code += "".join(vector_math.definitions(*function) for function in called)
        functions = dict(module.functions_items())
        variable, function = next(iter(functions.items()))
        functions[variable] = tirx.PrimFunc(
            function.params,
            tirx.AttrStmt(
                tirx.const(0, "int32"),
                "pragma_import_llvm",
                tvm.ir.StringImm(code),
                function.body,
            ),
            function.ret_type,
            function.attrs,
        )
        return tvm.IRModule(functions, attrs=module.attrs)

    return link
