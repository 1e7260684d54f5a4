"""Layer norm and RMS norm, a row at a time.

A row is read three times, of which the last two are from the cache: for its mean, for its variance
about the mean, and to be written normalized. Sums are made in several vectors, which is faster than
one after the other, and rounds less (Higham, "Accuracy and Stability", 2nd edition, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm import tirx

from tvmake.kernels.builder import Builder, Expr, Register, fold, load, splat
from tvmake.schedule.primitives import PARALLEL_WORK

if TYPE_CHECKING:
    from tvmake.schedule.cpu import CpuModel

_SUMS = 4  # vectors that are summed side by side


@dataclass(frozen=True)
class Normalization:
    """A normalization of rows.

    Attributes:
        rows, length: of the data.
        epsilon: added to the variance.
        centered: whether the mean is subtracted, and an offset added.
    """

    rows: int
    length: int
    epsilon: float
    centered: bool = True


def normalization(spec: Normalization, cpu: CpuModel) -> tirx.PrimFunc:
    """The kernel: data [rows, length], factors [length], offsets [length]? -> result."""
    return _Writer(spec, cpu).function()


class _Writer:
    """Writes one kernel."""

    def __init__(self, spec: Normalization, cpu: CpuModel) -> None:
        self.spec = spec
        self.lanes = cpu.lanes(32)
        self.build = Builder()
        shape, length = (spec.rows, spec.length), (spec.length,)
        self.data = self.build.parameter("data", shape)
        self.factors = self.build.parameter("factors", length)
        self.offsets = self.build.parameter("offsets", length) if spec.centered else None
        self.result = self.build.parameter("result", shape)

    def function(self) -> tirx.PrimFunc:
        spec, build = self.spec, self.build
        kind = "parallel" if spec.rows * spec.length >= PARALLEL_WORK else "serial"
        with build.loop(spec.rows, "row", kind) as row:
            center: Expr = 0.0
            if spec.centered:
                center = self.mean(lambda at, lanes: load(self.data, row, at, lanes=lanes))
            variance = self.mean(lambda at, lanes: self.square(row, at, lanes, center))
            scale = build.bind(tirx.rsqrt(variance + tirx.const(spec.epsilon, "float32")))
            self.each_vector(lambda at, lanes: self.write(row, at, lanes, center, scale))
        return build.function([(0, 0)])

    def value(self, row: Expr, at: Expr, lanes: int, center: Expr) -> Expr:
        """Some elements, less the mean."""
        value = load(self.data, row, at, lanes=lanes)
        return value - splat(center, lanes) if self.spec.centered else value

    def square(self, row: Expr, at: Expr, lanes: int, center: Expr) -> Expr:
        value = self.build.bind(self.value(row, at, lanes, center))
        return value * value

    def write(self, row: Expr, at: Expr, lanes: int, center: Expr, scale: Expr) -> None:
        """Some elements of the result."""
        value = self.value(row, at, lanes, center) * splat(scale, lanes)
        value = value * load(self.factors, at, lanes=lanes)
        if self.offsets is not None:
            value = value + load(self.offsets, at, lanes=lanes)
        self.build.store(self.result, value, row, at)

    def mean(self, term: Callable[[Expr, int], Expr]) -> Expr:
        """The mean of a term over a row; the term is given a place and a number of lanes."""
        build, lanes = self.build, self.lanes
        sums = [build.register(lanes) for _ in range(_SUMS)]
        rest = build.register(1)
        for total in (*sums, rest):
            total.set(splat(0.0, total.lanes))

        def add(total: Register, at: Expr) -> None:
            total.set(total.get() + term(at, total.lanes))

        vectors, left = divmod(self.spec.length, lanes)
        rounds, single = divmod(vectors, _SUMS)
        with build.loop(rounds, "round") as at:
            for number, total in enumerate(sums):
                add(total, (at * _SUMS + number) * lanes)
        for number, total in enumerate(sums[:single]):
            add(total, (rounds * _SUMS + number) * lanes)
        with build.loop(left, "left") as at:
            add(rest, vectors * lanes + at)
        first, second, third, fourth = (total.get() for total in sums)
        sums[0].set((first + second) + (third + fourth))
        whole = fold(sums[0], lambda a, b: a + b) + rest.get()
        return build.bind(whole * tirx.const(1 / self.spec.length, "float32"))

    def each_vector(self, body: Callable[[Expr, int], None]) -> None:
        """Do something with every vector of a row, and with each element that is left."""
        vectors, left = divmod(self.spec.length, self.lanes)
        with self.build.loop(vectors, "vector") as vector:
            body(vector * self.lanes, self.lanes)
        with self.build.loop(left, "left") as at:
            body(vectors * self.lanes + at, 1)
