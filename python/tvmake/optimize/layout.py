"""Blocked layouts, carried through the network: transposes only where blocked and plain parts meet.

One walk over main. Each value has a plain form, a blocked form, or both; an operator takes the form
it works best on, and the other form is made when somebody needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import tvm
from tvm import relax

from tvmake import constants
from tvmake.optimize import blocked, winograd
from tvmake.optimize.blocked import Window, extent
from tvmake.optimize.main_function import reshaped
from tvmake.schedule.straddling import Straddling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tvm import te

    from tvmake.schedule.cpu import CpuModel

# Work on each element by itself, so on any layout.
_ELEMENTWISE = (
    *("add", "subtract", "multiply", "divide", "maximum", "minimum", "sigmoid", "tanh", "exp"),
    *("log", "sqrt", "rsqrt", "abs", "negative", "clip", "erf", "square", "floor", "round"),
    *("nn.relu", "nn.silu", "nn.gelu", "nn.gelu_tanh", "nn.leakyrelu", "nn.softplus"),
)
_SMALLEST_BLOCK = 4
_OUT_ELEMENTWISE_FUSABLE = 4  # TVM's name for what takes elementwise operators after it


def block_layouts(
    module: tvm.IRModule, cpu: CpuModel, *, allow_winograd: bool = True
) -> tvm.IRModule:
    """Give float32 convolutions, and what lies between them, the layout [N, C/b, H, W, b]."""
    return _Rewriter(module, cpu, allow_winograd=allow_winograd).run()


@dataclass
class _Value:
    """A value of the old main in the new one. At least one form is there."""

    shape: tuple[int, ...]
    plain: relax.Expr | None = None
    by_block: dict[int, relax.Expr] = field(default_factory=dict)


class _Rewriter:
    """Builds the new main."""

    def __init__(self, module: tvm.IRModule, cpu: CpuModel, *, allow_winograd: bool) -> None:
        self.module = module
        self.cpu = cpu
        self.allow_winograd = allow_winograd
        self.lanes = cpu.lanes(32)
        self.builder = relax.BlockBuilder(module)
        self.values: dict[Any, _Value] = {}
        self.rules: dict[str, Callable[[relax.Call, str], _Value | None]] = {
            "relax.nn.conv2d": self._convolution,
            "relax.nn.max_pool2d": self._pool,
            "relax.nn.avg_pool2d": self._pool,
            "relax.concat": self._concat,
            "relax.mean": self._mean,
            **{f"relax.{name}": self._elementwise for name in _ELEMENTWISE},
        }

    def run(self) -> tvm.IRModule:
        main = self.module["main"]
        if not self._worth_it(main):
            return self.module
        parameters = [relax.Var(p.name, p.ty) for p in main.params]
        with self.builder.function("main_blocked", parameters):
            with self.builder.dataflow():
                for old, new in zip(main.params, parameters, strict=True):
                    self.values[old.__chandle__()] = _Value(_shape(old), new)
                for block in main.body.blocks:
                    for binding in block.bindings:
                        self._bind(binding)
                result = self.builder.emit_output(self._plain_expr(main.body.body))
            self.builder.emit_func_output(result)
        rewritten = self.builder.get()
        functions = {
            var: function
            for var, function in rewritten.functions_items()
            if var.name_hint not in ("main", "main_blocked")
        }
        new_main = rewritten["main_blocked"].with_attrs(dict(main.attrs.items()))
        functions[tvm.ir.GlobalVar("main")] = new_main.with_attr("global_symbol", "main")
        return tvm.IRModule(functions, attrs=self.module.attrs)

    def _worth_it(self, main: relax.Function) -> bool:
        bindings = [b for block in main.body.blocks for b in block.bindings]
        names = {_name(b.value) for b in bindings if isinstance(b.value, relax.Call)}
        return "relax.nn.conv2d" in names

    def _bind(self, binding: relax.Binding) -> None:
        call, variable = binding.value, binding.var
        if isinstance(binding, relax.MatchCast):
            plain = self.builder.match_cast(self._plain_expr(call), variable.ty)
            self.values[variable.__chandle__()] = _Value(_shape(variable), plain)
            return
        value = None
        if isinstance(call, relax.Call):
            rule = self.rules.get(_name(call))
            if rule and str(getattr(variable.ty, "dtype", "")) == "float32":
                value = rule(call, variable.name)
        if value is None:
            plain = self.builder.emit(self._plain_expr(call), name_hint=variable.name)
            value = _Value(_shape(variable), plain)
        self.values[variable.__chandle__()] = value

    # Forms.

    def _plain_expr(self, expr: relax.Expr) -> relax.Expr:
        """An expression with every variable in plain form."""
        if tvm.ir.is_prim_expr(expr):
            return expr
        if isinstance(expr, relax.Var):
            return self._plain(self.values[expr.__chandle__()])
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self._plain_expr(f) for f in expr.fields])
        if isinstance(expr, relax.TupleGetItem):
            return relax.TupleGetItem(self._plain_expr(expr.tuple_value), expr.index)
        if isinstance(expr, relax.Call):
            arguments = [self._plain_expr(argument) for argument in expr.args]
            return relax.Call(expr.op, arguments, expr.attrs, expr.ty_args)
        return expr

    def _plain(self, value: _Value) -> relax.Expr:
        if value.plain is None:
            moved = next(iter(value.by_block.values()))
            if not _is_flat(value.shape):
                moved = self.builder.emit(relax.op.permute_dims(moved, [0, 1, 4, 2, 3]))
            value.plain = reshaped(self.builder, moved, value.shape)
        return value.plain

    def _blocked(self, value: _Value, block: int) -> relax.Expr:
        if block not in value.by_block:
            n, c, h, w = value.shape
            plain = self._plain(value)
            if _is_flat((n, block, h, w)):
                moved = reshaped(self.builder, plain, (n, c // block, h, w, block))
            else:
                split = reshaped(self.builder, plain, (n, c // block, block, h, w))
                moved = self.builder.emit(relax.op.permute_dims(split, [0, 1, 3, 4, 2]))
            value.by_block[block] = moved
        return value.by_block[block]

    def _value(self, expr: relax.Expr) -> _Value | None:
        """The value of a variable that is one tensor with four dimensions."""
        value = self.values.get(expr.__chandle__()) if isinstance(expr, relax.Var) else None
        return (
            value if value and len(value.shape) == 4 and isinstance(value.shape[1], int) else None
        )

    def _block(self, channels: int) -> int:
        """The widest block for a number of channels; 1 if none is worth it, or it is dynamic."""
        if not isinstance(channels, int):
            return 1
        blocks = [self.lanes >> s for s in range(self.lanes.bit_length())]
        fitting = [b for b in blocks if b >= _SMALLEST_BLOCK and channels % b == 0]
        return fitting[0] if fitting else 1

    def _emit(
        self, operator: Callable[..., te.Tensor], kind: str, name: str, *operands: relax.Expr
    ) -> relax.Var:
        call = self.builder.call_te(operator, *operands, primfunc_name_hint=f"{kind}_blocked")
        return self.builder.emit(call, name_hint=name)

    # Rules: each returns the new value, or None to leave the operator on plain layout.

    def _convolution(self, call: relax.Call, name: str) -> _Value | None:
        data, attrs = self._value(call.args[0]), call.attrs
        layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
        constant = isinstance(call.args[1], tvm.ir.GenericConst)
        if data is None or not constant or layouts != ("NCHW", "OIHW", "NCHW"):
            return None
        weight, groups = constants.values(call.args[1]), int(attrs.groups)
        outputs, group_inputs, kernel_h, kernel_w = weight.shape
        window = _window(attrs)
        n, channels, height, width = data.shape
        out_h, out_w = window.output((height, width), (kernel_h, kernel_w))
        outer = self._block(outputs // groups)
        inner = self._block(group_inputs)
        shape = (n, outputs, out_h, out_w)
        if groups == channels == outputs and self._block(channels) > 1:
            block = self._block(channels)
            packed = relax.const(blocked.pack_depthwise(weight, block))
            constants.release(weight)
            x = self._blocked(data, block)
            operator = partial(blocked.depthwise, window=window)
            return _Value(shape, None, {block: self._emit(operator, "depthwise", name, x, packed)})
        if groups > 1:
            straddling = self._straddling_convolution(call, name, data, window, shape)
            if straddling or 1 in (outer, inner):
                return straddling
        if outer == 1:
            return None
        tile = self._winograd_tile(window, weight.shape, groups, shape)
        if tile and inner == outer:
            packed = relax.const(winograd.pack(weight, tile, inner))
            constants.release(weight)
            before, _, after = winograd.matrices(tile)
            operands = (relax.const(m.astype("float32")) for m in (before, after))
            moved = self.builder.call_te(
                partial(winograd.convolution, window=window),
                *(self._blocked(data, inner), packed, *operands),
                primfunc_name_hint="conv2d_winograd",
                primfunc_attrs={"op_pattern": _OUT_ELEMENTWISE_FUSABLE},
            )
            return _Value(shape, None, {outer: self.builder.emit(moved, name_hint=name)})
        inner = inner if inner > 1 else channels  # few input channels: all of them in one block
        packed = relax.const(blocked.pack_convolution(weight, inner, outer))
        constants.release(weight)
        x = self._blocked(data, inner)
        operator = partial(blocked.convolution, window=window, groups=groups)
        return _Value(shape, None, {outer: self._emit(operator, "conv2d", name, x, packed)})

    def _straddling_convolution(
        self,
        call: relax.Call,
        name: str,
        data: _Value,
        window: Window,
        shape: tuple[int, ...],
    ) -> _Value | None:
        """A convolution in groups that are no whole blocks, while all channels are."""
        weight, groups = constants.values(call.args[1]), int(call.attrs.groups)
        outputs, group_inputs, _, _ = weight.shape
        block = self._block(outputs)
        whole = min(self._block(outputs // groups), self._block(group_inputs))
        if block <= whole or block != self._block(data.shape[1]) or outputs // groups < block:
            return None
        straddling = Straddling(group_inputs, outputs // groups, block, data.shape[1] // block)
        packed = relax.const(blocked.pack_straddling(weight, straddling))
        constants.release(weight)
        x = self._blocked(data, block)
        operator = partial(blocked.convolution, window=window, groups=1, straddling=straddling)
        return _Value(shape, None, {block: self._emit(operator, "conv2d", name, x, packed)})

    def _winograd_tile(
        self, window: Window, weight: Sequence[int], groups: int, shape: Sequence[int]
    ) -> int:
        """The tile of Winograd's algorithm for a convolution, or 0 for the direct one."""
        plain = window.strides == window.dilation == (1, 1) and tuple(weight[2:]) == (3, 3)
        if not self.allow_winograd or not plain or groups > 1 or max(window.padding) > 2:
            return 0
        if not all(isinstance(extent, int) for extent in shape):
            return 0  # the tile is chosen by what it costs for one size
        n, outputs, height, width = shape
        layer = winograd.Layer(weight[1], outputs, n, height, width)
        return winograd.choose(layer, self.cpu)

    def _pool(self, call: relax.Call, name: str) -> _Value | None:
        data, attrs = self._value(call.args[0]), call.attrs
        if data is None or not data.by_block or str(attrs.layout) != "NCHW":
            return None
        block, x = self._widest(data)
        kind = "max" if _name(call) == "relax.nn.max_pool2d" else "avg"
        operator = partial(
            blocked.pool,
            kind=kind,
            kernel=(int(attrs.pool_size[0]), int(attrs.pool_size[1])),
            window=_window(attrs),
            ceil_mode=bool(attrs.ceil_mode),
            count_include_pad=bool(attrs.count_include_pad),
        )
        return _Value(_shape(call), None, {block: self._emit(operator, f"{kind}_pool2d", name, x)})

    def _concat(self, call: relax.Call, name: str) -> _Value | None:
        parts = [self._value(part) for part in call.args[0].fields]
        values = [part for part in parts if part]
        if len(values) != len(parts) or int(call.attrs.axis) != 1:
            return None
        blocks = {self._widest(value)[0] if value.by_block else 0 for value in values}
        block = min(blocks)
        if block == 0 or any(value.shape[1] % block for value in values):
            return None
        if len(blocks) > 1:
            return None
        joined = relax.op.concat([self._blocked(value, block) for value in values], axis=1)
        return _Value(_shape(call), None, {block: self.builder.emit(joined, name_hint=name)})

    def _mean(self, call: relax.Call, name: str) -> _Value | None:
        """Global average pooling."""
        data = self._value(call.args[0])
        axes = sorted(int(axis) % 4 for axis in call.attrs.axis or ())
        if data is None or not data.by_block or axes != [2, 3]:
            return None
        block, x = self._widest(data)
        mean = self.builder.emit(relax.op.mean(x, [2, 3], keepdims=True), name_hint=name)
        if call.attrs.keepdims:
            return _Value(_shape(call), None, {block: mean})
        return _Value(_shape(call), reshaped(self.builder, mean, _shape(call)))

    def _elementwise(self, call: relax.Call, name: str) -> _Value | None:
        tensors = [self._value(argument) for argument in call.args]
        blocks = [self._widest(tensor)[0] for tensor in tensors if tensor and tensor.by_block]
        shape = _shape(call)
        if not blocks or len(shape) != 4:
            return None
        block = max(blocks)
        operands = []
        for argument, tensor in zip(call.args, tensors, strict=True):
            operand = self._operand(argument, tensor, shape, block)
            if operand is None:
                return None
            operands.append(operand)
        result = relax.Call(call.op, operands, call.attrs, call.ty_args)
        return _Value(shape, None, {block: self.builder.emit(result, name_hint=name)})

    def _operand(
        self, argument: relax.Expr, tensor: _Value | None, shape: Sequence[int], block: int
    ) -> relax.Expr | None:
        """An operand of an elementwise operator in blocked form, if it has one."""
        if tensor:
            agrees = tensor.shape[1] == shape[1] and tensor.shape[1] % block == 0
            return self._blocked(tensor, block) if agrees else None
        if isinstance(argument, tvm.ir.GenericConst):
            values = constants.values(argument)
            if values.size == 1:
                return relax.const(values.reshape(()))
            padded = values.reshape((1,) * (4 - values.ndim) + values.shape)
            if padded.shape != (1, shape[1], 1, 1):
                return None
            return relax.const(padded.reshape(1, shape[1] // block, 1, 1, block))
        if isinstance(argument, relax.Var):
            return None
        return argument  # attributes such as clip's bounds

    def _widest(self, value: _Value) -> tuple[int, relax.Expr]:
        return max(value.by_block.items(), key=lambda item: item[0])


def _window(attrs: Any) -> Window:
    top, left, bottom, right = (int(p) for p in attrs.padding)
    sh, sw = (int(s) for s in attrs.strides)
    dh, dw = (int(d) for d in attrs.dilation)
    return Window((sh, sw), (top, left, bottom, right), (dh, dw))


def _is_flat(shape: Sequence[Any]) -> bool:
    """Whether channels in blocks lie in memory as plain ones: of one position, or one by one."""
    _, channels, height, width = shape
    return bool(channels == 1 or (height == 1 and width == 1))


def _name(call: relax.Call) -> str:
    return str(call.op.name) if isinstance(call.op, tvm.ir.Op) else ""


def _shape(expr: relax.Expr) -> tuple[int, ...]:
    if not isinstance(expr.ty, relax.TensorType) or expr.ty.shape is None:
        return ()
    return tuple(extent(dim) for dim in expr.ty.shape)
