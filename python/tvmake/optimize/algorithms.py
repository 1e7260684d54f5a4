"""Which algorithm a convolution is computed by, and its kernel on blocked layout."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import relax

from tvmake.optimize import blocked, cells, phases, strassen, winograd
from tvmake.optimize.channels import Channels
from tvmake.optimize.forms import Value, blocked_form, kernel_of, plain_form
from tvmake.optimize.main_function import reshaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tvmake.optimize.blocked import Window
    from tvmake.schedule.cpu import CpuModel

    Array = np.ndarray[Any, Any]
    _Result = tuple[Channels, relax.Call]

_SMALLEST_BLOCK = 4


@dataclass(frozen=True)
class Layer:
    """A convolution with constant weights.

    Attributes:
        data: the image.
        weight: [O, I/g, H, W], or with a depth.
        window: how the kernel moves.
        groups: of channels.
        result: extents [N, O, H, W], or with a depth.
    """

    data: Value
    weight: Array
    window: Window
    groups: int
    result: tuple[Any, ...]

    @property
    def is_fixed(self) -> bool:
        """Whether all sizes are known, so that the cost of algorithms is."""
        return all(isinstance(extent, int) for extent in self.result)


class Algorithms:
    """Chooses among algorithms, and emits what prepares the operands."""

    def __init__(self, builder: relax.BlockBuilder, cpu: CpuModel, *, is_exact: bool) -> None:
        self.builder, self.cpu, self.is_exact = builder, cpu, is_exact
        self.lanes = cpu.lanes(32)

    def convolution(self, layer: Layer) -> _Result | None:
        """The form and the kernel of the result; None to leave it on plain layout."""
        data, weight, window, groups = layer.data, layer.weight, layer.window, layer.groups
        form = self._form(data)
        if groups == data.channels == len(weight) and form:
            return self._depthwise(data, form, weight, window)
        if groups == 1 and layer.is_fixed and not self.is_exact:
            fast = self._winograd(layer) or self._strassen(layer)
            if fast:
                return fast
        if self._gathers(data, weight.shape, groups):
            return self._gathering_convolution(data, weight, window, groups)
        return self._dense_convolution(data, weight, window, groups)

    def block(self, channels: int) -> int:
        """The widest block for a number of channels; 1 if none is worth it, or it is dynamic."""
        if not isinstance(channels, int):
            return 1
        blocks = [self.lanes >> s for s in range(self.lanes.bit_length())]
        fitting = [b for b in blocks if b >= _SMALLEST_BLOCK and channels % b == 0]
        return fitting[0] if fitting else 1

    def _form(self, value: Value) -> Channels | None:
        """The form that a blocked operator takes of a value: one that is there, if it is good."""
        best = self.block(value.channels)
        if value.blocked and (value.is_moved or value.widest.block >= best):
            return value.widest
        return Channels.dense(value.channels, best) if best > 1 else None

    def _depthwise(self, data: Value, form: Channels, weight: Array, window: Window) -> _Result:
        packed = relax.const(blocked.pack_depthwise(weight, form))
        operator = partial(blocked.depthwise, window=window)
        x = blocked_form(self.builder, data, form)
        return form, kernel_of(self.builder, operator, "depthwise_blocked", x, packed)

    def _winograd(self, layer: Layer) -> _Result | None:
        """By Winograd's algorithm, where that pays; a picture's few channels as cells of pixels."""
        data, weight, window, shape = layer.data, layer.weight, layer.window, layer.result
        inner, outer = self.block(data.channels), self.block(len(weight))
        in_cells, direct = inner == 1 and cells.fit(window), None
        if in_cells:
            weight, direct = cells.weights(weight, window), weight.shape
            window = cells.moves(window, data.shape[2:], weight.shape[2:], shape[2:])
            inner = cells.PIXELS
        if inner == 1 or inner > self.lanes or outer == 1:
            return None
        chosen = winograd.choose(weight.shape, window, shape, self.cpu, direct)
        if chosen is None:
            return None
        if in_cells:
            x = self.builder.emit(
                kernel_of(self.builder, cells.cut, "cells", plain_form(self.builder, data))
            )
        else:
            x = blocked_form(self.builder, data, Channels.dense(data.channels, inner))
        sizes: dict[str, Any] = {"window": window, "result": tuple(shape[2:])}
        is_dilated = max(window.dilation) > 1
        if is_dilated:
            split = partial(phases.split, kernel=weight.shape[2:], **sizes)
            x = self.builder.emit(kernel_of(self.builder, split, "phases", x))
            window = phases.plain(window)
        kernel = kernel_of(
            self.builder,
            partial(winograd.convolution, window=window, taps=chosen.taps),
            "conv2d_winograd",
            x,
            relax.const(winograd.pack(weight, chosen, inner, outer)),
            *map(relax.const, winograd.constants(chosen)),
            fuses=True,
        )
        if is_dilated:
            joined = partial(phases.join, **sizes)
            kernel = kernel_of(self.builder, joined, "joined", self.builder.emit(kernel))
        return Channels.dense(len(weight), outer), kernel

    def _strassen(self, layer: Layer) -> _Result | None:
        """By Strassen's algorithm, where that pays."""
        data, weight, window, shape = layer.data, layer.weight, layer.window, layer.result
        inner, outer = self.block(data.channels), self.block(len(weight))
        if inner == 1 or outer == 1 or len(shape) != 4 or data.is_moved:
            return None
        if not strassen.convolution_pays(weight.shape, window, shape, (inner, outer), self.cpu):
            return None
        x = blocked_form(self.builder, data, Channels.dense(data.channels, inner))
        kernel = kernel_of(
            self.builder,
            partial(strassen.convolution, window=window),
            "conv2d_strassen",
            x,
            relax.const(strassen.pack_convolution(weight, inner, outer)),
            *map(relax.const, strassen.constants()),
            fuses=True,
        )
        return Channels.dense(len(weight), outer), kernel

    def _gathers(self, data: Value, weight: Sequence[int], groups: int) -> bool:
        """Whether a convolution has to take its input channels from anywhere, one by one."""
        outputs = weight[0] // groups
        if weight[1] == 1 and outputs < _SMALLEST_BLOCK and not data.blocked:
            return False  # nearly depthwise: of a vector for several groups, most were zeros
        if data.is_moved:
            return True
        if groups == 1:  # blocks with gaps, where there are none without that are mostly full
            return self.block(outputs) == 1 and 2 * outputs > self.lanes
        return {self.block(outputs), self.block(weight[1])} != {self.lanes}

    def _gathering_convolution(
        self, data: Value, weight: Array, window: Window, groups: int
    ) -> _Result | None:
        if self.lanes < _SMALLEST_BLOCK:
            return None
        # Groups that fit into a vector together are one: the vector has as many steps, but they
        # take no vector each.
        fitting = max(1, self.lanes * groups // len(weight))
        together = max(count for count in range(1, fitting + 1) if groups % count == 0)
        weight, groups = blocked.join_groups(weight, groups, together), groups // together
        result = Channels.grouped(groups, len(weight) // groups, self.lanes)
        packed = relax.const(blocked.pack_gathering(weight, groups, self.lanes))
        form = self._form(data)
        x = blocked_form(self.builder, data, form) if form else self._single(data)
        sources = form.places if form else range(data.channels)
        places = relax.const(np.array(sources, "int32").reshape(groups, -1))
        operator = partial(blocked.gathering_convolution, window=window)
        return result, kernel_of(
            self.builder, operator, "conv2d_grouped", x, packed, places, fuses=True
        )

    def _dense_convolution(
        self, data: Value, weight: Array, window: Window, groups: int
    ) -> _Result | None:
        outer, inner = self.block(len(weight) // groups), self.block(weight.shape[1])
        if outer == 1:
            return None
        packed = relax.const(blocked.pack_convolution(weight, inner, outer))
        form = Channels.dense(data.channels, inner)
        x = blocked_form(self.builder, data, form) if inner > 1 else self._single(data)
        operator = partial(blocked.convolution, window=window, groups=groups)
        return Channels.dense(len(weight), outer), kernel_of(
            self.builder, operator, "conv2d_blocked", x, packed
        )

    def _single(self, data: Value) -> relax.Expr:
        """Channels that fill no blocks, as a picture's, as blocks of one: a view."""
        return reshaped(self.builder, plain_form(self.builder, data), (*data.shape, 1))
