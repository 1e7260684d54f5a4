"""Operators with odd shapes, a dozen of a class in one model.

Compiling one model of independent operators checks them all at the price of one compilation, which
is what makes a sweep over every instruction set affordable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from python.onnx_models import node

if TYPE_CHECKING:
    import onnx

CHANNELS = (1, 3, 5, 8, 16, 17, 33)
SIZES = (1, 2, 5, 7, 14, 23, 32, 65)
MOST_WORK = 1_500_000  # multiplications of one operator: emulators do few in a second
OPSET = 19


@dataclass
class Cases:
    """Operators under way into one model."""

    random: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    def pick(self, values: Sequence[int], at_least: int = 0, at_most: float = math.inf) -> int:
        return int(self.random.choice([v for v in values if at_least <= v <= at_most]))

    def choose(self, *names: str) -> str:
        return str(self.random.choice(names))

    def input(self, *shape: int) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs[name] = shape
        return name

    def weight(self, *shape: int, values: Any = None) -> str:
        name = f"w{len(self.weights)}"
        data = self.random.standard_normal(shape).astype("float32") if values is None else values
        self.weights[name] = data
        return name

    def integers(self, *values: int) -> str:
        return self.weight(values=np.array(values, np.int64))

    def add(
        self, op_type: str, inputs: str, *, keep: bool = True, outputs: int = 1, **attributes: Any
    ) -> str:
        name = f"y{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{i}" for i in range(outputs)]
        self.nodes.append(node(op_type, inputs, " ".join(names), **attributes))
        if keep:
            self.outputs += names
        return " ".join(names)


Class = Callable[[Cases], None]
CLASSES: dict[str, Class] = {}


def kernel_class(function: Class) -> Class:
    """Registers a class of kernels under its function's name."""
    CLASSES[function.__name__] = function
    return function


def fitting(draw: Callable[[], list[int]], work: Callable[[list[int]], int]) -> Any:
    """The first sizes drawn that are not too much work."""
    while True:
        sizes = draw()
        if work(sizes) <= MOST_WORK:
            return sizes
