"""A compiled model against its format's own engine: every output, and the first that departs."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmake import manifest as manifests
from tvmake.errors import ArtifactError, SpecError, did_you_mean
from tvmake.preprocess import Image
from tvmake.reference import reference_outputs, seeded_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Array = np.ndarray[Any, Any]

# (relative, absolute) by element type; whole numbers must be equal.
_TOLERANCES = {"float16": (1e-2, 1e-3), "float32": (1e-4, 1e-5), "float64": (1e-6, 1e-9)}
_EXTENT = 7  # of a symbolic dimension that is left open: odd, and no multiple of a vector


@dataclass(frozen=True)
class Verification:
    """What to compare.

    Attributes:
        emulator: command that the harness is run with; empty to run it as it is.
        rtol: tolerance relative to the largest magnitude in the reference output; None for what
            suits the element type.
        atol: absolute tolerance, added to the relative one; None likewise.
        extents: of symbolic dimensions; others are 7, or their bound where that is less.
    """

    manifest: Path
    model: Path
    harness: Path
    work_dir: Path
    emulator: str
    weights: Path | None
    rtol: float | None
    atol: float | None
    seed: int
    extents: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Whether all outputs agree, and the report."""

    passed: bool
    text: str


def parse_extents(texts: Iterable[str]) -> dict[str, int]:
    """Read `SYMBOL=N` options.

    Raises:
        SpecError: when one is not of the form.
    """
    extents = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value.isdecimal() or int(value) == 0:
            raise SpecError(f"cannot read the extent '{text}'", expected="SYMBOL=N, such as N=4")
        extents[name] = int(value)
    return extents


def concrete(
    inputs: Sequence[manifests.TensorSpec], extents: Mapping[str, int]
) -> list[manifests.TensorSpec]:
    """The inputs with numbers in place of their symbolic dimensions.

    Raises:
        SpecError: when `extents` has a name that is no dimension of an input.
    """
    most = {
        dim: limit
        for tensor in inputs
        for dim, limit in zip(tensor.dims, tensor.max_shape, strict=True)
        if isinstance(dim, str)
    }
    for name in extents:
        if name not in most:
            raise SpecError(
                f"'{name}' is no symbolic dimension of an input",
                expected="one of: " + ", ".join(most) if most else "a model with some",
                fix=did_you_mean(name, most),
            )
    default = {
        name: _EXTENT if limit == manifests.UNKNOWN else min(limit, _EXTENT)
        for name, limit in most.items()
    }
    chosen = {**default, **extents}
    return [
        replace(
            tensor,
            shape=tuple(chosen[dim] if isinstance(dim, str) else dim for dim in tensor.dims),
        )
        for tensor in inputs
    ]


def run_verification(request: Verification) -> Result:
    """Run the harness on seeded inputs and compare its outputs with the reference engine's.

    Raises:
        ArtifactError: when the harness fails.
        ModelError: when the reference engine cannot run the model.
    """
    manifest = manifests.parse_manifest(request.manifest)[0]
    inputs = seeded_inputs(request.model, concrete(manifest.inputs, request.extents), request.seed)
    inputs |= _images(manifest, request.seed)
    prepared = _prepared(manifest, inputs)
    expected = reference_outputs(request.model, prepared, [out.name for out in manifest.outputs])
    shutil.rmtree(request.work_dir, ignore_errors=True)
    arguments = _save_inputs(request.work_dir / "inputs", inputs)
    outputs_dir = request.work_dir / "outputs"
    _run_harness(request, [*arguments, "--output-dir", str(outputs_dir)])
    lines, passed = [], True
    for index, output in enumerate(manifest.outputs):
        got = np.load(outputs_dir / f"{output.identifier}.npy")
        agrees, line = _compare(
            f"output {index} '{output.name}'", got, expected[output.name], request
        )
        passed &= agrees
        lines.append(line)
    if not passed:
        lines.append(_first_departure(request, manifest, prepared, arguments))
    return Result(passed, "\n".join(lines))


def _images(manifest: manifests.Manifest, seed: int) -> dict[str, Array]:
    """Random pixels for the inputs that are images."""
    generator = np.random.default_rng(seed)
    prepared = {entry.input for entry in manifest.preprocess}
    return {
        tensor.name: generator.integers(0, 256, tensor.shape).astype(tensor.dtype)
        for tensor in manifest.inputs
        if tensor.name in prepared
    }


def _prepared(manifest: manifests.Manifest, inputs: dict[str, Array]) -> dict[str, Array]:
    """The inputs as the model file has them: images prepared as PREPROCESS says."""
    prepared = dict(inputs)
    for entry in manifest.preprocess:
        values = Image.parse(entry.steps).apply(inputs[entry.input], entry.shape)
        if np.dtype(entry.dtype).kind != "f":
            limits = np.iinfo(entry.dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        prepared[entry.input] = values.astype(entry.dtype)
    return prepared


def _first_departure(
    request: Verification,
    manifest: manifests.Manifest,
    inputs: dict[str, Array],
    arguments: Sequence[str],
) -> str:
    trace_dir = request.work_dir / "trace"
    _run_harness(request, [*arguments, "--trace", str(trace_dir)])
    named = [
        (index, position, tensor)
        for index, call in enumerate(manifest.calls)
        for position, tensor in enumerate(call.onnx_outputs)
        if tensor
    ]
    tensors = list(dict.fromkeys(tensor for _, _, tensor in named))
    is_dynamic = any(tensor.is_dynamic for tensor in manifest.inputs)
    expected = reference_outputs(request.model, inputs, tensors, is_dynamic=is_dynamic)
    for index, position, tensor in named:
        path = trace_dir / f"{index}.{position}.npy"
        if tensor not in expected or not path.exists():
            continue  # not in the model as it was read, or of the branch that was not taken
        got = _unblocked(np.load(path), expected[tensor])
        agrees, line = _compare(f"tensor '{tensor}'", got, expected[tensor], request)
        if not agrees:
            call = manifest.calls[index]
            sources = ", ".join(f"{node.op_type} '{node.name}'" for node in call.sources)
            return (
                f"first kernel that departs: {call.name} (call {index}), from {sources}\n  {line}"
            )
    return "no kernel with a counterpart in the model departs by itself"


def _unblocked(got: Array, expected: Array) -> Array:
    """A kernel's result [N, C/b, H, W, b] as the model's [N, C, H, W]."""
    if got.ndim == 5 and expected.ndim == 4 and got.size == expected.size:
        got = got.transpose(0, 1, 4, 2, 3).reshape(expected.shape)
    return got


def _compare(label: str, got: Array, expected: Array, request: Verification) -> tuple[bool, str]:
    """Largest difference against atol + rtol * largest reference value; NaN must meet NaN."""
    if got.size != expected.size:
        return False, f"FAIL {label}: {got.size} elements, expected {expected.size}"
    actual, wanted = (np.asarray(a).reshape(-1).astype("float64") for a in (got, expected))
    same = (actual == wanted) | (np.isnan(actual) & np.isnan(wanted))
    finite = np.isfinite(wanted)
    scale = float(np.abs(wanted[finite]).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(actual - wanted))
    worst = (
        int(np.nanargmax(np.where(np.isnan(difference), np.inf, difference))) if same.size else 0
    )
    error = float(difference[worst]) if same.size else 0.0
    default_rtol, default_atol = _TOLERANCES.get(str(expected.dtype), (0.0, 0.0))
    rtol = default_rtol if request.rtol is None else request.rtol
    atol = default_atol if request.atol is None else request.atol
    limit = atol + rtol * scale
    agrees = bool(error <= limit)  # a NaN is no agreement
    verdict = "ok  " if agrees else "FAIL"
    where = np.unravel_index(worst, expected.shape) if expected.shape and not agrees else None
    place = "" if where is None else f" at {tuple(int(i) for i in where)}"
    return agrees, f"{verdict} {label}: largest error {error:.3g}{place}, allowed {limit:.3g}"


def _save_inputs(folder: Path, inputs: dict[str, Array]) -> list[str]:
    folder.mkdir(parents=True)
    arguments: list[str] = []
    for index, (name, value) in enumerate(inputs.items()):
        path = folder / f"{index}.npy"
        np.save(path, value)
        arguments += ["--input", f"{name}={path}"]
    return arguments


def _run_harness(request: Verification, arguments: Sequence[str]) -> None:
    command = [*shlex.split(request.emulator), str(request.harness), *arguments]
    if request.weights:
        command += ["--weights", str(request.weights)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ArtifactError(f"cannot run the harness: {error}", where=command[0]) from error
    if done.returncode:
        raise ArtifactError(
            f"the harness ended with status {done.returncode}: {done.stderr.strip()}",
            where=shlex.join(command),
        )
