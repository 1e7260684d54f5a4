"""What follows a matrix product in registers: bias, activation, residual."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm import tirx

from tvmake.kernels.builder import Builder, Expr, Register, load, splat

if TYPE_CHECKING:
    from tvmake.kernels.tile import Tile

_TOGETHER = 2  # vectors that go through an activation side by side


@dataclass(frozen=True)
class Epilogue:
    """Stores activation(sums + bias) + residual.

    Attributes:
        build: of the kernel.
        width: of a block of columns.
        result: [rows, columns].
        bias: [blocks · width], if there is one.
        activation: a key of `ACTIVATIONS`, or empty.
        residual: [rows, columns], if there is one.
    """

    build: Builder
    width: int
    result: Any
    bias: Any = None
    activation: str = ""
    residual: Any = None

    def store(
        self, tile: Tile, block: Expr, row: Expr, columns: int, stop: Expr | None = None
    ) -> None:
        """Finish the sums of a tile.

        Args:
            tile: the sums.
            block: of columns.
            row: the first one.
            columns: how many of a block's are of the result.
            stop: the first row that is not of the result, if that may be the tile's last one.
        """
        in_loop = bool(self.activation) and self.activation not in _SHORT
        if in_loop:
            self._activate(tile, block)
        for r, v, value in tile.each():
            is_last = stop is not None and r == tile.rows - 1
            with self.build.when(row + r < stop) if is_last else nullcontext():
                if not in_loop:
                    value.set(self._biased(value, block, v))
                    if self.activation:
                        value.set(ACTIVATIONS[self.activation](value.get(), value.lanes))
                self._finish(value, block, row + r, v, columns)

    def _activate(self, tile: Tile, block: Expr) -> None:
        """Bias and activation, as a loop: written out for every vector, it would be long code.

        Vectors that are side by side in it share its constants, and hide each other's latency.
        """
        build, lanes, vectors = self.build, tile.lanes, tile.vectors
        together = math.gcd(vectors, _TOGETHER) * lanes
        width = vectors * lanes
        kept = build.stack("tile", (tile.rows * width,))
        for r, v, value in tile.each():
            build.store(kept, self._biased(value, block, v), r * width + v * lanes)
        with build.loop(tile.rows * width // together, "part") as part:
            values = build.bind(load(kept, part * together, lanes=together))
            build.store(kept, ACTIVATIONS[self.activation](values, together), part * together)
        tile.set(lambda r, v: load(kept, r * width + v * lanes, lanes=lanes))

    def _biased(self, sums: Register, block: Expr, vector: int) -> Expr:
        """A vector of sums with its bias."""
        if self.bias is None:
            return sums.get()
        column = block * self.width + vector * sums.lanes
        return sums.get() + load(self.bias, column, lanes=sums.lanes)

    def _finish(self, sums: Register, block: Expr, row: Expr, vector: int, columns: int) -> None:
        """Add the residual to a vector, and store what of it is of the result."""
        build, lanes = self.build, sums.lanes
        valid = min(lanes, columns - vector * lanes)
        column = block * self.width + vector * lanes
        if self.residual is not None:
            sums.set(sums.get() + self._partial(self.residual, row, column, valid, lanes))
        if valid == lanes:
            build.store(self.result, sums.get(), row, column)
        else:
            for lane in range(valid):
                build.store(self.result, sums.lane(lane), row, column + lane)

    def _partial(self, buffer: Any, row: Expr, column: Expr, valid: int, lanes: int) -> Expr:
        """A vector of which only some lanes may be read."""
        if valid == lanes:
            return load(buffer, row, column, lanes=lanes)
        vector = self.build.register(lanes)
        vector.set(splat(0.0, lanes))
        for lane in range(valid):
            vector.set_lane(lane, load(buffer, row, column + lane))
        return vector.get()


def _gelu(x: Expr, lanes: int) -> Expr:
    half = splat(0.5, lanes)
    return x * (half + half * tirx.erf(x * splat(math.sqrt(0.5), lanes)))


def _gelu_tanh(x: Expr, lanes: int) -> Expr:
    half = splat(0.5, lanes)
    cubic = x * (splat(1.0, lanes) + splat(0.044715, lanes) * x * x)
    return x * (half + half * tirx.tanh(splat(math.sqrt(2 / math.pi), lanes) * cubic))


def _relu(x: Expr, lanes: int) -> Expr:
    return tirx.Max(x, splat(0.0, lanes))


def _silu(x: Expr, _: int) -> Expr:
    return x * tirx.sigmoid(x)


def _sigmoid(x: Expr, _: int) -> Expr:
    return tirx.sigmoid(x)


def _tanh(x: Expr, _: int) -> Expr:
    return tirx.tanh(x)


_SHORT = ("relax.nn.relu",)  # activations that are one instruction

ACTIVATIONS: dict[str, Callable[[Expr, int], Expr]] = {
    "relax.nn.gelu": _gelu,
    "relax.nn.gelu_tanh": _gelu_tanh,
    "relax.nn.relu": _relu,
    "relax.nn.silu": _silu,
    "relax.sigmoid": _sigmoid,
    "relax.tanh": _tanh,
}
