"""Function bodies: of the model's own functions, and of operators that ONNX defines by others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .values import Value


def schema_of(node: NodeProto, opsets: Mapping[str, int]) -> Any:
    """What ONNX knows of an operator (an OpSchema); None for one that it does not define."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    try:
        return onnx.defs.get_schema(node.op_type, opsets.get(domain, 1), domain)
    except onnx.defs.SchemaError:
        return None


def has_body(node: NodeProto, opsets: Mapping[str, int]) -> bool:
    """Whether ONNX defines the operator by others."""
    schema = schema_of(node, opsets)
    return bool(schema and (schema.has_function or schema.has_context_dependent_function))


def schema_body(
    node: NodeProto, operands: Sequence[Value | None], opsets: Mapping[str, int]
) -> FunctionProto | None:
    """The body of an operator that ONNX defines by others.

    Of the versions that the body is written for, it takes the last one that the model's operator
    set is not older than.
    """
    schema = schema_of(node, opsets)
    if schema is None:
        return None
    version = opsets.get(node.domain if node.domain != "ai.onnx" else "", 1)
    if schema.has_context_dependent_function:
        return _context_body(schema, node, operands, version)
    if not schema.has_function:
        return None
    versions = [v for v in schema.function_opset_versions if v <= version]
    # The oldest body stands for all operator sets if there is none for this one.
    chosen = max(versions, default=min(schema.function_opset_versions))
    body = schema.get_function_with_opset_version(chosen)
    return _complete(FunctionProto.FromString(body), schema, chosen) if body else None


def _context_body(
    schema: Any, node: NodeProto, operands: Sequence[Value | None], version: int
) -> FunctionProto | None:
    versions = [v for v in schema.context_dependent_function_opset_versions if v <= version]
    if not versions:
        return None
    types = [
        (getattr(operand, "type", None) or TypeProto()).SerializeToString() for operand in operands
    ]
    body = schema.get_context_dependent_function_with_opset_version(
        max(versions), node.SerializeToString(), types
    )
    return _complete(FunctionProto.FromString(body), schema, max(versions)) if body else None


def _complete(body: FunctionProto, schema: Any, version: int) -> FunctionProto:
    """Fill in what ONNX leaves out: versions, and the names of inputs and outputs."""
    if not body.opset_import:
        body.opset_import.append(onnx.helper.make_opsetid("", version))
    if not body.input:
        body.input.extend(parameter.name for parameter in schema.inputs)
    if not body.output:
        body.output.extend(result.name for result in schema.outputs)
    return body


def attributes_of(
    node: NodeProto, body: FunctionProto, opsets: Mapping[str, int]
) -> dict[str, AttributeProto]:
    """The attributes that the body's nodes may refer to: those given, and the defaults."""
    attributes = {}
    schema = schema_of(node, opsets)
    if schema is not None:
        attributes = {
            name: attribute.default_value
            for name, attribute in schema.attributes.items()
            if attribute.default_value.name
        }
    attributes |= {attribute.name: attribute for attribute in body.attribute_proto}
    return attributes | {attribute.name: attribute for attribute in node.attribute}


def bind_attributes(node: NodeProto, attributes: Mapping[str, AttributeProto]) -> NodeProto:
    """A copy of a body's node with the references to attributes replaced, in subgraphs too."""
    copy = NodeProto()
    copy.CopyFrom(node)
    _bind(copy, attributes)
    return copy


def _bind(node: NodeProto, attributes: Mapping[str, AttributeProto]) -> None:
    kept = []
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            given = attributes.get(attribute.ref_attr_name)
            if given is None:
                continue  # not given and without a default: as if it were not there
            bound = AttributeProto()
            bound.CopyFrom(given)
            bound.name = attribute.name
            kept.append(bound)
            continue
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                _bind(inner, attributes)
        kept.append(attribute)
    copies = [AttributeProto.FromString(attribute.SerializeToString()) for attribute in kept]
    del node.attribute[:]
    node.attribute.extend(copies)
