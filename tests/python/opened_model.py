"""Compiles a model and runs it in the C++ executor, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm_ffi

from python.onnx_models import spec
from tvmake import loader
from tvmake.compiler import CompiledModel, compile_model, default_cache_dir, emit

if TYPE_CHECKING:
    from pathlib import Path

    Array = np.ndarray[Any, Any]


@dataclass
class OpenedModel:
    """A compiled model, open."""

    compiled: CompiledModel
    module: Any

    def run(self, **inputs: Array) -> list[Array]:
        """Run once; outputs in order."""
        for name, value in inputs.items():
            self.module["set_input"](name, tvm_ffi.from_dlpack(np.require(value, requirements="C")))
        self.module["run"]()
        count = self.module["get_num_outputs"]()
        return [np.from_dlpack(self.module["get_output"](i)).copy() for i in range(count)]


def open_model(folder: Path, path: Path, *inputs: str, **options: Any) -> OpenedModel:
    """Compile a model, and open it."""
    compiled = compile_model(spec(path, *inputs, **options))
    emit(compiled, folder / "out", default_cache_dir())
    return OpenedModel(compiled, loader.open_model(folder / "out", default_cache_dir(), 1))
