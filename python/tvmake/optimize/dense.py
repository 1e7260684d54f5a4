"""Matrix products with constant weights become kernels of their own, with what follows them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import relax

from tvmake import constants
from tvmake.kernels.dense import Dense, block_vectors, dense, pack_weights
from tvmake.kernels.epilogue import ACTIVATIONS
from tvmake.kernels.strassen import fits, strassen_dense
from tvmake.optimize import strassen
from tvmake.optimize.main_function import (
    MainFunction,
    Replacement,
    call_kernel,
    constant,
    dtype,
    identity,
    operator,
    reshaped,
    shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import tvm

    from tvmake.schedule.cpu import CpuModel

    Array = np.ndarray[Any, Any]


def fuse_dense(module: tvm.IRModule, cpu: CpuModel, *, is_exact: bool) -> tvm.IRModule:
    """Replace float32 products with constant weights, bias, activation and residual by kernels.

    Args:
        module: as imported.
        cpu: the machine.
        is_exact: whether only algorithms are wanted that round no more than the plain one, and need
            no more memory.
    """
    main = MainFunction(module)
    if not main.is_straight:
        return module
    replacements: dict[Any, Replacement] = {}
    for binding in main.bindings:
        product = _product(binding.var, main)
        if product:
            product.extend(main, replacements)
            replacements[identity(product.last)] = product.replacement(cpu, is_exact=is_exact)
    return main.rebuild(replacements)


@dataclass
class _Product:
    """A product and its epilogue as found so far; `last` is the value that it gives."""

    data: relax.Expr
    weights: Array
    last: relax.Var
    bias: Array | None = None
    activation: str = ""
    residual: relax.Expr | None = field(default=None)

    def extend(self, main: MainFunction, taken: Collection[Any]) -> None:
        """Take in the operators that follow, as long as they fit and no other product has them."""
        while (user := main.only_user(self.last)) is not None:
            call = main.call(user)
            if (
                call is None
                or identity(user) in taken
                or shape(user) != shape(self.last)
                or not self._take(call)
            ):
                return
            self.last = user

    def _take(self, call: relax.Call) -> bool:
        name = operator(call)
        if name in ACTIVATIONS and not self.activation and self.residual is None:
            self.activation = name
            return True
        if name != "relax.add":
            return False
        (other,) = [a for a in call.args if not a.same_as(self.last)] or [None]
        if other is None:
            return False
        values = constant(other)
        if values is not None:
            return self._take_bias(values)
        fits = shape(other) == shape(self.last) and dtype(other) == "float32"
        if not fits or self.residual is not None:
            return False
        self.residual = other
        return True

    def _take_bias(self, values: Array) -> bool:
        """A constant that is one vector, for all rows."""
        columns = self.weights.shape[1]
        is_vector = values.size == 1 or (values.size == columns == values.shape[-1])
        if not is_vector or self.activation or self.residual is not None:
            return False
        added = np.broadcast_to(values.reshape(-1), (columns,))
        self.bias = added if self.bias is None else self.bias + added
        return True

    def replacement(self, cpu: CpuModel, *, is_exact: bool) -> Replacement:
        depth, columns = self.weights.shape
        result = shape(self.last)
        rows = math.prod(result[:-1])
        vectors = block_vectors(rows, columns, depth, cpu)
        spec = Dense(
            rows,
            columns,
            depth,
            vectors,
            bias=self.bias is not None,
            activation=self.activation,
            residual=self.residual is not None,
        )
        lanes = cpu.lanes(32)
        width = vectors * lanes
        pays = fits(spec, lanes) and strassen.product_pays(rows, depth, columns, lanes, cpu)
        by_strassen = pays and not is_exact

        def emit(
            builder: relax.BlockBuilder, new: Callable[[relax.Expr], relax.Expr], name: str
        ) -> relax.Expr:
            pack = strassen.pack_product if by_strassen else pack_weights
            packed = pack(self.weights, width)
            constants.release(self.weights)
            arguments = [reshaped(builder, new(self.data), (rows, depth)), relax.const(packed)]
            if self.bias is not None:
                padding = -columns % width
                arguments.append(relax.const(np.pad(self.bias, (0, padding))))
            if self.residual is not None:
                arguments.append(reshaped(builder, new(self.residual), (rows, columns)))
            kernel = strassen_dense(spec, cpu) if by_strassen else dense(spec, cpu)
            hint = "dense_strassen" if by_strassen else "dense"
            return call_kernel(builder, kernel, hint, arguments, (rows, columns), result, name)

        return emit


def _product(variable: relax.Var, main: MainFunction) -> _Product | None:
    call = main.call(variable, "relax.matmul")
    if call is None or dtype(variable) != "float32":
        return None
    data, weights = call.args[0], constant(call.args[1])
    fits = isinstance(data, relax.Var) and len(shape(data)) >= 2 and dtype(data) == "float32"
    fits = fits and all(isinstance(extent, int) for extent in shape(data))
    if weights is None or weights.ndim != 2 or weights.dtype != np.float32 or not fits:
        return None
    return _Product(data, weights, variable)
