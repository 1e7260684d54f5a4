"""Models whose shapes are known at run time only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper

from python.onnx_models import node, random, save

if TYPE_CHECKING:
    from pathlib import Path

    import onnx


def cnn(path: Path) -> Path:
    """Dynamic batch, height and width; a shape computed by operators, as exporters write it."""
    nodes = [
        node("Conv", "x w1", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2", "z", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("GlobalAveragePool", "z", "g"),
        node("Shape", "z", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n first", "n1"),
        node("Concat", "n1 rest", "flat", axis=0),
        node("Reshape", "g flat", "f"),
        node("Gemm", "f w3 b3", "y", transB=1),
    ]
    weights: dict[str, Any] = {
        "w1": random(16, 3, 3, 3, seed=1) / 5,
        "w2": random(16, 16, 3, 3, seed=2) / 12,
        "w3": random(32, 16, seed=3) / 4,
        "b3": random(32, seed=4),
        "zero": np.array(0),
        "first": np.array([0]),
        "rest": np.array([-1]),
    }
    return save(path, nodes, {"x": ("N", 3, "H", "W")}, ["y", "z"], weights)


def encoder(path: Path, width: int = 32, heads: int = 4) -> Path:
    """One layer of a transformer with dynamic batch and sequence."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "n"),
        node("Gather", "shape one", "s"),
        node("Unsqueeze", "n first", "n1"),
        node("Unsqueeze", "s first", "s1"),
        node("Concat", "n1 s1 heads size", "split", axis=0),
        node("Concat", "n1 s1 width", "merge", axis=0),
    ]
    for name in "qkv":
        nodes += [
            node("MatMul", f"x w{name}", f"{name}0"),
            node("Add", f"{name}0 b{name}", f"{name}1"),
            node("Reshape", f"{name}1 split", f"{name}2"),
            node("Transpose", f"{name}2", name, perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]),
        ]
    nodes += [
        node("MatMul", "q k", "scores"),
        node("Mul", "scores scale", "scaled"),
        node("Softmax", "scaled", "attention", axis=-1),
        node("MatMul", "attention v", "mixed"),
        node("Transpose", "mixed", "back", perm=[0, 2, 1, 3]),
        node("Reshape", "back merge", "joined"),
        node("MatMul", "joined wo", "projected"),
        node("Add", "projected x", "residual"),
        node("LayerNormalization", "residual gamma beta", "y"),
    ]
    weights: dict[str, Any] = {
        f"w{n}": random(width, width, seed=i) / 6 for i, n in enumerate("qkvo")
    }
    weights |= {f"b{n}": random(width, seed=9 + i) for i, n in enumerate("qkv")}
    weights |= {
        "gamma": 1 + random(width, seed=20) / 4,
        "beta": random(width, seed=21),
        "scale": np.array((width // heads) ** -0.5, np.float32),
        "zero": np.array(0),
        "one": np.array(1),
        "first": np.array([0]),
        "heads": np.array([heads]),
        "size": np.array([width // heads]),
        "width": np.array([width]),
    }
    return save(path, nodes, {"x": ("N", "S", width)}, ["y"], weights)


def branches(path: Path) -> Path:
    """An If whose branches have results of different shapes."""

    def branch(name: str, nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
        value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        return helper.make_graph(nodes, name, [], [value])

    then = branch("then", [node("MatMul", "x w", "t1"), node("Relu", "t1", "t2")], "t2")
    other = branch(
        "else", [node("Slice", "x s0 s1", "e1"), node("Concat", "e1 e1", "e2", axis=0)], "e2"
    )
    nodes = [
        helper.make_node("If", ["c"], ["r"], name="if", then_branch=then, else_branch=other),
        node("Neg", "r", "y"),
    ]
    weights = {"w": random(6, 6, seed=3), "s0": np.array([1]), "s1": np.array([100])}
    types = {"c": TensorProto.BOOL}
    return save(path, nodes, {"x": ("N", 6), "c": (1,)}, ["y"], weights, types)


def selected(path: Path) -> Path:
    """NonZero, Compress and what is gathered with their results."""
    nodes = [
        node("NonZero", "x", "i"),
        node("Transpose", "i", "it"),
        node("Relu", "x", "r"),
        node("GatherND", "r it", "v"),
        node("Compress", "x mask", "rows", axis=0),
    ]
    types = {"it": TensorProto.INT64, "mask": TensorProto.BOOL}
    inputs = {"x": ("A", "B"), "mask": ("A",)}
    return save(path, nodes, inputs, ["v", "it", "rows"], {}, types)


def detection(path: Path, *, by_center: bool = False, limit: int | None = 7) -> Path:
    """NonMaxSuppression, and the scores of the boxes that it chose."""
    nodes = [
        node(
            "NonMaxSuppression",
            "boxes scores limit overlap above",
            "chosen",
            center_point_box=int(by_center),
        ),
        node("GatherND", "scores chosen", "best"),
    ]
    inputs: dict[str, tuple[int | str, ...]] = {"boxes": ("B", "N", 4), "scores": ("B", 3, "N")}
    types = dict.fromkeys(("chosen", "limit"), TensorProto.INT64)
    weights = {"overlap": np.array([0.3], "float32"), "above": np.array([0.2], "float32")}
    if limit is None:
        inputs["limit"] = (1,)
    else:
        weights["limit"] = np.array([limit])
    return save(path, nodes, inputs, ["chosen", "best"], weights, types)


def body(nodes: list[onnx.NodeProto], inputs: str, outputs: str, **types: Any) -> onnx.GraphProto:
    """The body of a loop: names, of turn, condition and what is carried; types by name."""

    def values(names: str) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, *types.get(name, (TensorProto.FLOAT, None)))
            for name in names.split()
        ]

    usual = {
        "i": (TensorProto.INT64, ()),
        "go": (TensorProto.BOOL, ()),
        "on": (TensorProto.BOOL, ()),
    }
    types = {**usual, **types}
    return helper.make_graph(nodes, "body", values(inputs), values(outputs))


def _float(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def counted_loop(path: Path) -> Path:
    """As many turns as an input says: two values that change places, and one that is collected."""
    inner = [
        node("Identity", "go", "on"),
        node("Identity", "b", "a2"),
        node("Mul", "a outer", "half"),
        node("Add", "half b", "b2"),
        node("ReduceSum", "b2", "sum", keepdims=0),
    ]
    graph = body(inner, "i go a b", "on a2 b2 sum")
    nodes = [
        node("Relu", "x", "outer"),
        helper.make_node(
            "Loop", ["turns", "", "x", "y"], ["p", "q", "sums"], name="loop", body=graph
        ),
        node("Sub", "p q", "z"),
    ]
    inputs = {"x": ("N", 5), "y": ("N", 5), "turns": ()}
    return save(path, nodes, inputs, ["z", "sums"], {}, {"turns": TensorProto.INT64})


def convolving_loop(path: Path) -> Path:
    """Convolutions, and an operator that is in the loop and behind it."""
    inner = [
        node("Conv", "v kernel", "c", pads=[1, 1, 1, 1]),
        node("Relu", "image", "clean"),
        node("Add", "c clean", "w"),
        node("Identity", "go", "on"),
    ]
    graph = body(inner, "i go v", "on w")
    nodes = [
        helper.make_node("Loop", ["turns", "yes", "image"], ["y"], name="loop", body=graph),
        node("Relu", "image", "last"),
        node("Mul", "last y", "z"),
    ]
    weights = {"kernel": random(8, 8, 3, 3, seed=5) * np.float32(0.1), "yes": np.array(True)}
    inputs = {"image": (1, 8, 6, 5), "turns": ()}
    return save(path, nodes, inputs, ["z"], weights, {"turns": TensorProto.INT64})


def searching_loop(path: Path) -> Path:
    """Newton's method, until it is exact enough or a limit is reached; every guess is collected."""
    inner = [
        node("Div", "x guess", "quotient"),
        node("Add", "quotient guess", "twice"),
        node("Mul", "twice half", "next"),
        node("Sub", "next guess", "change"),
        node("Abs", "change", "size"),
        node("ReduceMax", "size", "largest", keepdims=0),
        node("Greater", "largest tolerance", "on"),
        node("Add", "i i", "double"),
    ]
    graph = body(
        inner,
        "i go guess",
        "on next size double",
        double=(TensorProto.INT64, ()),
        size=(TensorProto.FLOAT, (4,)),
    )
    nodes = [
        helper.make_node(
            "Loop", ["limit", "start", "x"], ["root", "sizes", "numbers"], name="loop", body=graph
        )
    ]
    weights = {"half": np.array(0.5, "float32"), "tolerance": np.array(1e-4, "float32")}
    types = {"limit": TensorProto.INT64, "start": TensorProto.BOOL, "numbers": TensorProto.INT64}
    inputs = {"x": (4,), "limit": (), "start": ()}
    return save(path, nodes, inputs, ["root", "sizes", "numbers"], weights, types)


def nested_loops(path: Path) -> Path:
    """A loop in a loop, the inner with as many turns as the outer has made, and an If."""
    names = {"j": (TensorProto.INT64, ()), "yes": (TensorProto.BOOL, ())}
    names["still"] = names["yes"]
    turn = [node("Identity", "yes", "still"), node("Add", "v one", "w")]
    innermost = body(turn, "j yes v", "still w", **names)
    inner = [
        node("Identity", "go", "on"),
        helper.make_node("Loop", ["i", "", "s"], ["t"], name="inner", body=innermost),
        node("Mul", "t factor", "u"),
        node("ReduceSum", "u", "sum", keepdims=0),
        node("Greater", "sum one", "many"),
        helper.make_node(
            "If",
            ["many"],
            ["next"],
            then_branch=helper.make_graph(
                [node("Sub", "u one", "less")], "then", [], [_float("less")]
            ),
            else_branch=helper.make_graph([node("Exp", "u", "more")], "else", [], [_float("more")]),
        ),
    ]
    outer = body(inner, "i go s", "on next")
    nodes = [
        helper.make_node("Loop", ["turns", "", "x"], ["y"], name="outer", body=outer),
    ]
    weights = {"one": np.array(1, "float32"), "factor": np.array(0.75, "float32")}
    inputs = {"x": (3,), "turns": ()}
    return save(path, nodes, inputs, ["y"], weights, {"turns": TensorProto.INT64})


def scan(path: Path) -> Path:
    """Sums from the front, and products from the end, along axes of open length."""
    step = [node("Add", "total part", "next"), node("Mul", "next back", "both")]
    graph = body(step, "total part back", "next both")
    nodes = [
        helper.make_node(
            "Scan",
            ["zero", "x", "y"],
            ["last", "all"],
            body=graph,
            num_scan_inputs=2,
            scan_input_axes=[0, 1],
            scan_input_directions=[0, 1],
        )
    ]
    inputs: dict[str, tuple[int | str, ...]] = {"x": ("T", 4), "y": (4, "T")}
    return save(path, nodes, inputs, ["last", "all"], {"zero": np.zeros(4, "float32")})


def requested(path: Path) -> Path:
    """Reshape, Expand, Range and Slice by values that are inputs."""
    nodes = [
        node("Reshape", "x shape", "reshaped"),
        node("Expand", "row extents", "expanded"),
        node("Range", "from until by", "counted"),
        node("Slice", "x start stop", "cut"),
    ]
    types = dict.fromkeys(
        ("shape", "extents", "from", "until", "by", "counted", "start", "stop"), TensorProto.INT64
    )
    inputs: dict[str, tuple[int | str, ...]] = {
        "x": ("N", 4),
        "row": (1, 3),
        "shape": (2,),
        "extents": (2,),
        "from": (),
        "until": (),
        "by": (),
        "start": (1,),
        "stop": (1,),
    }
    outputs = ["reshaped", "expanded", "counted", "cut"]
    return save(path, nodes, inputs, outputs, {}, types)


def odd_channels(path: Path) -> Path:
    """Convolutions whose channels are no whole blocks, in groups and without."""
    nodes = [
        node("Conv", "x w1", "c1", group=3),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2", "c2", pads=[1, 1, 1, 1]),
        node("Conv", "c2 w3", "c3"),
        node("Add", "x c3", "y"),
    ]
    weights: dict[str, Any] = {
        "w1": random(15, 5, 1, 1, seed=1),
        "w2": random(17, 15, 3, 3, seed=2) / 12,
        "w3": random(15, 17, 1, 1, seed=3) / 4,
    }
    return save(path, nodes, {"x": ("N", 15, "H", "W")}, ["y"], weights)
