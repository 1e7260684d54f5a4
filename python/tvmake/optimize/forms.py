"""A value in plain form, [N, C, H, W], and in blocked ones, each made when somebody needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import relax

from tvmake.op_patterns import OPAQUE, OUT_ELEMENTWISE_FUSABLE, PATTERN
from tvmake.optimize import blocked
from tvmake.optimize.main_function import reshaped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tvm import te

    from tvmake.optimize.channels import Channels

    Array = np.ndarray[Any, Any]


@dataclass
class Value:
    """A value of the old main in the new one. At least one form is there.

    Attributes:
        shape: of the plain form.
        plain: [N, C, H, W], or [N, C, D, H, W].
        blocked: [N, blocks, H, W, block], or with a depth.
        serial: counts values in the order in which they are computed.
    """

    shape: tuple[int, ...]
    plain: relax.Expr | None = None
    blocked: dict[Channels, relax.Expr] = field(default_factory=dict)
    serial: int = field(default_factory=count().__next__)

    @property
    def channels(self) -> int:
        """How many, of a value with height and width."""
        return self.shape[1]

    @property
    def widest(self) -> Channels:
        """Of its blocked forms, the one with the widest blocks."""
        return max(self.blocked, key=lambda form: form.block)

    @property
    def is_moved(self) -> bool:
        """Whether it is blocked, and in no form are all channels in order."""
        return bool(self.blocked) and not any(form.is_dense for form in self.blocked)


def plain_form(builder: relax.BlockBuilder, value: Value) -> relax.Expr:
    """The value as [N, C, H, W]."""
    if value.plain is None:
        form = next((form for form in value.blocked if form.is_dense), value.widest)
        data = value.blocked[form]
        if form.is_dense:
            if not _is_flat(value.shape):
                rank = len(value.shape)
                data = builder.emit(relax.op.permute_dims(data, [0, 1, rank, *range(2, rank)]))
            value.plain = reshaped(builder, data, value.shape)
        else:
            value.plain = _move(builder, blocked.plain, data, np.array(form.places, "int32"))
    return value.plain


def blocked_form(builder: relax.BlockBuilder, value: Value, form: Channels) -> relax.Expr:
    """The value with its channels in blocks."""
    if form not in value.blocked:
        value.blocked[form] = _new_form(builder, value, form)
    return value.blocked[form]


def _new_form(builder: relax.BlockBuilder, value: Value, form: Channels) -> relax.Expr:
    if value.is_moved:
        have = value.widest
        return _move(builder, blocked.move, value.blocked[have], form.sources(have.places))
    data = plain_form(builder, value)
    if not form.is_dense:
        return _move(builder, blocked.block, data, form.sources(range(value.channels)))
    n, _, *size = value.shape
    if _is_flat((n, form.block, *size)):
        return reshaped(builder, data, (n, form.blocks, *size, form.block))
    split = reshaped(builder, data, (n, form.blocks, form.block, *size))
    return builder.emit(relax.op.permute_dims(split, [0, 1, *range(3, len(size) + 3), 2]))


def _move(
    builder: relax.BlockBuilder,
    operator: Callable[..., te.Tensor],
    data: relax.Expr,
    places: Array,
) -> relax.Expr:
    """A kernel of its own that moves channels: what is fused with it would read one by one."""
    call = builder.call_te(
        *(operator, data, relax.const(places)),
        primfunc_name_hint="channels",
        primfunc_attrs={PATTERN: OPAQUE},
    )
    return builder.emit(call)


def kernel_of(
    builder: relax.BlockBuilder,
    operator: Callable[..., te.Tensor],
    hint: str,
    *operands: relax.Expr,
    fuses: bool = False,
) -> relax.Call:
    """A call of a kernel; one that `fuses` is fused with what follows element by element."""
    attributes = {PATTERN: OUT_ELEMENTWISE_FUSABLE} if fuses else None
    return builder.call_te(operator, *operands, primfunc_name_hint=hint, primfunc_attrs=attributes)


def _is_flat(shape: Sequence[Any]) -> bool:
    """Whether channels in blocks lie in memory as plain ones: of one position, or one by one."""
    _, channels, *size = shape
    return bool(channels == 1 or all(extent == 1 for extent in size))
