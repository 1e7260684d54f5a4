"""Which of the model's operators each kernel stands for.

The importer names variables after nodes, but fusion gives the results of its groups new names, and
shares one function among groups that look alike. What fusion keeps is the calculation itself: each
call inside a group has the callee and the operands of one call before fusion. So the groups are
walked with the operands traced back, and each call is looked up by callee and operands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax

from tvmake.frontend.imported import (
    ImportedModel,
    SourceNode,
    node_of_part,
    node_of_variable,
)

# Stands for a value: the identity of a variable before fusion, or how it is made from such.
_Key = Any


@dataclass(frozen=True)
class Provenance:
    """The operators that one kernel stands for.

    Attributes:
        sources: the operators, in the model's order.
        tensor: the model's tensor that the kernel's result is, if it is one of them.
    """

    sources: tuple[SourceNode, ...]
    tensor: str | None


@dataclass(frozen=True)
class _Origin:
    """The operator that a variable belongs to.

    Attributes:
        is_own: whether the variable is named after it, not only used for it.
        is_result: whether it is the operator's result, in shape too.
    """

    node: int
    is_own: bool
    is_result: bool


def trace_groups(
    before: tvm.IRModule, after: tvm.IRModule, model: ImportedModel
) -> dict[str, Provenance]:
    """For each variable of main after fusion that a call defines, what the call stands for."""
    main = before["main"]
    calls = _index_calls(main)
    origins = _origins(main, model)
    absorbed = _absorbed({origin.node for origin in origins.values() if origin.is_own}, model)
    groups: dict[str, Provenance] = {}
    keys = _parameter_keys(after["main"])
    for binding in _bindings(after["main"]):
        traced: list[_Key] = []
        keys[_identity(binding.var)] = _trace(binding.value, keys, calls, after, traced)
        if traced:
            marks = [origins[variable] for variable in traced if variable in origins]
            groups[binding.var.name] = _provenance(marks, absorbed, model)
    return groups


def _provenance(
    marks: list[_Origin], absorbed: dict[int, tuple[int, ...]], model: ImportedModel
) -> Provenance:
    nodes = {mark.node for mark in marks}
    indices = sorted({source for node in nodes for source in absorbed.get(node, (node,))})
    result = model.nodes[marks[-1].node].output if marks and marks[-1].is_result else None
    return Provenance(tuple(model.nodes[index] for index in indices), result)


def _index_calls(main: relax.Function) -> dict[_Key, _Key]:
    """(callee, operands) -> the variable that the call defines. Unique after CSE."""
    keys = _parameter_keys(main)
    calls: dict[_Key, _Key] = {}
    for binding in _bindings(main):
        variable = _identity(binding.var)
        if isinstance(binding.value, relax.Call):
            calls.setdefault(_call_key(binding.value, keys), variable)
            keys[variable] = variable
        else:
            keys[variable] = _key(binding.value, keys)
    return calls


def _trace(
    value: relax.Expr,
    keys: dict[_Key, _Key],
    calls: dict[_Key, _Key],
    module: tvm.IRModule,
    traced: list[_Key],
) -> _Key:
    """The key of a value after fusion; the variables of the calls on its way go to `traced`."""
    if not isinstance(value, relax.Call):
        return _key(value, keys)
    if not isinstance(value.op, tvm.ir.GlobalVar):
        key = _call_key(value, keys)
        if key in calls:
            traced.append(calls[key])
        return calls.get(key, key)
    group = module[value.op]
    operands = (_key(argument, keys) for argument in value.args)
    inner = dict(zip(map(_identity, group.params), operands, strict=True))
    for binding in _bindings(group):
        inner[_identity(binding.var)] = _trace(binding.value, inner, calls, module, traced)
    return _key(group.body.body, inner)


def _call_key(call: relax.Call, keys: dict[_Key, _Key]) -> _Key:
    callee = call.args[0] if call.op.name == "relax.call_tir" else call.op
    operands = call.args[1:] if call.op.name == "relax.call_tir" else call.args
    name = callee.name_hint if isinstance(callee, tvm.ir.GlobalVar) else str(callee)
    return (name, *(_key(operand, keys) for operand in operands))


def _key(value: relax.Expr, keys: dict[_Key, _Key]) -> _Key:
    if tvm.ir.is_prim_expr(value):  # an extent, which is known by its name on both sides
        return ("expression", str(value))
    if isinstance(value, relax.Var):
        return keys[_identity(value)]
    if isinstance(value, relax.Tuple):
        return ("tuple", *(_key(field, keys) for field in value.fields))
    if isinstance(value, relax.TupleGetItem):
        source = _key(value.tuple_value, keys)
        is_tuple = isinstance(source, tuple) and source[0] == "tuple"
        return source[1 + value.index] if is_tuple else ("item", source, int(value.index))
    if isinstance(value, tvm.ir.GenericConst):
        return ("constant", value.value.__chandle__())
    return ("expression", str(value))


def _parameter_keys(function: relax.Function) -> dict[_Key, _Key]:
    return {_identity(parameter): parameter.name for parameter in function.params}


def _identity(variable: relax.Var) -> _Key:
    """Names are not unique in Relax; the object is."""
    return variable.__chandle__()


def _bindings(function: relax.Function) -> Iterator[relax.Binding]:
    for block in function.body.blocks:
        yield from block.bindings


def _absorbed(left: set[int], model: ImportedModel) -> dict[int, tuple[int, ...]]:
    """Nodes that were folded away count to the first one that is left of those they lead to."""
    absorbed: dict[int, tuple[int, ...]] = {}
    heirs: dict[str, int] = {}  # of what reads a tensor, the first node that is left
    for index, node in reversed(list(enumerate(model.nodes))):
        found = [heirs[name] for name in node.outputs if name in heirs]
        if node.is_constant or not (found or index in left):
            continue
        heir = index if index in left else min(found)
        absorbed[heir] = (index, *absorbed.get(heir, ()))
        heirs.update((name, min(heir, heirs.get(name, heir))) for name in node.inputs)
    return absorbed


def _origins(main: relax.Function, model: ImportedModel) -> dict[_Key, _Origin]:
    """Variable -> the operator that it belongs to.

    An operator may become several bindings, of which only the last carries its name: the others
    belong to the first named one that uses them. Model outputs carry names of their own.
    """
    results = dict(_returned(main, model))
    producer = {node.output: index for index, node in enumerate(model.nodes)}
    origins: dict[_Key, _Origin] = {}
    users: dict[_Key, int] = {}
    for binding in reversed(list(_bindings(main))):
        variable = _identity(binding.var)
        result = node_of_variable(binding.var.name)
        if result is None:
            result = producer.get(results.get(variable, ""))
        own = result if result is not None else node_of_part(binding.var.name)
        node = own if own is not None else users.get(variable)
        if node is None:
            continue
        origins[variable] = _Origin(node, own is not None, result is not None)
        for used in map(_identity, relax.analysis.free_vars(binding.value)):
            users[used] = min(node, users.get(used, node))
    return origins


def _returned(main: relax.Function, model: ImportedModel) -> list[tuple[_Key, str]]:
    """The variables that main returns, each with the model's name of that output."""
    bound = {_identity(binding.var): binding.value for binding in _bindings(main)}
    body = main.body.body
    value = bound.get(_identity(body)) if isinstance(body, relax.Var) else body
    fields = list(value.fields) if isinstance(value, relax.Tuple) else [body]
    variables = [_identity(field) for field in fields if isinstance(field, relax.Var)]
    return list(zip(variables, model.outputs, strict=False))
