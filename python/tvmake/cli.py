"""The command line: the only place that prints and exits.

Heavy imports (TVM, ONNX) happen inside the commands that need them.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tvmake import __version__
from tvmake.errors import TvmakeError

app = typer.Typer(
    name="tvmake",
    help="Turn a model file into a C++ library that your product links.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ModelArgument = Annotated[Path, typer.Argument(help="The model file.", metavar="MODEL")]
InputsOption = Annotated[
    list[str] | None,
    typer.Option("--input", help="Fix an input: name=dtype[d0,d1,…] or name=value. Repeatable."),
]
OutputsOption = Annotated[
    list[str] | None,
    typer.Option("--output", help="Keep this tensor as an output. Repeatable."),
]


def main() -> None:
    """Run the command line; errors in the user's input end with status 1 and one message."""
    try:
        app()
    except TvmakeError as error:
        _fail(error)


def _fail(error: TvmakeError) -> NoReturn:
    sys.stderr.write(f"tvmake: error: {error}\n")
    sys.exit(1)


def _print_and_exit(text: str) -> NoReturn:
    typer.echo(text)
    raise typer.Exit


def _version_option(requested: bool) -> None:
    if requested:
        _print_and_exit(f"tvmake {__version__}")


def _cmake_dir_option(requested: bool) -> None:
    if requested:
        from tvmake.paths import data_dir

        _print_and_exit(str(data_dir("cmake")))


def _toolchain_option(name: str | None) -> None:
    if name is not None:
        from tvmake.toolchains import toolchain_file

        _print_and_exit(str(toolchain_file(name)))


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version_option, is_eager=True, help="Print the version."
        ),
    ] = False,
    cmake_dir: Annotated[
        bool,
        typer.Option(
            "--cmake-dir",
            callback=_cmake_dir_option,
            is_eager=True,
            help="Print the folder for -Dtvmake_DIR=….",
        ),
    ] = False,
    toolchain: Annotated[
        str | None,
        typer.Option(
            "--toolchain",
            callback=_toolchain_option,
            is_eager=True,
            help="Print the toolchain file NAME, for CMAKE_TOOLCHAIN_FILE.",
            metavar="NAME",
        ),
    ] = None,
) -> None:
    del version, cmake_dir, toolchain  # handled by their callbacks


@app.command("compile")
def compile_command(
    model: Annotated[Path | None, typer.Argument(help="The model file.", metavar="MODEL")] = None,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", help="Folder for the artifacts.")
    ] = Path(),
    name: Annotated[
        str | None, typer.Option(help="Name of the model. Default: the file's.")
    ] = None,
    inputs: InputsOption = None,
    outputs: OutputsOption = None,
    triple: Annotated[
        str | None, typer.Option("--triple", "-mtriple", help="Target triple. Default: this host.")
    ] = None,
    cpu: Annotated[
        str,
        typer.Option(
            "--cpu",
            "-mcpu",
            help="Target CPU as LLVM names it, or native. Default: the triple's baseline.",
        ),
    ] = "",
    features: Annotated[
        list[str] | None, typer.Option("--feature", "-mattr", help="+name or -name. Repeatable.")
    ] = None,
    preprocess: Annotated[
        list[str] | None,
        typer.Option(help="Take an input as an image: name=image(uint8, HWC, …). Repeatable."),
    ] = None,
    weights: Annotated[str, typer.Option(help="EMBED or FILE.")] = "EMBED",
    optimize: Annotated[str, typer.Option(help="SPEED, SIZE or PRECISE.")] = "SPEED",
    executor: Annotated[
        str, typer.Option(help="graph (static shapes), vm (dynamic ones), or auto.")
    ] = "auto",
    spec: Annotated[
        Path | None, typer.Option(help="Read the request from this spec.json instead.")
    ] = None,
    depfile: Annotated[Path | None, typer.Option(help="Write the files read, for Ninja.")] = None,
    dump_dir: Annotated[
        Path | None, typer.Option(help="Write every stage's result into this folder.")
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Folder of compiled kernels. Default: the user's cache.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only tell inputs and outputs, as JSON.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary.")] = False,
) -> None:
    """Compile MODEL into kernels.o, weights.bin, graph.json and manifest.json."""
    from tvmake import compiler
    from tvmake.spec import ModelSpec, TargetSpec, load_spec
    from tvmake.target import host_triple

    if plan:
        from tvmake.sources import compiler_sources

        if spec is not None:
            load_spec(spec)  # what is wrong with the request itself is told at once
        typer.echo(json.dumps({"outputs": list(compiler.ARTIFACTS), "depends": compiler_sources()}))
        return
    if (spec is None) == (model is None):
        raise typer.BadParameter("give either MODEL or --spec")
    if spec is not None:
        request = load_spec(spec)
    else:
        assert model is not None
        request = ModelSpec.from_options(
            model,
            name=name,
            target=TargetSpec(triple or host_triple(), cpu, tuple(features or ())),
            inputs=inputs or [],
            outputs=outputs or [],
            weights=weights,
            preprocess=preprocess or [],
            optimize=optimize,
            executor=executor,
        )
    from tvmake.dump import Dump

    if request.model.suffix.lower() != ".pt2":
        _import_tvm_without_torch()
    compiled = compiler.compile_model(request, Dump(dump_dir) if dump_dir else None)
    cache = cache_dir or compiler.default_cache_dir()
    compiler.emit(compiled, output_dir, cache, compiler.usable_cores())
    if depfile:
        compiler.write_depfile(depfile, output_dir, compiled.imported.files)
    name_and_reason = compiled.executor
    if request.executor == "auto" and name_and_reason[0] != "graph" and quiet:
        typer.echo(f"{request.name}: executor {name_and_reason[0]}: {name_and_reason[1]}")
    if not quiet:
        from tvmake.report import compile_summary

        typer.echo(compile_summary(compiled))


def _import_tvm_without_torch() -> None:
    """Import TVM, which imports PyTorch wherever that is installed; this takes it seconds.

    Only here, where the process is tvmake's own: other threads would miss PyTorch meanwhile.
    """
    sys.modules["torch"] = None  # type: ignore[assignment] # to import it is an ImportError
    try:
        importlib.import_module("tvm")
    finally:
        del sys.modules["torch"]


@app.command("export")
def export_command(
    factory: Annotated[
        str, typer.Argument(help="What makes the PyTorch model.", metavar="MODULE:FUNCTION")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .pt2 file to write.")],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            help="An input of forward(), in order: dtype[d0,d1,…]; a name stands for any size.",
        ),
    ],
) -> None:
    """Write a PyTorch model as a .pt2 file (torch.export)."""
    from tvmake.export import export_model

    export_model(factory, inputs, output)


@app.command()
def render(
    manifest: Annotated[Path, typer.Option(help="The compiled model's manifest.json.")],
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", help="Folder to write to.")
    ] = Path(),
    name: Annotated[
        str | None, typer.Option(help="The model's name, for --plan. Default: the folder's.")
    ] = None,
    harness: Annotated[
        str | None, typer.Option(help="Render a harness program of this name instead.")
    ] = None,
    wheel: Annotated[
        str | None, typer.Option(help="Render a Python module of this name instead.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only tell inputs and outputs, as JSON.")
    ] = False,
) -> None:
    """Render a compiled model's C and C++ sources."""
    from tvmake import render as renderer

    if plan:
        kind: renderer.Kind = "wheel" if wheel else "harness" if harness else "model"
        typer.echo(
            json.dumps(renderer.plan(kind, wheel or harness or name or manifest.parent.name))
        )
    elif wheel:
        from tvmake.render_wheel import render_module

        render_module(manifest, wheel, output_dir)
    elif harness:
        renderer.render_harness(manifest, harness, output_dir)
    else:
        renderer.render_model(manifest, output_dir)


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="app or wheel.", metavar="KIND")],
    folder: Annotated[Path, typer.Argument(help="The project's folder and name.", metavar="NAME")],
    model: Annotated[Path, typer.Option(help="The model file; it is copied.")],
    inputs: InputsOption = None,
) -> None:
    """Write a new project around a model: a C++ program (app) or a Python package (wheel)."""
    from tvmake.errors import SpecError, did_you_mean
    from tvmake.new import FILES, create

    if kind not in FILES:
        raise SpecError(
            f"there is no kind of project called '{kind}'",
            expected=" ".join(FILES),
            fix=did_you_mean(kind, FILES),
        )
    commands = create(kind, folder, model, inputs or [])
    typer.echo(f"{folder} is made. To build it:\n{commands}")


@app.command()
def sbom(
    manifest: Annotated[Path, typer.Option(help="The compiled model's manifest.json.")],
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", help="Folder to write to.")
    ] = Path(),
    name: Annotated[
        str | None, typer.Option(help="Name of the product. Default: the folder's.")
    ] = None,
    version: Annotated[str, typer.Option(help="Version of the product.")] = "0.0.0",
    license_expression: Annotated[
        str | None, typer.Option("--license", help="Its licence, as an SPDX expression.")
    ] = None,
    packages: Annotated[
        list[str] | None, typer.Option("--with", help="One more package inside. Repeatable.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only tell inputs and outputs, as JSON.")
    ] = False,
) -> None:
    """Write a compiled model's bill of materials (CycloneDX) and the licences of what is inside."""
    from tvmake import sbom as bill

    product = bill.Product(
        name or manifest.absolute().parent.name, version, license_expression, tuple(packages or ())
    )
    if plan:
        typer.echo(json.dumps(bill.plan(product)))
    else:
        bill.write(manifest, product, output_dir)


@app.command()
def verify(
    manifest: Annotated[Path, typer.Option(help="The compiled model's manifest.json.")],
    model: Annotated[Path, typer.Option(help="The model file it was compiled from.")],
    harness: Annotated[Path, typer.Option(help="The model's harness program.")],
    work_dir: Annotated[Path, typer.Option(help="Folder for inputs, outputs and traces.")],
    emulator: Annotated[str, typer.Option(help="Command that runs the harness.")] = "",
    weights: Annotated[Path | None, typer.Option(help="Weights file, if not embedded.")] = None,
    rtol: Annotated[
        float | None,
        typer.Option(help="Relative to the output's largest value. Default: by element type."),
    ] = None,
    atol: Annotated[
        float | None, typer.Option(help="Absolute tolerance. Default: by element type.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 0,
    extent: Annotated[
        list[str] | None,
        typer.Option(help="SYMBOL=N: what a symbolic dimension is in this run. Repeatable."),
    ] = None,
) -> None:
    """Run the harness on seeded inputs and compare every output with onnxruntime."""
    from tvmake.verify import Verification, parse_extents, run_verification

    request = Verification(
        *(manifest, model, harness.absolute(), work_dir, emulator, weights, rtol, atol, seed),
        parse_extents(extent or ()),
    )
    result = run_verification(request)
    typer.echo(result.text)
    if not result.passed:
        raise typer.Exit(1)


@app.command()
def inspect(
    model: ModelArgument,
    inputs: InputsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a model's inputs, outputs and operators, its cost, and what of it can be compiled."""
    from tvmake.inspection import inspect_model
    from tvmake.spec import InputSpec

    fixed = tuple(InputSpec.parse(text) for text in inputs or ())
    typer.echo(inspect_model(model, fixed, as_json=as_json))


@app.command()
def doctor(
    target: Annotated[
        str | None,
        typer.Option(help="Also check what this toolchain needs, e.g. aarch64-linux-gnu."),
    ] = None,
) -> None:
    """Check that everything tvmake needs is there, and say how to get what is missing."""
    from tvmake.doctor import diagnose

    report = diagnose(target)
    typer.echo(report.text)
    if not report.healthy:
        raise typer.Exit(1)
