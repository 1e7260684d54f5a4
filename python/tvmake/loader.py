"""Compiled models opened in this process, by the executor that model libraries have inside.

Linking a model library proper takes a C++ compiler seconds. Here only the kernels are linked; the
executor is in a library that is built once and kept in the cache folder.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tvmake.emit import files
from tvmake.errors import TvmakeError
from tvmake.manifest import check_artifacts, parse_manifest
from tvmake.paths import data_dir

if TYPE_CHECKING:
    import tvm_ffi

_LIBRARY = "libtvmake_loader.so"
_BUILD_SCRIPTS = ("tvmake_runtime.cmake", "private/components.cmake", "private/library.cmake")


def open_model(folder: Path, cache_dir: Path, num_threads: int = 0) -> tvm_ffi.Module:
    """Open the artifacts in a folder.

    Args:
        folder: where `tvmake compile` wrote them. Its files may be deleted afterwards.
        cache_dir: where the executor's library is kept.
        num_threads: that a run may use; 0 for one per CPU.

    Returns:
        A module with the functions that docs/graph-executor.md lists. The model stays in memory
        until the process ends.

    Raises:
        ArtifactError: when files are missing, damaged or do not belong together.
        TvmakeError: when the C++ compiler fails.
    """
    manifest, _ = parse_manifest(folder / "manifest.json")
    check_artifacts(manifest, folder)
    module: tvm_ffi.Module = _loader(cache_dir)["open"](
        manifest.name,
        (folder / manifest.graph.file).read_text(encoding="utf-8"),
        str(_link(folder / manifest.kernels.file)),
        str(folder / manifest.weights.file),
        [kernel.name for kernel in manifest.kernels.functions],
        [kernel.symbol for kernel in manifest.kernels.functions],
        list(manifest.target.required_cpu_features),
        num_threads,
    )
    return module


def _link(kernels: Path) -> Path:
    library = kernels.with_suffix(".so")
    # Each model's kernels call their own copies of the variables that TVM gives every object.
    _call([_compiler(), "-shared", "-Wl,-Bsymbolic", "-o", str(library), str(kernels), "-lm"])
    return library


@functools.cache
def _loader(cache_dir: Path) -> tvm_ffi.Module:
    import tvm_ffi

    folder = cache_dir / "loader" / _key()
    if not (folder / _LIBRARY).exists():
        _build(folder)
    return tvm_ffi.load_module(str(folder / _LIBRARY))


def _build(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as build:
        options = ("-DCMAKE_BUILD_TYPE=Release", f"-DTVMAKE_PYTHON={sys.executable}")
        source, package = data_dir("cpp") / "loader", data_dir("cmake")
        _call(["cmake", f"-S{source}", f"-B{build}", f"-Dtvmake_DIR={package}", *options])
        _call(["cmake", "--build", build, "--parallel"])
        files.write(folder / _LIBRARY, (Path(build) / _LIBRARY).read_bytes())


def _key() -> str:
    """What the library is made of: sources, their versions, and the C++ compiler."""
    digest = hashlib.sha256(_call([_compiler(), "--version"]).encode())
    for name in ("apache-tvm", "apache-tvm-ffi"):
        digest.update(importlib.metadata.version(name).encode())
    scripts = (data_dir("cmake") / name for name in _BUILD_SCRIPTS)
    for path in (*sorted(data_dir("cpp").rglob("*")), *scripts):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _compiler() -> str:
    return os.environ.get("CXX", "c++")


def _call(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except OSError as error:
        raise TvmakeError(
            f"cannot run {command[0]}: {error.strerror}", fix="tvmake doctor tells what is missing"
        ) from error
    if done.returncode:
        raise TvmakeError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    return done.stdout
