"""TFLite files to Relax: read and check, then TVM's importer, told where each value comes from."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import struct
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.relax.frontend.tflite import tflite_frontend

from tvmake.errors import ModelError, SpecError, UnsupportedError, did_you_mean
from tvmake.spec import InputSpec, ModelSpec

from .imported import ImportedModel, SourceNode, check_outputs, variable_name
from .naming import rename_results

_IDENTIFIER = b"TFL3"
_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    9: "int8",
    10: "float64",
    12: "uint64",
    15: "uint32",
    16: "uint16",
}


def import_tflite(spec: ModelSpec) -> ImportedModel:
    """Read a .tflite file into Relax.

    Raises:
        ModelError: when `tflite` is not installed, or the file is damaged or no TFLite model.
        SpecError: when INPUTS or OUTPUTS contradict the model.
        UnsupportedError: when an operator cannot be compiled.
    """
    path = spec.model
    model = _read(path)
    graph = model.Subgraphs(0)
    inputs = _names(graph, graph.InputsAsNumpy())
    _check_inputs(graph, spec.inputs, path)
    outputs = _keep_outputs(graph, spec.outputs, path)
    converter = _make_converter(outputs if spec.outputs else ())
    module = _to_relax(model, converter, path)
    nodes = converter.last.nodes
    return ImportedModel(
        module=rename_results(module, converter.last.results),
        inputs=inputs,
        outputs=outputs,
        nodes=tuple(nodes),
        files=(str(path),),
        details={"format": "tflite", "producer": _description(model)},
    )


def _read(path: Path) -> Any:
    if importlib.util.find_spec("tflite") is None:
        raise ModelError(
            "a .tflite model needs the package tflite, which is not installed for this Python",
            where=str(path),
            fix=f"{sys.executable} -m pip install 'tvmake[tflite]' (in CMake: "
            "-DTVMAKE_EXTRAS=tflite)",
        )
    import tflite

    data = path.read_bytes()
    if data[4:8] != _IDENTIFIER:
        raise ModelError(
            "the file is not a TFLite model",
            where=str(path),
            expected="a FlatBuffer with the identifier TFL3",
        )
    try:
        model = tflite.Model.GetRootAsModel(data, 0)
        _check_whole(model)
    except Exception as error:  # whatever a wrong offset leads to
        raise _damaged(path) from error
    if model.SubgraphsLength() != 1:
        raise UnsupportedError(
            f"the model has {model.SubgraphsLength()} subgraphs",
            where=str(path),
            expected="one: no control flow",
        )
    return model


def _damaged(path: Path) -> ModelError:
    return ModelError(
        "the TFLite file is truncated or damaged",
        where=str(path),
        fix="convert or copy the model again",
    )


def _check_whole(model: Any) -> None:
    """Touch all that is read later: a FlatBuffer has no checksum, only offsets."""
    if model.SubgraphsLength() < 1:
        raise ValueError("no graph")
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength() != len(buffer.DataAsNumpy() if buffer.DataLength() else b""):
            raise ValueError("a buffer ends beyond the file")
    for number in range(model.SubgraphsLength()):
        _check_graph(model, model.Subgraphs(number))


def _check_graph(model: Any, graph: Any) -> None:
    count = graph.TensorsLength()
    for index in range(count):
        tensor = graph.Tensors(index)
        tensor.Name().decode()
        if not 0 <= tensor.Buffer() < model.BuffersLength() or tensor.Type() < 0:
            raise ValueError("a tensor without a buffer")
    places = [*graph.InputsAsNumpy(), *graph.OutputsAsNumpy()]
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        if not 0 <= operator.OpcodeIndex() < model.OperatorCodesLength():
            raise ValueError("an operator without a code")
        if operator.InputsLength():
            places += [place for place in operator.InputsAsNumpy() if place != -1]
        places += list(operator.OutputsAsNumpy())
    if not all(0 <= place < count for place in places):
        raise ValueError("an operator reads a tensor that is not there")


def _names(graph: Any, places: Any) -> tuple[str, ...]:
    return tuple(tflite_frontend.get_tensor_name(graph, int(place)) for place in places)


def _show(graph: Any, place: int) -> str:
    tensor = graph.Tensors(place)
    name = tflite_frontend.get_tensor_name(graph, place)
    dtype = _DTYPES.get(tensor.Type(), f"type {tensor.Type()}")
    return f"{name}={dtype}[{','.join(map(str, _shape(tensor)))}]"


def _shape(tensor: Any) -> list[int]:
    return [int(dim) for dim in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []


def _check_inputs(graph: Any, specs: Sequence[InputSpec], path: Path) -> None:
    shown = {
        tflite_frontend.get_tensor_name(graph, int(place)): _show(graph, int(place))
        for place in graph.InputsAsNumpy()
    }
    for spec in specs:
        if spec.name not in shown:
            raise SpecError(
                f"INPUTS names '{spec.name}', which is no input of the model",
                where=str(path),
                expected="one of: " + ", ".join(shown),
                fix=did_you_mean(spec.name, shown),
            )
        if str(spec) != shown[spec.name]:
            raise SpecError(
                f"INPUTS entry '{spec}' contradicts the model",
                where=str(path),
                expected=f"{shown[spec.name]}: a .tflite file has static shapes",
                fix="convert the model again with another shape",
            )


def _keep_outputs(graph: Any, names: Sequence[str], path: Path) -> tuple[str, ...]:
    own = _names(graph, graph.OutputsAsNumpy())
    known = {
        name
        for index in range(graph.OperatorsLength())
        for name in _names(graph, graph.Operators(index).OutputsAsNumpy())
    }
    check_outputs(names, known, own, path)
    return tuple(names) or own


def _make_converter(outputs: Sequence[str]) -> type[_Converter]:
    """A converter class of its own for each model: TVM makes the instance."""
    return type("_ModelConverter", (_Converter,), {"kept": tuple(outputs)})


class _Converter(tflite_frontend.OperatorConverter):  # type: ignore[misc] # TVM has no types
    """TVM's converter, which knows the operator at hand and keeps every result.

    Attributes:
        kept: the outputs to have in place of the model's; empty for those.
        last: the instance that converted the model.
        nodes: the operators converted so far.
        results: pairs of a value and the variable's name that it is to have.
    """

    kept: tuple[str, ...] = ()
    last: _Converter

    def __init__(self, model: Any, subgraph: Any, exp_tab: Any, ctx: Any) -> None:
        super().__init__(model, subgraph, exp_tab, ctx)
        type(self).last = self
        self.nodes: list[SourceNode] = []
        self.results: list[tuple[relax.Expr, str]] = []
        self.is_done = False

    def convert_op_to_relax(self) -> None:
        """Convert the operators in order."""
        inputs = set(_names(self.subgraph, self.subgraph.InputsAsNumpy()))
        for index in range(self.subgraph.OperatorsLength()):
            operator = self.subgraph.Operators(index)
            kind = self.get_op_code_str(operator)
            names = _names(self.subgraph, operator.OutputsAsNumpy())
            sources = {
                tflite_frontend.get_tensor_name(self.subgraph, int(place))
                for place in (operator.InputsAsNumpy() if operator.InputsLength() else ())
                if place != -1
            }
            is_constant = inputs.isdisjoint(sources)
            if not is_constant:
                inputs.update(names)
            self.nodes.append(SourceNode(names[0], kind, tuple(sources), tuple(names), is_constant))
            result = self.convert_map[kind](op=operator)
            if result is not None:
                self._keep(index, names, self.bb.normalize(result))
        self.is_done = True

    def _keep(self, index: int, names: Sequence[str], result: relax.Expr) -> None:
        values = [result] if len(names) == 1 else [result[i] for i in range(len(names))]
        for place, (name, expression) in enumerate(zip(names, values, strict=True)):
            is_bound = isinstance(expression, relax.Var | tvm.ir.GenericConst)
            value = expression if is_bound else self.bb.emit(expression)
            if place == 0:
                self.results.append((value, variable_name(index)))
            self.exp_tab.set_expr(name, value)

    def get_tensors(self, tensors_idx_list: Any) -> Any:
        """The outputs at last: those that the spec names, if any."""
        if self.kept and self.is_done:
            places = {
                tflite_frontend.get_tensor_name(self.subgraph, index): index
                for index in range(self.subgraph.TensorsLength())
            }
            tensors_idx_list = [places[name] for name in self.kept]
        return super().get_tensors(tensors_idx_list)


def _to_relax(model: Any, converter: type[_Converter], path: Path) -> tvm.IRModule:
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            return tflite_frontend.from_tflite(model, op_converter=converter)
    except (struct.error, IndexError, TypeError) as error:
        raise _damaged(path) from error
    except Exception as error:  # TVM's converters raise every kind
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        nodes = converter.last.nodes if hasattr(converter, "last") else []
        if nodes:
            raise UnsupportedError(
                f"operator {nodes[-1].op_type} cannot be imported: {reason}",
                where=f"{path}, tensor '{nodes[-1].output}'",
            ) from error
        raise UnsupportedError(
            f"the model uses what tvmake does not support: {reason}",
            where=str(path),
            fix="convert the model with float weights or full integer quantization",
        ) from error


def _description(model: Any) -> str:
    text = model.Description()
    return text.decode(errors="replace") if text else ""
