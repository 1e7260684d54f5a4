"""What is resolved at compile time: small graphs in, the operators that are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from tvmake.errors import UnsupportedError
from tvmake.frontend.flatten import FlatGraph, flat_inputs, flatten
from tvmake.spec import InputSpec


def flat(text: str, *specs: InputSpec, unsupported: tuple[str, ...] = ()) -> FlatGraph:
    model = parser.parse_model(text)
    return _flatten(model, *specs, unsupported=unsupported)


def _flatten(
    model: onnx.ModelProto, *specs: InputSpec, unsupported: tuple[str, ...] = ()
) -> FlatGraph:
    inputs = flat_inputs(model.graph.input, {spec.name: spec for spec in specs})
    return flatten(model, inputs, lambda node: node.op_type not in unsupported, {})


def operators(graph: FlatGraph) -> list[str]:
    return [node.op_type for node in graph.node]


def constants(graph: FlatGraph) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


HEAD = '<ir_version: 8, opset_import: ["" : 18]>'


def test_shape_arithmetic_is_computed() -> None:
    graph = flat(f"""{HEAD} g (float[2,3,4] x) => (float[2,12] y) {{
        shape = Shape(x)
        zero = Constant<value = int64[1] {{0}}>()
        rest = Constant<value = int64[1] {{-1}}>()
        first = Gather<axis = 0>(shape, zero)
        wanted = Concat<axis = 0>(first, rest)
        y = Reshape(x, wanted)
    }}""")
    assert operators(graph) == ["Reshape"]
    np.testing.assert_array_equal(constants(graph)["wanted"], [2, -1])


def test_a_known_condition_leaves_one_branch() -> None:
    text = f"""{HEAD} g (float[2] x) => (float[2] y) {{
        rank = Size(x)
        two = Constant<value = int64 {{SIZE}}>()
        same = Equal(rank, two)
        y = If(same) <
            then_branch = a () => (float[2] t) {{ t = Relu(x) }},
            else_branch = b () => (float[2] e) {{ e = Neg(x) }}>
    }}"""
    for size, operator in ((2, "Relu"), (3, "Neg")):
        graph = flat(text.replace("SIZE", str(size)))
        assert operators(graph) == [operator, "Identity"]


def test_an_unknown_condition_stays() -> None:
    graph = flat(f"""{HEAD} g (bool c, float[2] x) => (float[2] y) {{
        z = Identity(x)
        y = If(c) <
            then_branch = a () => (float[2] t) {{ t = Relu(z) }},
            else_branch = b () => (float[2] e) {{ e = Neg(z) }}>
    }}""")
    assert operators(graph) == ["If"]
    branch = graph.node[0].attribute[0].g.node[0]
    assert list(branch.input) == ["x"]  # what `z` stands for outside


def test_a_loop_of_known_length_is_unrolled() -> None:
    graph = flat(f"""{HEAD} g (float[2] x) => (float[2] y, float[3,2] all) {{
        n = Constant<value = int64 {{3}}>()
        c = Constant<value = bool {{1}}>()
        y, all = Loop(n, c, x) <body = b (int64 i, bool go, float[2] s)
            => (bool on, float[2] t, float[2] scan) {{
                on = Identity(go)
                t = Add(s, x)
                scan = Relu(t)
            }}>
    }}""")
    assert operators(graph).count("Add") == 3
    assert operators(graph).count("Relu") == 3
    assert "Loop" not in operators(graph)
    assert {value.name for value in graph.output} == {"y", "all"}


def test_a_loop_of_unknown_length_stays() -> None:
    graph = flat(f"""{HEAD} g (int64 n, float[2] x) => (float[2] y) {{
        c = Constant<value = bool {{1}}>()
        y = Loop(n, c, x) <body = b (int64 i, bool go, float[2] s) => (bool on, float[2] t) {{
            on = Identity(go)
            t = Add(s, s)
        }}>
    }}""")
    assert operators(graph) == ["Loop"]


def test_a_scan_is_unrolled() -> None:
    graph = flat(f"""{HEAD} g (float[2] s, float[3,2] x) => (float[2] z, float[3,2] y) {{
        z, y = Scan<num_scan_inputs = 1, body = b (float[2] a, float[2] e)
            => (float[2] sum, float[2] out) {{
                sum = Add(a, e)
                out = Identity(sum)
            }}>(s, x)
    }}""")
    assert operators(graph).count("Add") == 3
    assert "Scan" not in operators(graph)


def test_sequences_are_lists_of_tensors() -> None:
    sequence = helper.make_tensor_sequence_value_info("xs", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("SequenceInsert", ["xs", "x"], ["more"]),
        helper.make_node("SequenceLength", ["more"], ["n"]),
        helper.make_node("SequenceAt", ["more", "zero"], ["first"]),
        helper.make_node("ConcatFromSequence", ["more"], ["y"], axis=0),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [sequence, helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info(name, 0, None) for name in ("n", "first", "y")],
        [numpy_helper.from_array(np.array(0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    result = _flatten(model, InputSpec("xs.0", "float32", (3,)), InputSpec("xs.1", "float32", (1,)))
    assert [value.name for value in result.input] == ["xs.0", "xs.1", "x"]
    concat = next(node for node in result.node if node.op_type == "Concat")
    assert list(concat.input) == ["xs.0", "xs.1", "x"]
    assert constants(result)[_source(result, "n")] == 3
    assert _source(result, "first") == "xs.0"


def _source(graph: FlatGraph, output: str) -> str:
    return next(str(node.input[0]) for node in graph.node if output in node.output)


def test_a_local_function_is_inlined_with_its_attributes() -> None:
    graph = flat("""<ir_version: 8, opset_import: ["" : 18, "my" : 1]>
        g (float[2] x) => (float[2] y) {
            y = my.leaky<slope = 0.5>(x)
        }
        <domain: "my", opset_import: ["" : 18]>
        leaky<slope>(a) => (b) {
            b = LeakyRelu<alpha: float = @slope>(a)
        }""")
    assert operators(graph) == ["LeakyRelu", "Identity"]
    assert graph.node[0].attribute[0].f == 0.5


def test_an_operator_without_converter_gets_its_body_and_the_defaults_of_its_schema() -> None:
    graph = flat(f"{HEAD} g (float[2] x) => (float[2] y) {{ y = Elu(x) }}", unsupported=("Elu",))
    assert "Elu" not in operators(graph)
    assert "Exp" in operators(graph)
    assert any(np.array_equal(value, 1.0) for value in constants(graph).values())  # alpha


def test_an_optional_without_value_is_no_output() -> None:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_value_info("x", kind)],
        [helper.make_value_info("y", kind)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    with pytest.raises(UnsupportedError, match="'y' is an optional without a value"):
        _flatten(model)
    assert [v.name for v in _flatten(model, InputSpec("x", "float32", (2,))).output] == ["y"]


def test_dropout_is_bypassed_unless_it_trains() -> None:
    text = f"""{HEAD} g (float[2] x) => (float[2] y) {{
        r = Constant<value = float {{0.5}}>()
        t = Constant<value = bool {{TRAIN}}>()
        d = Dropout(x, r, t)
        y = Relu(d)
    }}"""
    assert operators(flat(text.replace("TRAIN", "0"))) == ["Relu"]
    with pytest.raises(UnsupportedError, match="training mode"):
        flat(text.replace("TRAIN", "1"))
