"""Blocked layouts, carried through the network: transposes only where blocked and plain parts meet.

One walk over main. Each value has a plain form, a blocked form, or both; an operator takes the form
it works best on, and the other form is made when somebody needs it.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from tvm import relax

from tvmake import constants
from tvmake.kernels import lrn, resize
from tvmake.optimize import blocked
from tvmake.optimize.algorithms import Algorithms, Layer
from tvmake.optimize.blocked import Window, extent
from tvmake.optimize.channels import Channels
from tvmake.optimize.forms import Value, blocked_form, kernel_of, plain_form
from tvmake.optimize.main_function import constant, reshaped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tvmake.schedule.cpu import CpuModel

    Array = np.ndarray[Any, Any]
    _Result = tuple[Channels, relax.Call]

# Work on each element by itself, so on any layout.
_ELEMENTWISE = (
    *("add", "subtract", "multiply", "divide", "maximum", "minimum", "sigmoid", "tanh", "exp"),
    *("log", "sqrt", "rsqrt", "abs", "negative", "clip", "erf", "square", "floor", "round"),
    *("nn.relu", "nn.silu", "nn.gelu", "nn.gelu_tanh", "nn.leakyrelu", "nn.softplus"),
)
_CONVOLUTIONS = ("relax.nn.conv2d", "relax.nn.conv3d")
_POOLS = tuple(f"relax.nn.{kind}_pool{rank}d" for kind in ("max", "avg") for rank in (2, 3))
_LAYOUTS = [("NCHW", "OIHW", "NCHW"), ("NCDHW", "OIDHW", "NCDHW")]
_RANKS = (4, 5)  # of what may have its channels in blocks


def block_layouts(module: tvm.IRModule, cpu: CpuModel, *, is_exact: bool = False) -> tvm.IRModule:
    """Give float32 convolutions, and what lies between them, the layout [N, C/b, H, W, b].

    Args:
        module: with main.
        cpu: the machine.
        is_exact: whether convolutions are computed directly, by no faster algorithm.
    """
    return _Rewriter(module, cpu, is_exact=is_exact).run()


class _Rewriter:
    """Builds the new main."""

    def __init__(self, module: tvm.IRModule, cpu: CpuModel, *, is_exact: bool) -> None:
        self.module = module
        self.builder = relax.BlockBuilder(module)
        self.algorithms = Algorithms(self.builder, cpu, is_exact=is_exact)
        self.values: dict[Any, Value] = {}
        self.parts: dict[Any, list[Value]] = {}  # of tuples of blocked tensors
        self.rules: dict[str, Callable[[relax.Call, str], Value | None]] = {
            **dict.fromkeys(_CONVOLUTIONS, self._convolution),
            **dict.fromkeys(_POOLS, self._pool),
            "relax.concat": self._concat,
            "relax.take": self._shuffle,
            "relax.mean": self._mean,
            "relax.call_tir": self._annotated,
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
                    self.values[old.__chandle__()] = Value(_shape(old), new)
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
        return not names.isdisjoint(_CONVOLUTIONS)

    def _bind(self, binding: relax.Binding) -> None:
        call, variable = binding.value, binding.var
        if isinstance(binding, relax.MatchCast):
            plain = self.builder.match_cast(self._plain_expr(call), variable.ty)
            self.values[variable.__chandle__()] = Value(_shape(variable), plain)
            return
        if isinstance(call, relax.Call) and _name(call) == "relax.split":
            parts = self._split(call, variable.name)
            if parts is not None:
                self.parts[variable.__chandle__()] = parts
                return
        value = None
        if isinstance(call, relax.TupleGetItem) and isinstance(call.tuple_value, relax.Var):
            parts = self.parts.get(call.tuple_value.__chandle__())
            value = parts[call.index] if parts else None
        if isinstance(call, relax.Call):
            rule = self.rules.get(_name(call))
            if rule and str(getattr(variable.ty, "dtype", "")) == "float32":
                value = rule(call, variable.name)
        if value is None:
            plain = self.builder.emit(self._plain_expr(call), name_hint=variable.name)
            value = Value(_shape(variable), plain)
        self.values[variable.__chandle__()] = value

    # Forms.

    def _plain_expr(self, expr: relax.Expr) -> relax.Expr:
        """An expression with every variable in plain form."""
        if tvm.ir.is_prim_expr(expr):
            return expr
        if isinstance(expr, relax.Var):
            if parts := self.parts.get(expr.__chandle__()):
                return relax.Tuple([plain_form(self.builder, part) for part in parts])
            return plain_form(self.builder, self.values[expr.__chandle__()])
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self._plain_expr(f) for f in expr.fields])
        if isinstance(expr, relax.TupleGetItem):
            return relax.TupleGetItem(self._plain_expr(expr.tuple_value), expr.index)
        if isinstance(expr, relax.Call):
            arguments = [self._plain_expr(argument) for argument in expr.args]
            return relax.Call(expr.op, arguments, expr.attrs, expr.ty_args)
        return expr

    def _value(self, expr: relax.Expr) -> Value | None:
        """The value of a variable that is one tensor with batch, channels, height and width."""
        value = self.values.get(expr.__chandle__()) if isinstance(expr, relax.Var) else None
        is_image = value and len(value.shape) in _RANKS and isinstance(value.shape[1], int)
        return value if is_image else None

    # Rules: each returns the new value, or None to leave the operator on plain layout.

    def _convolution(self, call: relax.Call, name: str) -> Value | None:
        data, attrs = self._value(call.args[0]), call.attrs
        layouts = (str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout))
        weight = constant(call.args[1])
        if data is None or weight is None or layouts not in _LAYOUTS:
            return None
        layer = Layer(data, weight, _window(attrs), int(attrs.groups), _shape(call))
        result = self.algorithms.convolution(layer)
        if result is None:
            return None
        constants.release(weight)
        made, kernel = result
        return Value(layer.result, None, {made: self.builder.emit(kernel, name_hint=name)})

    def _shuffle(self, call: relax.Call, _: str) -> Value | None:
        """Channels in another order: where they are stays as it is."""
        data, order = self._value(call.args[0]), constant(call.args[1])
        if data is None or not data.blocked or order is None or order.ndim != 1:
            return None
        channels = [int(channel) for channel in order]
        if int(call.attrs.axis) != 1 or sorted(channels) != list(range(data.channels)):
            return None
        forms = {form.shuffled(channels): expr for form, expr in data.blocked.items()}
        return Value(data.shape, None, forms)

    def _pool(self, call: relax.Call, name: str) -> Value | None:
        data, attrs = self._value(call.args[0]), call.attrs
        if data is None or not data.blocked or str(attrs.layout) not in ("NCHW", "NCDHW"):
            return None
        window, shape = _window(attrs), _shape(call)
        kind = "max" if "max" in _name(call) else "avg"
        kernel = tuple(int(size) for size in attrs.pool_size)
        x = data.blocked[data.widest]
        if len(kernel) == 3:
            operator = partial(
                blocked.pool_3d,
                kind=kind,
                kernel=kernel,
                window=window,
                ceil_mode=bool(attrs.ceil_mode),
                count_include_pad=bool(attrs.count_include_pad),
            )
            pooled = kernel_of(self.builder, operator, f"{kind}_pool3d_blocked", x)
        elif kind == "avg" and window.dilation != (1, 1):
            return None
        else:
            operator = partial(
                blocked.pool,
                kind=kind,
                kernel=kernel,
                window=window,
                size=shape[2:],
                counts_padding=bool(attrs.count_include_pad),
            )
            pooled = kernel_of(self.builder, operator, f"{kind}_pool2d_blocked", x, fuses=True)
        return Value(shape, None, {data.widest: self.builder.emit(pooled, name_hint=name)})

    def _concat(self, call: relax.Call, name: str) -> Value | None:
        parts = [self._value(part) for part in call.args[0].fields]
        values = [part for part in parts if part and part.blocked]
        forms = [value.widest for value in values]
        if len(values) != len(parts) or int(call.attrs.axis) != 1:
            return None
        if len({form.block for form in forms}) > 1:
            return None
        operands = [value.blocked[form] for value, form in zip(values, forms, strict=True)]
        joined = self.builder.emit(relax.op.concat(operands, axis=1), name_hint=name)
        return Value(_shape(call), None, {Channels.joined(forms): joined})

    def _split(self, call: relax.Call, name: str) -> list[Value] | None:
        """Parts of whole blocks."""
        data, attrs = self._value(call.args[0]), call.attrs
        if data is None or not data.blocked or int(attrs.axis) != 1:
            return None
        parts, begin = [], 0
        for field in call.ty.fields:
            shape = tuple(map(extent, field.shape))
            cut = data.widest.part(begin, begin + shape[1])
            if cut is None:
                return None
            first, form = cut
            x = data.blocked[data.widest]
            blocks = relax.op.strided_slice(x, [1], [first], [first + form.blocks])
            parts.append(Value(shape, None, {form: self.builder.emit(blocks, name_hint=name)}))
            begin += shape[1]
        return parts

    def _annotated(self, call: relax.Call, name: str) -> Value | None:
        """A kernel whose annotation tells what it computes."""
        attributes = self.module[call.args[0]].attrs
        for annotation, rule in (
            (lrn.ANNOTATION, self._normalization),
            (resize.ANNOTATION, self._resize),
        ):
            if (numbers := attributes.get(annotation)) is not None:
                data = self._value(call.args[1].fields[0])
                return rule(call, name, data, numbers) if data and data.blocked else None
        return None

    def _resize(
        self, call: relax.Call, name: str, data: Value, numbers: Sequence[Any]
    ) -> Value | None:
        """Height and width are the same axes in blocks."""
        how = resize.Resize.read(numbers)
        tables = call.args[1].fields[1:]
        indices = constant(tables[0])
        if how.axis not in (2, 3) or indices is None:
            return None
        operator = partial(resize.resized, how=how, indices=indices)
        kernel = kernel_of(
            self.builder, operator, "resize_blocked", data.blocked[data.widest], *tables
        )
        return Value(_shape(call), None, {data.widest: self.builder.emit(kernel, name_hint=name)})

    def _normalization(
        self, _: relax.Call, name: str, data: Value, numbers: Sequence[Any]
    ) -> Value | None:
        """Local response normalization."""
        form = data.widest
        if form.places != tuple(range(data.channels)):
            form = Channels.dense(data.channels, self.algorithms.block(data.channels))
        if form.block == 1 or len(data.shape) != 4:
            return None
        operator = partial(lrn.blocked, lrn=lrn.Lrn.read(numbers), channels=data.channels)
        x = blocked_form(self.builder, data, form)
        kernel = kernel_of(self.builder, operator, "lrn_blocked", x, fuses=True)
        return Value(data.shape, None, {form: self.builder.emit(kernel, name_hint=name)})

    def _mean(self, call: relax.Call, name: str) -> Value | None:
        """Global average pooling."""
        data = self._value(call.args[0])
        if data is None or not data.blocked:
            return None
        rank, spatial = len(data.shape), list(range(2, len(data.shape)))
        if sorted(int(axis) % rank for axis in call.attrs.axis or ()) != spatial:
            return None
        form = data.widest
        mean = relax.op.mean(data.blocked[form], spatial, keepdims=True)
        blocks = {form: self.builder.emit(mean, name_hint=name)}
        kept = Value((*data.shape[:2], *(1 for _ in spatial)), None, blocks)
        if call.attrs.keepdims:
            return kept
        plain = plain_form(self.builder, kept)
        return Value(_shape(call), reshaped(self.builder, plain, _shape(call)))

    def _elementwise(self, call: relax.Call, name: str) -> Value | None:
        tensors = [self._value(argument) for argument in call.args]
        shape = _shape(call)
        if len(shape) not in _RANKS or not (form := _common_form(tensors, shape)):
            return None
        operands = []
        for argument, tensor in zip(call.args, tensors, strict=True):
            operand = self._operand(argument, tensor, shape, form)
            if operand is None:
                return None
            operands.append(operand)
        result = relax.Call(call.op, operands, call.attrs, call.ty_args)
        return Value(shape, None, {form: self.builder.emit(result, name_hint=name)})

    def _operand(
        self, argument: relax.Expr, tensor: Value | None, shape: Sequence[int], form: Channels
    ) -> relax.Expr | None:
        """An operand of an elementwise operator in blocked form, if it has one."""
        if tensor:
            agrees = len(tensor.shape) == len(shape) and tensor.channels == shape[1]
            return blocked_form(self.builder, tensor, form) if agrees else None
        if (values := constant(argument)) is not None:
            if values.size == 1:
                return relax.const(values.reshape(()))
            size = (1,) * (len(shape) - 2)
            if (1,) * (len(shape) - values.ndim) + values.shape != (1, shape[1], *size):
                return None
            spread = form.spread(values.reshape(-1))  # [blocks, block]
            return relax.const(spread.reshape(1, len(spread), *size, -1))
        if isinstance(argument, relax.Var):
            return None
        return argument  # attributes such as clip's bounds


def _common_form(tensors: Sequence[Value | None], shape: Sequence[int]) -> Channels | None:
    """The form that most operands have; of these the widest, then that of the youngest operand.

    What was computed last is what the operator can be fused with.
    """
    whole = [
        tensor
        for tensor in tensors
        if tensor and len(tensor.shape) == len(shape) and tensor.channels == shape[1]
    ]
    whole.sort(key=lambda tensor: -tensor.serial)
    counts = Counter(form for tensor in whole for form in tensor.blocked)
    return max(counts, key=lambda form: (counts[form], form.block), default=None)


def _window(attrs: Any) -> Window:
    strides, padding, dilation = (
        tuple(map(int, numbers)) for numbers in (attrs.strides, attrs.padding, attrs.dilation)
    )
    return Window(strides, padding, dilation)


def _name(call: relax.Call) -> str:
    return str(call.op.name) if isinstance(call.op, tvm.ir.Op) else ""


def _shape(expr: relax.Expr) -> tuple[int, ...]:
    if not isinstance(expr.ty, relax.TensorType) or expr.ty.shape is None:
        return ()
    return tuple(extent(dim) for dim in expr.ty.shape)
