"""ZipMap makes dictionaries of class probabilities; its tensor takes their place as the output."""

from __future__ import annotations

from onnx import ModelProto, TensorProto, ValueInfoProto, helper


def drop_zip_maps(model: ModelProto) -> None:
    """Replace outputs that ZipMap makes by the tensors that it takes, in place."""
    made_of = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if (node.domain, node.op_type) == ("ai.onnx.ml", "ZipMap")
    }
    if not made_of:
        return
    outputs = [_plain(output, made_of) for output in model.graph.output]
    kept = [node for node in model.graph.node if node.output[0] not in made_of]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _plain(output: ValueInfoProto, made_of: dict[str, str]) -> ValueInfoProto:
    if output.name not in made_of:
        return output
    return helper.make_tensor_value_info(made_of[output.name], TensorProto.FLOAT, None)
