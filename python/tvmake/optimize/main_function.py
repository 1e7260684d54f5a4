"""What passes over `main` have in common: who defines and uses a value, and building it anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import tvm
from tvm import relax

from tvmake import constants
from tvmake.frontend.imported import part_name
from tvmake.optimize.blocked import extent

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# Emits what stands for a value; gets the builder, old expression -> new, and the value's name.
Replacement = Callable[[relax.BlockBuilder, Callable[[relax.Expr], relax.Expr], str], relax.Expr]
# Gives what is to stand for a value of `main`, if anything.
Rule = Callable[[relax.Var, "MainFunction"], Replacement | None]


class MainFunction:
    """The straight-line function `main` of a module, for matching patterns in it."""

    def __init__(self, module: tvm.IRModule) -> None:
        self.module = module
        main = module["main"]
        self.bindings = [b for block in main.body.blocks for b in block.bindings]
        self.is_straight = all(
            isinstance(b, relax.VarBinding) and not isinstance(b.value, relax.If)
            for b in self.bindings
        )
        self._calls = {
            identity(b.var): b.value for b in self.bindings if isinstance(b.value, relax.Call)
        }
        self._users: dict[Any, list[relax.Var]] = {}
        for binding in self.bindings:
            for used in _variables(binding.value):
                self._users.setdefault(identity(used), []).append(binding.var)
        for used in _variables(main.body.body):
            self._users.setdefault(identity(used), []).append(used)

    def call(self, expression: relax.Expr, *names: str) -> relax.Call | None:
        """The call of one of some operators that defines an expression."""
        found = self._calls.get(identity(expression)) if _is_variable(expression) else None
        return found if found is not None and (not names or operator(found) in names) else None

    def only_user(self, variable: relax.Var) -> relax.Var | None:
        """The one variable whose call uses this one, if there is just one use."""
        users = self._users.get(identity(variable), [])
        return users[0] if len(users) == 1 and not users[0].same_as(variable) else None

    def rebuild(self, replacements: dict[Any, Replacement]) -> tvm.IRModule:
        """The module with some values computed otherwise; what is unused then is removed.

        Args:
            replacements: identity of a variable -> what stands for it.
        """
        return self._rewritten(replacements) if replacements else self.module

    def with_distinct_names(self) -> tvm.IRModule:
        """The module with no two values of one name; they are not unique in Relax."""
        return self._rewritten({})

    def _rewritten(self, replacements: dict[Any, Replacement]) -> tvm.IRModule:
        main = self.module["main"]
        builder = relax.BlockBuilder(self.module)
        parameters = [relax.Var(p.name, p.ty) for p in main.params]
        values = {identity(old): new for old, new in zip(main.params, parameters, strict=True)}

        def new(expression: relax.Expr) -> relax.Expr:
            return _substitute(expression, values)

        with builder.function("main_new", parameters):
            with builder.dataflow():
                for binding in self.bindings:
                    key, name = identity(binding.var), binding.var.name
                    if key in replacements:
                        values[key] = replacements[key](builder, new, name)
                    else:
                        values[key] = builder.emit(new(binding.value), name_hint=name)
                result = builder.emit_output(new(main.body.body))
            builder.emit_func_output(result)
        return _with_main(builder.get(), self.module, main)


def replace_values(module: tvm.IRModule, rule: Rule) -> tvm.IRModule:
    """The module with all values of `main` computed otherwise that a rule has something for."""
    main = MainFunction(module)
    if not main.is_straight:
        return module
    found = ((b.var, rule(b.var, main)) for b in main.bindings)
    return main.rebuild({identity(var): made for var, made in found if made is not None})


def identity(variable: relax.Expr) -> Any:
    """Names are not unique in Relax; the object is."""
    return variable.__chandle__()


def operator(call: relax.Call) -> str:
    """The name of the operator that a call calls."""
    return str(call.op.name) if isinstance(call.op, tvm.ir.Op) else ""


def call_name(expression: relax.Expr) -> str:
    """The name of the operator that an expression calls; empty if it is no call."""
    return operator(expression) if isinstance(expression, relax.Call) else ""


def shape(expression: relax.Expr) -> tuple[Any, ...]:
    """The shape of a tensor, ints where extents are static; empty for what is none."""
    kind = expression.ty
    if not isinstance(kind, relax.TensorType) or kind.shape is None:
        return ()
    return tuple(extent(dim) for dim in kind.shape)


def dtype(expression: relax.Expr) -> str:
    """The element type of a tensor; empty for what is none."""
    return str(getattr(expression.ty, "dtype", ""))


def constant(expression: relax.Expr) -> Array | None:
    """The value of a constant tensor."""
    if isinstance(expression, tvm.ir.GenericConst):
        return constants.values(expression)
    return None


def scalar(expression: relax.Expr) -> float | None:
    """The value of a constant with one element."""
    value = constant(expression)
    return float(value.reshape(())) if value is not None and value.size == 1 else None


def call_kernel(
    builder: relax.BlockBuilder,
    kernel: tvm.tirx.PrimFunc,
    hint: str,
    arguments: Sequence[relax.Expr],
    result: tuple[int, ...],
    view: tuple[int, ...],
    name: str,
) -> relax.Expr:
    """Emit a call of a hand-written kernel with one float32 result.

    Args:
        builder: of the new main.
        kernel: what to call.
        hint: for the kernel's name.
        arguments: what it reads.
        result: the shape that it writes.
        view: the shape that the model's tensor has.
        name: the value's.
    """
    function = builder.add_func(kernel, hint)
    call = relax.call_tir(function, list(arguments), out_ty=relax.TensorType(result, "float32"))
    if view == result:
        return builder.emit(call, name_hint=name)
    # The reshape may meet another and go: then the kernel must still be known by a name.
    written = builder.emit(call, name_hint=part_name(name))
    return builder.emit(relax.op.reshape(written, view), name_hint=name)


def reshaped(
    builder: relax.BlockBuilder, value: relax.Expr, new_shape: Sequence[int]
) -> relax.Expr:
    """A value under another shape; itself if it has it.

    A reshape stays a binding of its own, so its name must not be one that fusion gives.
    """
    if tuple(new_shape) == shape(value):
        return value
    return builder.emit(relax.op.reshape(value, tuple(new_shape)), name_hint="view")


def _with_main(rewritten: tvm.IRModule, old: tvm.IRModule, main: relax.Function) -> tvm.IRModule:
    functions = {
        var: function
        for var, function in rewritten.functions_items()
        if var.name_hint not in ("main", "main_new")
    }
    attributes = {**dict(main.attrs.items()), "global_symbol": "main"}
    new_main = rewritten["main_new"].with_attrs(attributes)
    functions[tvm.ir.GlobalVar("main")] = new_main
    module = tvm.IRModule(functions, attrs=old.attrs)
    return relax.transform.DeadCodeElimination(["main"])(module)


def _substitute(expression: relax.Expr, values: dict[Any, relax.Expr]) -> relax.Expr:
    if tvm.ir.is_prim_expr(expression):
        return expression  # of symbols, which stay what they are
    if isinstance(expression, relax.Var):
        return values[identity(expression)]
    if isinstance(expression, relax.Tuple):
        return relax.Tuple([_substitute(field, values) for field in expression.fields])
    if isinstance(expression, relax.TupleGetItem):
        return relax.TupleGetItem(_substitute(expression.tuple_value, values), expression.index)
    if isinstance(expression, relax.Call):
        arguments = [_substitute(argument, values) for argument in expression.args]
        return relax.Call(expression.op, arguments, expression.attrs, expression.ty_args)
    return expression


def _variables(expression: relax.Expr) -> Iterator[relax.Var]:
    """The variables in an expression, as often as they are used."""
    if isinstance(expression, relax.Var):
        yield expression
    elif isinstance(expression, relax.Tuple):
        for field in expression.fields:
            yield from _variables(field)
    elif isinstance(expression, relax.TupleGetItem):
        yield from _variables(expression.tuple_value)
    elif isinstance(expression, relax.Call):
        for argument in expression.args:
            yield from _variables(argument)


def _is_variable(expression: relax.Expr) -> bool:
    return isinstance(expression, relax.Var)
