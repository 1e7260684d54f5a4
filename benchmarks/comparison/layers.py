"""What share of the machine's peak single layers reach, each measured right after the peak."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from onnx import helper

from comparison.profile import profile
from comparison.work import multiplications, value_shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comparison.build import Build
    from comparison.models import ModelFiles

_RUNS = 15  # of a turn


@dataclass(frozen=True)
class Layer:
    """One convolution or matrix product.

    Attributes:
        shares: of the peak, in each turn: multiplications as the definition has them, two
            operations each, by the time of the layer's kernel, epilogue included.
    """

    layer: str
    threads: int
    milliseconds: float
    shares: Sequence[float]

    @property
    def share(self) -> float:
        """The median of the turns."""
        return statistics.median(self.shares)


def layers(model: ModelFiles, build: Build, threads: int, rounds: int) -> list[Layer]:
    """Measure every layer of a network, in the order of the model file.

    Args:
        model: the network.
        build: where it is built.
        threads: of the run, and of the peak that it is compared with.
        rounds: turns of the peak and the network.
    """
    names = _descriptions(onnx.load(model.onnx))
    times: dict[str, list[float]] = {name: [] for name in names}
    shares: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        peak = build.fma_peak(threads)
        for call in profile(model, build, threads, _RUNS):
            for name in names.keys() & set(call.work.sources) if call.work.multiplications else ():
                times[name].append(call.nanoseconds * 1e-6)
                shares[name].append(call.gflops / peak)
    return [
        Layer(text, threads, statistics.median(times[name]), shares[name])
        for name, text in names.items()
    ]


def _descriptions(model: onnx.ModelProto) -> dict[str, str]:
    """Node name -> what it calculates, for the nodes that multiply."""
    shapes = value_shapes(model)
    counted = multiplications(model)
    result = {}
    for node in model.graph.node:
        if node.name in counted:
            left, right, output = (shapes[n] for n in (*node.input[:2], node.output[0]))
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            describe = _convolution if node.op_type == "Conv" else _product
            result[node.name] = describe(left, right, output, attributes)
    return result


def _convolution(
    data: Sequence[int], weight: Sequence[int], output: Sequence[int], attributes: dict[str, Any]
) -> str:
    kernel, size = (" x ".join(map(str, shape[2:])) for shape in (weight, output))
    extras = {
        "steps of": attributes.get("strides", [1])[0],
        "dilated by": attributes.get("dilations", [1])[0],
        "groups:": attributes.get("group", 1),
    }
    more = "".join(f", {what} {value}" for what, value in extras.items() if value != 1)
    return f"convolution {kernel}, {data[1]} to {output[1]} channels of {size}{more}"


def _product(
    left: Sequence[int], right: Sequence[int], output: Sequence[int], _: dict[str, Any]
) -> str:
    is_computed = len(right) > 2
    kind = "product of two computed matrices" if is_computed else "product with weights"
    return f"{kind}, {output[-2]} x {left[-1]} x {output[-1]}"
