"""Writes the first files of a project around a model: `tvmake new app` and `tvmake new wheel`."""

from __future__ import annotations

import keyword
import re
import shutil
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .emit import files
from .emit.dtype import dlpack_type
from .emit.manifest import identifier
from .errors import ModelError, SpecError, TvmakeError
from .manifest import TensorSpec
from .render import MODEL_MEMBERS, RESERVED, cpp_tensors, template_environment
from .spec import InputSpec

if typing.TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ValueInfoProto

Kind = Literal["app", "wheel"]

# Templates of each kind of project; the model is copied beside them.
FILES: dict[Kind, tuple[str, ...]] = {
    "app": ("CMakeLists.txt", "main.cpp"),
    "wheel": ("CMakeLists.txt", "pyproject.toml"),
}

# What to type next; {} is the project's folder, or the Python package.
NEXT: dict[Kind, str] = {
    "app": (
        "  cmake -S {0} -B {0}/build -DCMAKE_BUILD_TYPE=Release "
        '-Dtvmake_DIR="$(tvmake --cmake-dir)"\n'
        "  cmake --build {0}/build\n"
        "  {0}/build/{1}"
    ),
    "wheel": '  pip install {0}\n  python -c "import {1}; print({1}.info())"',
}

# Names that a package cannot have, because it imports them.
_TAKEN_MODULES = ("numpy", "json", "collections")


@dataclass(frozen=True)
class Tensor:
    """An input or output in the program."""

    text: str
    member: str
    method: str


@dataclass(frozen=True)
class Project:
    """Everything that the templates can name.

    Attributes:
        name: of the project.
        target: of the model's CMake target; of the Python package.
        file: the model file's name.
        inputs_clause: what goes behind MODEL in CMake.
    """

    name: str
    target: str
    file: str
    inputs_clause: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]


def create(kind: Kind, folder: Path, model: Path, inputs: Sequence[str]) -> str:
    """Write a project into a new folder, whose name is the project's.

    Args:
        kind: what it builds.
        folder: to be made; it may exist if it is empty.
        model: the model file, which is copied into it.
        inputs: shapes of inputs that the file leaves open, as `name=dtype[d0,d1,…]`.

    Returns:
        The commands that build it.

    Raises:
        TvmakeError: if the name, the model or the inputs will not do, or the folder is in use.
    """
    name = folder.name
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise SpecError(
            f"the project's name is '{name}'",
            expected="a letter, then letters, digits, '_' and '-'",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TvmakeError(
            "the folder is in use", where=str(folder), fix="choose another name, or remove it"
        )
    project, sources = _project(kind, name, model, inputs)
    for file in sources:
        path = folder / file.relative_to(model.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, path)
    environment = template_environment()
    for file_name in FILES[kind]:
        template = environment.get_template(f"new/{kind}/{file_name}.j2")
        files.write(folder / file_name, template.render(vars(project)))
    path_text = str(folder) if folder.is_absolute() else f"./{folder}"  # not a name in an index
    return NEXT[kind].format(path_text, name if kind == "app" else project.target)


def _project(
    kind: Kind, name: str, model: Path, inputs: Sequence[str]
) -> tuple[Project, list[Path]]:
    from .frontend import onnx_file

    if not model.is_file():
        raise ModelError("the model file does not exist", where=str(model))
    specs = [InputSpec.parse(text) for text in inputs]
    proto, files = onnx_file.read(model)
    onnx_file.fix_inputs(proto, specs, model)
    methods = set(RESERVED | MODEL_MEMBERS)
    clause = "".join(f'\n  "{spec}"' for spec in specs)
    return (
        Project(
            name=name,
            target=_target(kind, name, model),
            file=model.name,
            inputs_clause=f"\n  INPUTS{clause}\n " if clause else "",
            inputs=_tensors(onnx_file.graph_inputs(proto.graph), "", methods),
            outputs=_tensors(proto.graph.output, "const ", methods),
        ),
        [Path(file) for file in files],
    )


def _target(kind: Kind, name: str, model: Path) -> str:
    """A name for the model that is an identifier in C++ and Python, and no other target's."""
    source = name if kind == "wheel" else model.stem
    target = re.sub(r"[^A-Za-z0-9_]", "_", source)
    if not re.match(r"[A-Za-z_]", target):
        target = f"model_{target}"
    taken = (name,) if kind == "app" else _TAKEN_MODULES
    if target in taken or target in RESERVED or keyword.iskeyword(target):
        target += "_model"
    return target


def _tensors(values: Sequence[ValueInfoProto], const: str, methods: set[str]) -> list[Tensor]:
    from .frontend import onnx_file

    taken: set[str] = set()
    specs = []
    for value in values:
        dtype = onnx_file.dtype_name(value.type.tensor_type.elem_type)
        code, bits, lanes = dlpack_type(dtype)
        name = identifier(value.name, taken)
        specs.append(TensorSpec(value.name, name, dtype, code, bits, lanes, (), (), (), 0))
    typed = cpp_tensors(specs, const, methods)
    return [
        Tensor(onnx_file.show(value), tensor.member, tensor.method)
        for value, tensor in zip(values, typed, strict=True)
        # The halves have no conversion to print them with.
        if not const or "float16" not in tensor.dtype
    ]
