"""ONNX's Backend interface (`onnx.backend.base`): compile a model and run it in this process.

    import tvmake.backend as backend

    model = backend.prepare(onnx.load("model.onnx"))
    (scores,) = model.run([image])

A model is compiled at its first run, for the shapes of the inputs given, and again when they
change. Inputs that decide about shapes (the `shape` of a Reshape, the axes of a reduction) are
compiled in with the values they have; other values compile anew.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

from tvmake import compiler, loader
from tvmake.elements import interface
from tvmake.errors import ModelError, SpecError
from tvmake.frontend import onnx_file
from tvmake.frontend.onnx_bind import compile_time_inputs
from tvmake.spec import InputSpec, InputValue, ModelSpec, TargetSpec
from tvmake.target import host_triple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Array = np.ndarray[Any, Any]

_KEPT_MODULES = 8  # compiled models, of different input shapes, that a prepared model remembers


class TvmakeBackendRep(BackendRep):
    """A prepared model."""

    def __init__(self, model: onnx.ModelProto, target: TargetSpec, num_threads: int) -> None:
        self._model = model
        self._target = target
        self._num_threads = num_threads
        self._inputs = onnx_file.graph_inputs(model.graph)
        self._compile_time = compile_time_inputs(model)
        self._modules: dict[Any, _Compiled] = {}

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Run the model.

        Args:
            inputs: one array for each input, in order; or a mapping from name to array; or the
                array of the only input.
            kwargs: none are known.

        Returns:
            The outputs, in order.

        Raises:
            TvmakeError: when the model cannot be compiled, or inputs are missing or wrong.
        """
        if kwargs:
            raise SpecError(f"run() got unknown options: {', '.join(kwargs)}")
        values = self._flat(self._named(inputs))
        bound = {name: value for name, value in values.items() if name in self._compile_time}
        free = {name: value for name, value in values.items() if name not in bound}
        key = (
            tuple((name, str(v.dtype), v.shape) for name, v in values.items()),
            tuple(value.tobytes() for value in bound.values()),
        )
        if key not in self._modules:
            while len(self._modules) >= _KEPT_MODULES:
                del self._modules[next(iter(self._modules))]
            self._modules[key] = _Compiled(
                self._model, self._target, self._num_threads, free, bound
            )
        return self._modules[key].run(free)

    def _named(self, inputs: Any) -> dict[str, Any]:
        names = [value.name for value in self._inputs]
        if isinstance(inputs, np.ndarray):
            inputs = [inputs]
        given = dict(inputs) if hasattr(inputs, "keys") else dict(zip(names, inputs, strict=False))
        if set(given) != set(names) or len(inputs) != len(names):
            raise SpecError(
                f"run() got {len(inputs)} inputs", expected=f"{len(names)}: {', '.join(names)}"
            )
        return given

    def _flat(self, values: Mapping[str, Any]) -> dict[str, Array]:
        """The tensors of all inputs: a sequence has several, an optional may have none."""
        flat: dict[str, Array] = {}
        for info in self._inputs:
            value = values[info.name]
            if value is None and info.type.WhichOneof("value") == "optional_type":
                continue
            if _is_sequence(info.type):
                items = enumerate(value)
                flat |= {f"{info.name}.{index}": np.asarray(item) for index, item in items}
            else:
                flat[info.name] = np.asarray(value)
        return flat


class _Compiled:
    """A model compiled for the shapes of its inputs, and for some inputs' values."""

    def __init__(
        self,
        model: onnx.ModelProto,
        target: TargetSpec,
        num_threads: int,
        free: Mapping[str, Array],
        bound: Mapping[str, Array],
    ) -> None:
        cache = compiler.default_cache_dir()
        with tempfile.TemporaryDirectory(prefix="tvmake-") as name:
            folder = Path(name)
            path = folder / "model.onnx"
            try:
                path.write_bytes(model.SerializeToString())
            except ValueError as error:  # beyond protobuf's limit
                raise ModelError(f"the model cannot be serialized: {error}") from error
            spec = ModelSpec(
                name="model",
                model=path,
                target=target,
                inputs=tuple(InputSpec(n, str(v.dtype), v.shape) for n, v in free.items()),
                values=tuple(InputValue.of(n, v) for n, v in bound.items()),
            )
            compiled = compiler.compile_model(spec)
            compiler.emit(compiled, folder, cache)
            self._module = loader.open_model(folder, cache, num_threads)
        imported = compiled.imported
        self._names = imported.inputs
        self._results = dict(zip(imported.outputs, imported.output_types, strict=True))
        self._outputs = list(model.graph.output)

    def run(self, inputs: Mapping[str, Array]) -> tuple[Any, ...]:
        for name in self._names:
            self._module["set_input"](name, _to_tensor(inputs[name]))
        self._module["run"]()
        results = {
            name: _to_array(self._module["get_output"](index), dtype)
            for index, (name, dtype) in enumerate(self._results.items())
        }
        return tuple(_gather(value.name, value.type, results) for value in self._outputs)


def _is_sequence(kind: onnx.TypeProto) -> bool:
    which = kind.WhichOneof("value")
    if which == "optional_type":
        return _is_sequence(kind.optional_type.elem_type)
    return bool(which == "sequence_type")


def _gather(name: str, kind: onnx.TypeProto, results: Mapping[str, Array]) -> Any:
    """An output: its tensor, or the list of its tensors."""
    if not _is_sequence(kind):
        return results[name]
    inner = kind.optional_type.elem_type if kind.HasField("optional_type") else kind
    items, index = [], 0
    while any(key == f"{name}.{index}" or key.startswith(f"{name}.{index}.") for key in results):
        items.append(_gather(f"{name}.{index}", inner.sequence_type.elem_type, results))
        index += 1
    return items


class TvmakeBackend(Backend):
    """ONNX's backend interface; see the module."""

    @classmethod
    def prepare(
        cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any
    ) -> TvmakeBackendRep:
        """Take a model.

        Args:
            model: with its weights inside.
            device: "CPU", the only one.
            kwargs: `cpu`, in LLVM's words (default: this machine's), and `num_threads` (default:
                one for each CPU).

        Raises:
            SpecError: for another device or an unknown option.
        """
        cpu, num_threads = kwargs.pop("cpu", "native"), kwargs.pop("num_threads", 0)
        if kwargs:
            raise SpecError(
                f"prepare() got unknown options: {', '.join(kwargs)}", expected="cpu, num_threads"
            )
        if not cls.supports_device(device):
            raise SpecError(f"the device is '{device}'", expected="CPU")
        return TvmakeBackendRep(model, TargetSpec(host_triple(), cpu), num_threads)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Any = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Run one operator.

        Args:
            node: the operator.
            inputs: an array for each of its inputs that is not left out.
            device: see `prepare`.
            outputs_info: not needed.
            kwargs: `opset_version` of its operator set, and what `prepare` takes.
        """
        del outputs_info
        version = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        return cls.run_model(_model_of_node(node, inputs, version), inputs, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models can be run on it: on the CPU only."""
        try:
            return bool(Device(device).type == DeviceType.CPU)
        except (AttributeError, ValueError):
            return False


def _model_of_node(node: onnx.NodeProto, inputs: Sequence[Array], version: int) -> onnx.ModelProto:
    names = [name for name in node.input if name]
    graph = onnx.helper.make_graph(
        [node],
        "node",
        [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )
            for name, value in zip(names, map(np.asarray, inputs), strict=True)
        ],
        [onnx.ValueInfoProto(name=name) for name in node.output if name],
    )
    opset = onnx.helper.make_opsetid(node.domain, version)
    return onnx.helper.make_model(graph, opset_imports=[opset])


def _to_tensor(value: Array) -> Any:
    import tvm

    name = str(value.dtype)
    if interface(name) != name:  # handed over as integers, one element each
        is_integer = name.lstrip("u").startswith("int")
        value = value.astype(interface(name)) if is_integer else value.view(interface(name))
    return tvm.runtime.tensor(np.ascontiguousarray(value).reshape(value.shape))


def _to_array(tensor: Any, name: str) -> Array:
    """A copy of the tensor, in the model's element type."""
    array = np.array(tensor.numpy())
    if name and interface(name) != name:
        dtype = np.dtype(name)
        is_integer = name.lstrip("u").startswith("int")
        return array.astype(dtype) if is_integer else array.view(dtype)
    return array


is_compatible = TvmakeBackend.is_compatible
prepare = TvmakeBackend.prepare
run_model = TvmakeBackend.run_model
run_node = TvmakeBackend.run_node
supports_device = TvmakeBackend.supports_device
