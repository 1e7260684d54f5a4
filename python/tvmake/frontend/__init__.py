"""Model files in, Relax out: one reader per file format."""

from __future__ import annotations

from collections.abc import Callable

from tvmake.errors import ModelError
from tvmake.spec import ModelSpec

from .imported import ImportedModel


def _read_onnx(spec: ModelSpec) -> ImportedModel:
    from .onnx_import import import_onnx

    return import_onnx(spec)


def _read_pt2(spec: ModelSpec) -> ImportedModel:
    from .pt2_program import require_torch

    require_torch(spec.model)
    from .pytorch import import_pt2

    return import_pt2(spec)


def _read_tflite(spec: ModelSpec) -> ImportedModel:
    from .tflite import import_tflite

    return import_tflite(spec)


_READERS: dict[str, Callable[[ModelSpec], ImportedModel]] = {
    ".onnx": _read_onnx,
    ".pt2": _read_pt2,
    ".tflite": _read_tflite,
}


def import_model(spec: ModelSpec) -> ImportedModel:
    """Read the spec's model file into a Relax module with static shapes.

    Raises:
        ModelError: when the file is missing, damaged or of no known format.
        UnsupportedError: when the model uses what tvmake cannot compile.
    """
    from .sizes import check_sizes

    if not spec.model.is_file():
        raise ModelError("the model file does not exist", where=str(spec.model))
    reader = _READERS.get(spec.model.suffix.lower())
    if reader is None:
        raise ModelError(
            f"'{spec.model.suffix}' is not a model format that tvmake reads",
            where=str(spec.model),
            expected=" ".join(_READERS),
        )
    model = reader(spec)
    check_sizes(model.module, spec.model)
    return model
