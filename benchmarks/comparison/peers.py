"""The ways to run a network, each by the leanest Python interface that it has.

Inputs are bound once, outputs are written to the same memory again and again wherever the interface
knows that; `run` does no conversion.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from onnx import load

from comparison.library import Model
from comparison.models import call

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

_IREE_OPSET = 17


@dataclass(frozen=True)
class Job:
    """What a runner is made for.

    Attributes:
        inputs: by name, in the model's order.
        library, weights: the network as tvmake built it.
        iree: the network as IREE compiled it.
    """

    name: str
    onnx: Path
    inputs: dict[str, Array]
    threads: int
    library: Path
    weights: Path
    iree: Path


class Runner(Protocol):
    """One network, open and ready."""

    def run(self) -> Any:
        """Compute the outputs once."""

    def outputs(self) -> list[Array]:
        """The outputs of the last run."""


class Tvmake:
    """The model library through its C interface."""

    def __init__(self, job: Job) -> None:
        self.model = Model(job.library, job.name, job.threads, job.weights)
        self.model.set_inputs(list(job.inputs.values()))
        self.run = self.model.run
        self.outputs = self.model.outputs


class OnnxRuntime:
    """A session with bound inputs and outputs."""

    def __init__(self, job: Job) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = job.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = ort.InferenceSession(job.onnx, options, providers=["CPUExecutionProvider"])
        self.binding = session.io_binding()
        for name, value in job.inputs.items():
            self.binding.bind_cpu_input(name, value)
        for output in session.get_outputs():
            self.binding.bind_output(output.name, "cpu")
        session.run_with_iobinding(self.binding)
        self.session = session

    def run(self) -> None:
        """Compute the outputs once."""
        self.session.run_with_iobinding(self.binding)

    def outputs(self) -> list[Array]:
        """The outputs of the last run."""
        return list(self.binding.copy_outputs_to_cpu())


class OpenVino:
    """An inference request in float32, tuned for latency, with inputs bound."""

    def __init__(self, job: Job) -> None:
        import openvino as ov

        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(job.threads),
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = ov.Core().compile_model(str(job.onnx), "CPU", options)
        self.request = compiled.create_infer_request()
        self.inputs = [ov.Tensor(value, shared_memory=True) for value in job.inputs.values()]
        for index, tensor in enumerate(self.inputs):
            self.request.set_input_tensor(index, tensor)
        self.count = len(compiled.outputs)

    def run(self) -> None:
        """Compute the outputs once."""
        self.request.infer(share_outputs=True)

    def outputs(self) -> list[Array]:
        """The outputs of the last run."""
        return [self.request.get_output_tensor(i).data.copy() for i in range(self.count)]


class Iree:
    """A compiled module in IREE's virtual machine, invoked below its Python conveniences."""

    def __init__(self, job: Job) -> None:
        import iree.runtime as rt

        driver = "local-sync" if job.threads == 1 else "local-task"
        if job.threads > 1:
            rt.flags.parse_flags(f"--task_topology_group_count={job.threads}")
        config = rt.Config(device=rt.get_device(driver))
        module = rt.VmModule.mmap(config.vm_instance, str(job.iree))
        context = rt.SystemContext(vm_modules=[module], config=config)
        names = [name for name in module.function_names if not name.startswith("__")]
        names = [name for name in names if not name.endswith("$async")]
        self.function = module.lookup_function(names[0])
        self.arguments = rt.VmVariantList(len(job.inputs))
        for value in job.inputs.values():
            array = rt.asdevicearray(config.device, value)
            self.arguments.push_ref(array._buffer_view)  # noqa: SLF001 - the leanest there is
        self.context, self.config, self.module, self.rt = context, config, module, rt
        self.results: Any = None

    def run(self) -> None:
        """Compute the outputs once."""
        self.results = self.rt.VmVariantList(1)
        self.context.vm_context.invoke(self.function, self.arguments, self.results)

    def outputs(self) -> list[Array]:
        """The outputs of the last run."""
        views = [
            self.results.get_as_object(i, self.rt.HalBufferView) for i in range(len(self.results))
        ]
        device = self.config.device
        return [self.rt.DeviceArray(device, view).to_host() for view in views]


RUNNERS: dict[str, Callable[[Job], Runner]] = {
    "tvmake": Tvmake,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "iree": Iree,
}
PACKAGES = {
    "tvmake": "apache-tvm",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "iree": "iree-base-compiler",
}


def compile_iree(onnx: Path, cache: Path) -> Path:
    """Compile a model by IREE for this machine, as its guide says; kept by content.

    Raises:
        RuntimeError: when IREE cannot.
    """
    options = [
        *("--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=llvm-cpu"),
        *("--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3"),
    ]
    # Operators of old versions are not all there; a newer model is left as it is.
    version = max(
        entry.version
        for entry in load(onnx, load_external_data=False).opset_import
        if not entry.domain
    )
    upgrade = ["--opset-version", str(_IREE_OPSET)] if version < _IREE_OPSET else []
    digest = hashlib.sha256(onnx.read_bytes())
    digest.update(repr([*options, *upgrade]).encode())
    digest.update(importlib.metadata.version(PACKAGES["iree"]).encode())
    compiled = cache / "iree" / f"{digest.hexdigest()[:16]}.vmfb"
    if not compiled.exists():
        compiled.parent.mkdir(parents=True, exist_ok=True)
        imported, scratch = compiled.with_suffix(".mlir"), compiled.with_suffix(".tmp")
        tools = Path(sys.executable).parent
        call([tools / "iree-import-onnx", onnx, "-o", imported, *upgrade])
        try:
            call([tools / "iree-compile", imported, "-o", scratch, *options])
        except RuntimeError:
            # It refuses kernels of its own that take more than 32 KiB of stack.
            limit = "--iree-llvmcpu-stack-allocation-limit=262144"
            call([tools / "iree-compile", imported, "-o", scratch, *options, limit])
        imported.unlink()
        scratch.replace(compiled)
    return compiled
