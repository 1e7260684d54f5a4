"""Renders the sources of a Python module around a compiled model."""

from __future__ import annotations

import keyword
import typing
from dataclasses import dataclass
from pathlib import Path

from .errors import TvmakeError
from .manifest import Manifest, TensorSpec, parse_manifest
from .render import comment, render_sources

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# NumPy's types; it has none for the others that a model can have.
_NUMPY_TYPES = {
    "bool": "np.bool_",
    **{name: f"np.{name}" for name in ("float16", "float32", "float64")},
    **{f"{sign}int{bits}": f"np.{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    # One element per byte.
    **{f"{sign}int{bits}": f"np.{sign}int8" for sign in ("", "u") for bits in (2, 4)},
    **{f"float{name}": "np.uint8" for name in ("4_e2m1fn", "6_e2m3fn", "6_e3m2fn")},
}


@dataclass(frozen=True)
class ModuleTensor(TensorSpec):
    """A tensor with what Python calls it.

    Attributes:
        keyword: its name as an argument of `run`, or as a field of the results.
        array: the type of its NumPy array.
    """

    keyword: str
    array: str


@dataclass(frozen=True)
class ModuleContext:
    """Everything that a module's templates can name."""

    manifest: Manifest
    module: str
    inputs: Sequence[ModuleTensor]
    outputs: Sequence[ModuleTensor]
    names: Sequence[str]
    run_signature: str
    run_doc: str


def render_module(manifest_path: Path, module: str, output_dir: Path) -> list[Path]:
    """Render the C++ source, the package's `__init__.py` and the type stub of a Python module.

    Raises:
        ArtifactError: if the manifest is damaged.
        TvmakeError: if an output has elements that NumPy has no type for.
    """
    manifest, _ = parse_manifest(manifest_path)
    return render_sources("wheel", module, vars(module_context(manifest, module)), output_dir)


def module_context(manifest: Manifest, module: str) -> ModuleContext:
    """What the templates see of a module called `module`."""
    for tensor in manifest.outputs:
        if tensor.dtype not in _NUMPY_TYPES:
            raise TvmakeError(
                f"the output '{tensor.name}' has elements of type {tensor.dtype}, "
                "for which NumPy has no type",
                expected=" ".join(_NUMPY_TYPES),
                fix="cast it inside the model",
            )
    inputs = list(_tensors(manifest.inputs))
    outputs = list(_tensors(manifest.outputs))
    names = ["Model", "ModelError", *(["Outputs"] if len(outputs) > 1 else []), "info"]
    return ModuleContext(
        manifest=manifest,
        module=module,
        inputs=inputs,
        outputs=outputs,
        names=names,
        run_signature=_run_signature(inputs, outputs),
        run_doc=_run_doc(inputs, outputs),
    )


def _tensors(tensors: Sequence[TensorSpec]) -> Iterator[ModuleTensor]:
    taken = {"self"}
    for tensor in tensors:
        name = tensor.identifier.lstrip("_") or "x"  # a field of a named tuple has none in front
        while keyword.iskeyword(name) or name in taken:
            name += "_"
        taken.add(name)
        array = f"NDArray[{_NUMPY_TYPES.get(tensor.dtype, 'Any')}]"
        yield ModuleTensor(**vars(tensor), keyword=name, array=array)


def _run_signature(inputs: Sequence[ModuleTensor], outputs: Sequence[ModuleTensor]) -> str:
    arguments = "".join(f", {tensor.keyword}: numpy.ndarray" for tensor in inputs)
    result = "numpy.ndarray" if len(outputs) == 1 else "Outputs"
    return f"def run(self{arguments}) -> {result}"


def _run_doc(inputs: Sequence[ModuleTensor], outputs: Sequence[ModuleTensor]) -> str:
    lines = ["Compute the outputs. Without arguments: from what is in `inputs`.", ""]
    for label, tensors in (("Args", inputs), ("Returns", outputs)):
        lines.append(f"{label}:")
        lines += [
            f"    {tensor.keyword}: {tensor.dtype}[{','.join(map(str, tensor.dims))}], "
            f"'{_ascii(tensor.name)}' in the model file"
            for tensor in tensors
        ]
    return "\n".join(lines)


def _ascii(text: str) -> str:
    """Fit for a raw string literal."""
    return comment(text).encode("ascii", "backslashreplace").decode().replace(')doc"', ")doc")
