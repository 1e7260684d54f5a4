"""A built model, called through its C interface: the product as users have it, nothing of TVM."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[Any, Any]


class _Options(ctypes.Structure):
    """tvmake_options of <tvmake/model.h>."""

    _fields_ = (
        ("struct_bytes", ctypes.c_size_t),
        ("num_threads", ctypes.c_int32),
        ("weights_path", ctypes.c_char_p),
    )


class _TensorInfo(ctypes.Structure):
    """tvmake_tensor_info."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("dtype_name", ctypes.c_char_p),
        ("dtype", ctypes.c_uint8 * 4),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("bytes", ctypes.c_size_t),
    )


class _CallView(ctypes.Structure):
    """tvmake_call_view, as far as it is read here."""

    _fields_ = (
        ("index", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("nanoseconds", ctypes.c_int64),
    )


_Observer = ctypes.CFUNCTYPE(None, ctypes.POINTER(_CallView), ctypes.c_void_p)


@dataclass(frozen=True)
class CallTime:
    """How long one kernel call of a run took."""

    index: int
    nanoseconds: int


class Model:
    """An open model. `run` is one call of a C function and nothing else."""

    def __init__(self, library: Path, name: str, threads: int, weights: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._name = name
        self._handle = ctypes.c_void_p()
        options = _Options(ctypes.sizeof(_Options), threads, str(weights).encode())
        error = ctypes.create_string_buffer(1024)
        status = self._function("create")(
            ctypes.byref(options), ctypes.byref(self._handle), error, ctypes.sizeof(error)
        )
        if status:
            raise RuntimeError(f"{library}: {error.value.decode()}")
        self._run = self._function("run")
        self._run.argtypes = [ctypes.c_void_p]

    def run(self) -> None:
        """Compute the outputs from the inputs."""
        self._check(self._run(self._handle))

    def run_observed(self) -> list[CallTime]:
        """The same, and how long each kernel call took, in order."""
        times: list[CallTime] = []

        def observe(view: Any, _: Any) -> None:
            times.append(CallTime(view.contents.index, view.contents.nanoseconds))

        self._check(self._function("run_observed")(self._handle, _Observer(observe), None))
        return times

    def set_inputs(self, values: Sequence[Array]) -> None:
        """Copy the inputs in, in the model's order."""
        for index, value in enumerate(values):
            data = np.ascontiguousarray(value)
            self._check(
                self._function("set_input")(
                    self._handle,
                    ctypes.c_size_t(index),
                    ctypes.c_void_p(data.ctypes.data),
                    ctypes.c_size_t(data.nbytes),
                )
            )

    def outputs(self) -> list[Array]:
        """Copies of the outputs."""
        count = self._function("output_count")()
        info = self._function("output_info")
        info.restype = ctypes.POINTER(_TensorInfo)
        results = []
        for index in range(count):
            tensor = info(ctypes.c_size_t(index)).contents
            shape = tuple(tensor.shape[axis] for axis in range(tensor.rank))
            result = np.empty(shape, tensor.dtype_name.decode())
            self._check(
                self._function("get_output")(
                    self._handle,
                    ctypes.c_size_t(index),
                    ctypes.c_void_p(result.ctypes.data),
                    ctypes.c_size_t(result.nbytes),
                )
            )
            results.append(result)
        return results

    def close(self) -> None:
        """Free the model and end its threads."""
        self._function("destroy")(self._handle)

    def _function(self, name: str) -> Any:
        return getattr(self._library, f"{self._name}_{name}")

    def _check(self, status: int) -> None:
        if status:
            text = self._function("last_error")
            text.restype = ctypes.c_char_p
            raise RuntimeError(text(self._handle).decode())
