"""The straight-line Relax function `main` as a graph of kernel calls."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from tvm import relax

from tvmake import constants
from tvmake.elements import interface
from tvmake.errors import UnsupportedError
from tvmake.frontend.symbolic import BIND as SYMBOLS
from tvmake.frontend.symbolic import substitute
from tvmake.lower.extents import Bounds, extent, same_size
from tvmake.lower.graph import BIND, VIEW, Call, Graph, Loop, Tensor, memory_roots
from tvmake.lower.guards import guard_calls
from tvmake.lower.kernel import Kernel, copy_kernel
from tvmake.lower.loops import Loops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvmake.optimize.provenance import Provenance


def build_graph(
    main: relax.Function,
    kernels: dict[str, Kernel],
    inputs: Sequence[str],
    outputs: Sequence[str],
    groups: dict[str, Provenance],
    types: tuple[Sequence[str], Sequence[str]] = ((), ()),
    bounds: Bounds | None = None,
    symbols: Sequence[str] = (),
) -> Graph:
    """Lower `main`.

    Args:
        main: straight-line Relax function of call_tir, reshape and tuple bindings.
        kernels: the scheduled prim funcs by name.
        inputs: the model's names of main's parameters.
        outputs: the model's names of main's results.
        groups: what each variable of main stands for.
        types: the element types that callers see of the inputs and the outputs, where they are
            not those of main.
        bounds: of dynamic extents.
        symbols: names of the inputs' symbolic dimensions.

    Raises:
        UnsupportedError: when main holds anything but calls of kernels.
    """
    builder = Builder(kernels, groups, bounds or Bounds())
    builder.symbols += symbols
    for parameter, name, dtype in zip_longest(main.params, inputs, types[0]):
        builder.add_input(parameter, name, dtype)
    for block in main.body.blocks:
        for binding in block.bindings:
            builder.add_binding(binding)
    return builder.finish(main.body.body, tuple(outputs), types[1])


class Builder:
    """Collects tensors and calls; weights are moved in front of the intermediates at the end."""

    def __init__(
        self, kernels: dict[str, Kernel], groups: dict[str, Provenance], bounds: Bounds
    ) -> None:
        self.bounds = bounds
        self.symbols: list[str] = []
        self.kernels = kernels
        self.used: dict[str, Kernel] = {}
        self.groups = groups
        self.tensors: list[Tensor] = []
        self.calls: list[Call] = []
        self.inputs: list[int] = []
        self.weights: dict[bytes, int] = {}
        self.values: list[np.ndarray[Any, Any]] = []
        self.bound: dict[object, tuple[int, ...]] = {}
        self.names: set[str] = set()
        self.loops = Loops()

    def add_input(self, parameter: relax.Var, name: str, dtype: str | None) -> None:
        """An input of the model."""
        tensor = self._describe(self.unique(name), parameter.ty)
        index = self._add(replace(tensor, dtype=interface(dtype or tensor.dtype)))
        self.inputs.append(index)
        self.bound[parameter.__chandle__()] = (self._seen_as(index, tensor.dtype),)

    def add_binding(self, binding: relax.Binding) -> None:
        """One line of main."""
        if isinstance(binding, relax.MatchCast):
            self._match(binding)
            return
        self.bound[binding.var.__chandle__()] = self._evaluate(binding.value, binding.var)

    def finish(
        self, result: relax.Expr, output_names: tuple[str, ...], dtypes: Sequence[str]
    ) -> Graph:
        """The graph, with the weights behind the inputs."""
        outputs = self._distinct_outputs(self._operands(result), output_names)
        for result_index, dtype in enumerate(dtypes):
            if dtype:
                outputs[result_index] = self._seen_as(outputs[result_index], interface(dtype))
        order = [*self.inputs, *self.weights.values()]
        moved = set(order)
        order += [index for index in range(len(self.tensors)) if index not in moved]
        position = {index: new for new, index in enumerate(order)}

        def move(indices: Sequence[int]) -> tuple[int, ...]:
            return tuple(position[index] for index in indices)

        guarded = guard_calls(self.tensors, self.calls, outputs)
        calls = (
            replace(
                call,
                inputs=move(call.inputs),
                outputs=move(call.outputs),
                guards=tuple((position[index], value) for index, value in call.guards),
                loop=call.loop
                and Loop(call.loop.first, move(call.loop.states), move(call.loop.collected)),
            )
            for call in guarded
        )
        return Graph(
            tensors=tuple(self.tensors[index] for index in order),
            calls=tuple(calls),
            inputs=move(self.inputs),
            weights=move(list(self.weights.values())),
            outputs=move(outputs),
            output_names=output_names,
            values=tuple(self.values),
            kernels={name: kernel.function for name, kernel in self.used.items()},
            symbols=tuple(map(self.bounds.symbol, self.symbols)),
        )

    def _match(self, binding: relax.MatchCast) -> None:
        """Symbols take their values from a tensor, or a value gets a type that it has already."""
        value = self._operands(binding.value)
        self.bound[binding.var.__chandle__()] = value
        if not isinstance(binding.var.ty, relax.ShapeType):
            return
        names = tuple(dim.name for dim in binding.var.ty.values)
        self.symbols += names
        self.calls.append(Call(self.unique("bind"), BIND, value, (), binds=names))

    def _evaluate(self, value: relax.Expr, variable: relax.Var) -> tuple[int, ...]:
        if isinstance(value, relax.TupleGetItem):
            return (self._operands(value.tuple_value)[value.index],)
        if not isinstance(value, relax.Call):
            return self._operands(value)
        operator = value.op.name if isinstance(value.op, tvm.ir.Op) else ""
        if isinstance(value.op, relax.ExternFunc):
            symbol = str(value.op.global_symbol)
            operands = tuple(index for arg in value.args for index in self._operands(arg))
            if symbol == SYMBOLS:
                return operands
            if (marked := self.loops.add(self, symbol, operands)) is not None:
                return marked
        if operator == "relax.reshape":
            return (self._view(self._operands(value.args[0])[0], variable.ty),)
        if operator != "relax.call_tir":
            raise UnsupportedError(
                f"the model needs '{operator or value.op}' at run time, which the graph executor "
                "cannot call"
            )
        scalars = [arg for arg in _fields(value.args[1]) if _is_scalar(arg)]
        inputs = self._operands(
            relax.Tuple([arg for arg in _fields(value.args[1]) if not _is_scalar(arg)])
        )
        name = value.args[0].name_hint
        scalars = [scalars[index] for index in self.kernels[name].scalar_order]
        types = value.ty_args[0]
        fields = list(types.fields) if isinstance(types, relax.TupleType) else [types]
        if self.kernels[name].is_reshape and len(inputs) == 1 and len(fields) == 1:
            source = self.tensors[inputs[0]]
            # Seen from within, a kernel that copies the first part of a tensor is a reshape, too.
            if same_size(source.dims or source.shape, list(map(extent, fields[0].shape))):
                return (self._view(inputs[0], fields[0]),)
        return self._call(name, inputs, scalars, fields, self.groups.get(variable.name))

    def _call(
        self,
        name: str,
        inputs: tuple[int, ...],
        scalars: Sequence[Any],
        fields: Sequence[relax.TensorType],
        provenance: Provenance | None,
    ) -> tuple[int, ...]:
        kernel = self.kernels[name]
        self.used[name] = kernel
        call_name = self.unique(name)
        results = tuple(
            self._tensor(call_name if len(fields) == 1 else f"{call_name}.{i}", field)
            for i, field in enumerate(fields)
        )
        extents = self._extents(kernel, inputs, scalars)
        scratch = tuple(
            self._add(
                self._dense(
                    f"{call_name}.workspace{i}", dtype, [_replace(d, extents) for d in shape]
                )
            )
            for i, (dtype, shape) in enumerate(kernel.workspaces)
        )
        self.calls.append(
            Call(
                call_name,
                name,
                inputs,
                results + scratch,
                len(scratch),
                kernel.in_place,
                provenance,
                tuple(scalars),
                movement=kernel.movement,
            )
        )
        return results

    def _extents(
        self, kernel: Kernel, inputs: Sequence[int], scalars: Sequence[Any]
    ) -> dict[str, Any]:
        """What the symbols in a kernel's shapes stand for in one call."""
        parameters = kernel.function.params
        extents: dict[str, Any] = {}
        for parameter, index in zip(parameters, inputs, strict=False):
            tensor = self.tensors[index]
            for dim, value in zip(parameter.shape, tensor.dims or tensor.shape, strict=True):
                if isinstance(dim, tvm.tirx.Var):
                    extents.setdefault(dim.name, value)
        for parameter, value in zip(parameters[len(inputs) :], scalars, strict=False):
            extents[parameter.name] = value
        return extents

    def _seen_as(self, source: int, dtype: str) -> int:
        """The same memory with elements of another type of the same width."""
        tensor = self.tensors[source]
        if tensor.dtype == dtype:
            return source
        view = self._add(replace(tensor, name=self.unique(f"{tensor.name}.{dtype}"), dtype=dtype))
        self.calls.append(Call(self.tensors[view].name, VIEW, (source,), (view,)))
        return view

    def _view(self, source: int, result: relax.TensorType) -> int:
        name = self.unique("reshape")
        view = self._tensor(name, result)
        self.calls.append(Call(name, VIEW, (source,), (view,)))
        return view

    def _distinct_outputs(self, outputs: tuple[int, ...], names: tuple[str, ...]) -> list[int]:
        """Outputs that are inputs, weights or one another under another shape get a copy."""
        roots = memory_roots(len(self.tensors), self.calls)
        taken = {*self.inputs, *self.weights.values()}
        distinct = []
        for output, name in zip(outputs, names, strict=True):
            source = roots[output]
            if source in taken:
                source = self.copy(output, name)
                distinct.append(source)
            else:
                distinct.append(output)
            taken.add(source)
        return distinct

    def copy(self, source: int, name: str) -> int:
        """A copy of a tensor."""
        tensor = self.tensors[source]
        call_name = self.unique(f"copy_{name}")
        result = self._add(Tensor(call_name, tensor.dtype, tensor.shape, tensor.dims))
        self.calls.append(Call(call_name, self.copy_kernel(source), (source,), (result,)))
        return result

    def copy_kernel(self, source: int) -> str:
        """The kernel that copies tensors like this one."""
        tensor = self.tensors[source]
        shape: tuple[Any, ...] = tensor.shape
        label = "_".join((tensor.dtype, *map(str, shape)))
        if tensor.dims:
            shape = tuple(tvm.tirx.Var(f"d{axis}", "int64") for axis in range(len(shape)))
            label = f"{tensor.dtype}_rank{len(shape)}"
        kernel_name = f"copy_{label}"
        kernel = self.kernels.setdefault(kernel_name, copy_kernel(tensor.dtype, shape))
        self.used[kernel_name] = kernel
        return kernel_name

    def _operands(self, value: relax.Expr) -> tuple[int, ...]:
        if isinstance(value, relax.Var):
            return self.bound[value.__chandle__()]
        if isinstance(value, relax.Tuple):
            return tuple(index for field in value.fields for index in self._operands(field))
        if isinstance(value, tvm.ir.GenericConst):
            return (self._weight(value),)
        if isinstance(value, relax.TupleGetItem):
            return (self._operands(value.tuple_value)[value.index],)
        raise UnsupportedError(f"the model passes '{value}' to a kernel, which is no tensor")

    def _weight(self, constant: tvm.ir.GenericConst) -> int:
        value = constants.values(constant)
        digest = hashlib.sha256(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        key = digest.digest()
        if key not in self.weights:
            self.weights[key] = self._tensor(self.unique(f"p{len(self.weights)}"), constant.ty)
            self.values.append(value)
        return self.weights[key]

    def _tensor(self, name: str, type_: relax.TensorType) -> int:
        return self._add(self._describe(name, type_))

    def _describe(self, name: str, type_: relax.TensorType) -> Tensor:
        return self._dense(name, str(type_.dtype), list(type_.shape))

    def _dense(self, name: str, dtype: str, dims: Sequence[Any]) -> Tensor:
        extents = tuple(extent(dim) for dim in dims)
        shape = tuple(self.bounds.most(dim) for dim in extents)
        return Tensor(name, dtype, shape, () if shape == extents else extents)

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def unique(self, name: str) -> str:
        """A name that no tensor and no call has."""
        unique, count = name, 0
        while unique in self.names:
            count += 1
            unique = f"{name}_{count}"
        self.names.add(unique)
        return unique


def _fields(value: relax.Expr) -> list[relax.Expr]:
    return list(value.fields) if isinstance(value, relax.Tuple) else [value]


def _is_scalar(value: relax.Expr) -> bool:
    return bool(tvm.ir.is_prim_expr(value))


def _replace(dim: Any, extents: dict[str, Any]) -> Any:
    return dim if isinstance(dim, int) else substitute(dim, extents)
