"""Names of Relax variables, from which a kernel's operators are known later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

if TYPE_CHECKING:
    from collections.abc import Iterable


def rename_results(module: tvm.IRModule, names: Iterable[tuple[relax.Expr, str]]) -> tvm.IRModule:
    """Give variables of `main` new names.

    Args:
        module: its function `main` binds the variables.
        names: pairs of a variable and its name; the first name of a variable counts, and what
            is no variable that main binds is passed over.
    """
    wanted: dict[Any, str] = {}
    variables = []  # a handle is only unique while its object lives
    for value, name in names:
        if isinstance(value, relax.Var):
            wanted.setdefault(value.__chandle__(), name)
            variables.append(value)
    module = tvm.IRModule(dict(module.functions.items()), attrs=module.attrs)
    module["main"] = _Renamer(wanted).visit_expr(module["main"])
    return module


@mutator
class _Renamer(PyExprMutator):  # type: ignore[misc] # TVM has no types
    def __init__(self, names: dict[Any, str]) -> None:
        super().__init__()
        self.names = names

    def visit_dataflow_var_def_(self, var: relax.DataflowVar) -> relax.Var:
        return self._renamed(var, relax.DataflowVar)

    def visit_var_def_(self, var: relax.Var) -> relax.Var:
        return self._renamed(var, relax.Var)

    def _renamed(self, var: relax.Var, kind: type[relax.Var]) -> relax.Var:
        name = self.names.get(var.__chandle__())
        if name is None:
            return var
        renamed = kind(name, var.ty)
        self.set_var_remap(var, renamed)
        return renamed
