"""Compiles rendered sources without CMake, to test them alone."""

from __future__ import annotations

import importlib.util
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CPP = Path(__file__).resolve().parents[2] / "cpp"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
C_COMPILERS = ("gcc", "clang")
CXX_COMPILERS = ("g++", "clang++")


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command and capture what it says."""
    return subprocess.run(
        [str(part) for part in command],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
    )


def check(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command that must succeed."""
    result = run(*command, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return result.stdout


def syntax(compiler: str, standard: str, source: Path, include: Path) -> str:
    """What the compiler says to a program over the rendered headers; nothing if all is well."""
    flags = (f"-std={standard}", *WARNINGS, "-fsyntax-only", "-I", CPP / "include", "-I", include)
    return run(compiler, *flags, source).stderr


def runtime(folder: Path) -> Path:
    """The executor, the C interface and the harness as an archive in `folder`."""
    left_out = {
        "graph_executor_module.cc",
        "env_symbols.cc",
    }  # want all of tvm-ffi; not needed here
    sources = [s for s in sorted((CPP / "src").glob("*.cc")) if s.name not in left_out]
    objects = [folder / f"{source.stem}.o" for source in sources]
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda pair: compile_cpp(*pair), zip(sources, objects, strict=True)))
    archive = folder / "libtvmake.a"
    check("ar", "rcs", archive, *objects)
    return archive


def compile_cpp(source: Path, output: Path, *flags: str) -> None:
    """Compile one file that uses the runtime."""
    includes = ("-I", CPP / "include", "-I", CPP / "src", "-isystem", package("tvm") / "include")
    ffi = ("-isystem", package("tvm_ffi") / "include")
    check(
        "g++", "-std=c++20", "-O1", *WARNINGS, *includes, *ffi, *flags, "-c", source, "-o", output
    )


def link(output: Path, *objects: Path) -> None:
    """Link a program to the tvm-ffi of the Python package."""
    library = package("tvm_ffi") / "lib"
    ffi = ("-L", library, "-ltvm_ffi", f"-Wl,-rpath,{library}", "-lpthread", "-ldl")
    check("g++", *objects, *ffi, "-o", output)
