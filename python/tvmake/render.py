"""Renders a compiled model's sources: `manifest.json` and `templates/` in, C and C++ out.

Rendering is pure: same manifest, same templates, same bytes. Files are replaced in one step, and
only if their content changed, so that a build tool sees what really changed.
"""

from __future__ import annotations

import json
import re
import textwrap
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .emit import files
from .errors import TvmakeError
from .manifest import Manifest, Source, TensorSpec, check_artifacts, parse_manifest
from .paths import PACKAGE_DIR, data_dir

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import jinja2

Kind = Literal["model", "harness", "wheel"]

# Template and output of each kind of source; {} is the model's, the harness's or the module's name.
SOURCES: dict[Kind, dict[str, str]] = {
    "model": {
        "model.h.j2": "include/{}.h",
        "model.hpp.j2": "include/{}.hpp",
        "model.cpp.j2": "src/{}.cpp",
    },
    "harness": {"harness.cpp.j2": "src/{}.cpp"},
    "wheel": {
        "wheel_module.cpp.j2": "src/{}_native.cpp",
        "wheel_init.py.j2": "{}/__init__.py",
        "wheel_native.pyi.j2": "{}/_native.pyi",
    },
}

COLUMNS = 100

# The functions of the C interface, as templates/model.h.j2 declares them.
_ABI_WORDS = (
    "create create_shared destroy set_input_shape input_view output_view set_input "
    "set_input_zero_copy set_output_zero_copy unbind_input unbind_output input_data run "
    "run_observed get_output output_data load_params share_params last_error num_threads "
    "arena_bytes weights_bytes input_count output_count input_info output_info input_index "
    "output_index call_count call_info info info_json"
)
ABI = tuple(_ABI_WORDS.split())

CPP_TYPES = {
    "bool": "bool",
    "float16": "tvmake::Float16",
    "bfloat16": "tvmake::BFloat16",
    "float32": "float",
    "float64": "double",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    # One element per byte: integers as their value, floats as their bits.
    **{f"{sign}int{bits}": f"{sign}int8_t" for sign in ("", "u") for bits in (2, 4)},
    **{f"float{name}": "uint8_t" for name in ("4_e2m1fn", "6_e2m3fn", "6_e3m2fn")},
    "float8_e4m3fn": "tvmake::Float8E4M3FN",
    "float8_e4m3fnuz": "tvmake::Float8E4M3FNUZ",
    "float8_e5m2": "tvmake::Float8E5M2",
    "float8_e5m2fnuz": "tvmake::Float8E5M2FNUZ",
    "float8_e8m0fnu": "tvmake::Float8E8M0",
}

# Names that generated code cannot give: to anything, and to members of the model class.
_RESERVED_WORDS = (
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t "
    "char32_t class compl concept const consteval constexpr constinit const_cast continue co_await "
    "co_return co_yield decltype default delete do double dynamic_cast else enum explicit export "
    "extern false float for friend goto if inline int long mutable namespace new noexcept not "
    "not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires "
    "return short signed sizeof static static_assert static_cast struct switch template this "
    "thread_local throw true try typedef typeid typename union unsigned using virtual void "
    "volatile wchar_t while xor xor_eq NULL EOF errno assert stdin stdout stderr linux unix "
    "Outputs"
)
RESERVED = frozenset(_RESERVED_WORDS.split())
_MODEL_MEMBERS_WORDS = (
    "BasicModel Handle Input InputView Model Output OutputView arena_bytes bind clone handle info "
    "input load_params num_threads output outputs resize run set share_params unbind values "
    "weights_bytes"
)
MODEL_MEMBERS = frozenset(_MODEL_MEMBERS_WORDS.split())


def render_model(manifest_path: Path, output_dir: Path) -> list[Path]:
    """Render the C interface, the C++ interface and the loader of a compiled model.

    Raises:
        ArtifactError: if the manifest is damaged, or does not fit the files beside it.
        TvmakeError: if an input or output cannot be expressed in C++.
    """
    manifest, document = parse_manifest(manifest_path)
    check_artifacts(manifest, manifest_path.parent)
    context = _model_context(manifest, document, manifest_path.parent)
    return render_sources("model", manifest.name, vars(context), output_dir)


def render_harness(manifest_path: Path, exe: str, output_dir: Path) -> list[Path]:
    """Render the main program of a compiled model's harness.

    Raises:
        ArtifactError: if the manifest is damaged.
    """
    manifest, _ = parse_manifest(manifest_path)
    return render_sources("harness", exe, {"manifest": manifest, "exe": exe}, output_dir)


def plan(kind: Kind, name: str) -> dict[str, list[str]]:
    """What rendering a model, a harness or a Python module called `name` writes and depends on.

    Outputs are relative to the output folder. The manifest is one more thing that it depends on.
    """
    templates = data_dir("templates")
    sources = ["emit/files.py", "errors.py", "manifest.py", "paths.py", "render.py"]
    if kind == "wheel":
        sources.append("render_wheel.py")
    return {
        "outputs": [output.format(name) for output in SOURCES[kind].values()],
        "depends": [
            *(str(templates / file) for file in ("banner.j2", *SOURCES[kind])),
            *(str(PACKAGE_DIR / file) for file in sources),
        ],
    }


def render_sources(kind: Kind, name: str, context: dict[str, Any], output_dir: Path) -> list[Path]:
    """Render all sources of one kind."""
    environment = template_environment()
    outputs = []
    for template, output in SOURCES[kind].items():
        path = output_dir / output.format(name)
        files.write(path, environment.get_template(template).render(context))
        outputs.append(path)
    return outputs


def template_environment() -> jinja2.Environment:
    """How all templates are read: strict, trimmed, with the filters below."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_dir("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # C++, not HTML
    )
    filters = (braces, c_string, comment, function, log2, pascal, runtime_symbol, wrap)
    environment.filters.update({filter_.__name__: filter_ for filter_ in filters})
    return environment


# What the templates see.


@dataclass(frozen=True)
class Tensor(TensorSpec):
    """A tensor with its C++ names.

    Attributes:
        view: its view type.
        member: its name among the inputs, or among the outputs.
        method: its name among the members of the model class.
    """

    view: str
    member: str
    method: str


@dataclass(frozen=True)
class Call:
    """A kernel call, as ranges in the tables of all calls' sources and results."""

    name: str
    kernel: str
    first_source: int
    source_count: int
    first_result: int
    result_count: int


@dataclass(frozen=True)
class ModelContext:
    """Everything that a model's templates can name."""

    manifest: Manifest
    guard: str
    abi: Sequence[str]
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    sources: Sequence[Source]
    results: Sequence[str | None]
    calls: Sequence[Call]
    graph_bytes: int
    info_json: str


def _model_context(manifest: Manifest, document: dict[str, Any], folder: Path) -> ModelContext:
    reserved = RESERVED.intersection(manifest.namespace.split("::"))
    if reserved:
        raise TvmakeError(
            f"the namespace {manifest.namespace!r} contains the C++ keyword {min(reserved)!r}",
            fix="choose another NAMESPACE",
        )
    methods = set(RESERVED | MODEL_MEMBERS)
    return ModelContext(
        manifest=manifest,
        guard=manifest.name.upper(),
        abi=ABI,
        inputs=cpp_tensors(manifest.inputs, "", methods),
        outputs=cpp_tensors(manifest.outputs, "const ", methods),
        sources=[source for call in manifest.calls for source in call.sources],
        results=[result for call in manifest.calls for result in call.onnx_outputs],
        calls=list(_calls(manifest)),
        graph_bytes=(folder / manifest.graph.file).stat().st_size,
        info_json=_info_json(document),
    )


def cpp_tensors(tensors: Sequence[TensorSpec], const: str, methods: set[str]) -> list[Tensor]:
    """The tensors with their C++ names; `methods` are the names that are taken, and grows."""
    members = set(RESERVED)
    typed = []
    for tensor in tensors:
        if tensor.dtype not in CPP_TYPES:
            raise TvmakeError(
                f"'{tensor.name}' has elements of type {tensor.dtype}, for which C++ has no type",
                expected=" ".join(CPP_TYPES),
                fix="cast it inside the model",
            )
        arguments = ", ".join([const + CPP_TYPES[tensor.dtype], *map(str, tensor.shape)])
        member = _unique(tensor.identifier, members)
        method = _unique(member, methods, "_out" if const else "_")
        kind = "DynamicTensor" if tensor.is_dynamic else "Tensor"
        view = f"tvmake::{kind}<{arguments}>"
        typed.append(Tensor(**vars(tensor), view=view, member=member, method=method))
    return typed


def _unique(name: str, taken: set[str], suffix: str = "_") -> str:
    """The name, with a suffix if it is taken; taken from now on."""
    while name in taken:
        name += suffix
    taken.add(name)
    return name


def _calls(manifest: Manifest) -> Iterator[Call]:
    source = result = 0
    for call in manifest.calls:
        counts = len(call.sources), len(call.onnx_outputs)
        yield Call(call.name, call.kernel, source, counts[0], result, counts[1])
        source += counts[0]
        result += counts[1]


def _info_json(document: dict[str, Any]) -> str:
    """The manifest without its tables, one line per key; plain ASCII, fit for a raw string."""
    keys = (
        "name",
        "executor",
        "executor_reason",
        "model",
        "versions",
        "target",
        "inputs",
        "outputs",
    )
    lines = (
        f"{json.dumps(key)}: {json.dumps(document[key])}" for key in (*keys, "memory", "weights")
    )
    return "{" + ",\n ".join(lines) + "}"


# Filters.


def c_string(text: str | None) -> str:
    """A C string literal of the text's UTF-8 bytes, safe from trigraphs; `nullptr` for None."""
    if text is None:
        return "nullptr"
    characters = map(chr, text.encode("utf-8", "surrogatepass"))
    return f'"{"".join(map(_escaped, characters))}"'


def _escaped(character: str) -> str:
    if " " <= character <= "~":
        return {'"': r"\"", "\\": r"\\", "?": r"\?"}.get(character, character)
    return f"\\{ord(character):03o}"


def comment(text: str) -> str:
    """The text on one line, unable to begin or end a comment."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return re.sub(r"(?<=\*)(?=/)|(?<=/)(?=\*)|(?<=\?)(?=\?)", " ", line)


def braces(values: Sequence[object]) -> str:
    """A braced initializer."""
    return f"{{{', '.join(map(str, values))}}}"


def function(signature: str, body: str, indent: int = 0) -> str:
    """The definition of a short function, as clang-format breaks it."""
    line = f"{signature} {{ {body} }}"
    if indent + len(line) <= COLUMNS:
        return line
    margin = " " * indent
    if indent + len(f"{signature} {{") > COLUMNS:
        signature = re.sub(r"\((?!\))", f"(\n{margin}    ", signature, count=1)
    return f"{signature} {{\n{margin}  {body}\n{margin}}}"


def wrap(parts: Sequence[str], end: str = "", indent: int = 0) -> str:
    """A list, as clang-format breaks it: what opens it, its items, and the end after the last.

    Items fill lines, aligned after the opening bracket, or below it where that leaves no room.
    """
    opening, *items = (part.replace(" ", "\0") for part in parts)
    room = COLUMNS - indent - len(opening) - len(end)
    below = bool(items) and max(map(len, items)) > room
    aligned = " " * (indent + 4 if below else indent + len(opening))
    first = "" if below else " " * indent + opening
    lines = textwrap.wrap(
        first + ", ".join(items) + end,
        COLUMNS,
        initial_indent=aligned if below else "",
        subsequent_indent=aligned,
        break_long_words=False,
        break_on_hyphens=False,
    )
    text = "\n".join([opening, *lines] if below else [lines[0][indent:], *lines[1:]])
    return text.replace("\0", " ")


def log2(value: int) -> int:
    """The exponent of a power of two."""
    return value.bit_length() - 1


def pascal(name: str) -> str:
    """`set_input` as `SetInput`."""
    return "".join(part.capitalize() for part in name.split("_"))


def runtime_symbol(variable: str) -> str:
    """The runtime's function that a kernel's `__TVMBackend…` variable points to."""
    return variable.removeprefix("__")
