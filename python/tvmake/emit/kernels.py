"""Kernels to one relocatable object, by LLVM, for the target; compiled once per content."""

from __future__ import annotations

import hashlib
import inspect
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tvm
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from filelock import FileLock

from tvmake.emit import codegen, files, stack
from tvmake.emit.elf import rename_symbols
from tvmake.errors import UnsupportedError
from tvmake.kernels import vector_math

if TYPE_CHECKING:
    from tvmake.target import Target

SYMBOL_PREFIX = "__tvm_ffi_"

# What a kernel's code calls through variables that the loader fills in.
_BACKEND = {
    "__TVMBackendParallelLaunch",
    "__TVMBackendParallelBarrier",
    "__TVMBackendAllocWorkspace",
    "__TVMBackendFreeWorkspace",
    "__TVMFFIErrorSetRaisedFromCStr",
}
# Defined in the object, but nothing that a kernel of ours calls: the module's own handle, and an
# alias that TVM gives to the one function of a module with one.
_IGNORED = {"__tvm_ffi__library_ctx", "__tvm_ffi_main"}


@dataclass(frozen=True)
class KernelObject:
    """What is in kernels.o.

    Attributes:
        symbols: kernel name -> symbol.
        backend_symbols: variables that must be bound before the first call.
    """

    symbols: dict[str, str]
    backend_symbols: tuple[str, ...]


def write_kernels(
    path: Path, kernels: dict[str, tvm.tirx.PrimFunc], target: Target, prefix: str, cache: Path
) -> KernelObject:
    """Compile kernels into `path`, or take the object from the cache.

    Args:
        path: the object file to write.
        kernels: prim funcs by name.
        target: the machine to compile for.
        prefix: put before every name, so that models can be linked into one program.
        cache: folder of compiled objects by content.

    Raises:
        UnsupportedError: when the code generator needs a runtime function that there is not.
    """
    if not kernels:  # a model of views only; LLVM has nothing to compile, the build wants a file
        kernels = {"nothing": _empty_kernel()}
    # Without the prefix, so that models of the same kernels share what is in the cache.
    module = tvm.IRModule(
        {name: kernels[name].with_attr("global_symbol", name) for name in sorted(kernels)}
    )
    cached = cache / f"{_key(module, target)}.o"
    cached.parent.mkdir(parents=True, exist_ok=True)
    # Models that a build compiles at the same time may have the same kernels: one makes them.
    with FileLock(cached.with_suffix(".lock")):
        if not _is_intact(cached):
            _compile(module, target, cached)
    symbols = {name: f"{SYMBOL_PREFIX}{prefix}{name}" for name in sorted(kernels)}
    renamed = {f"{SYMBOL_PREFIX}{name}": symbol for name, symbol in symbols.items()}
    with files.replacing(path) as file:
        file.write(rename_symbols(cached.read_bytes(), renamed))
    return KernelObject(symbols, _backend_symbols(path))


def _compile(module: tvm.IRModule, target: Target, destination: Path) -> None:
    code = codegen.compile_module(module, target.tvm_target())
    with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
        scratch = Path(folder) / "kernels.o"
        code.write_to_file(str(scratch), "o")
        files.write(_checksum_path(destination), files.sha256(scratch))
        scratch.replace(destination)


def _is_intact(cached: Path) -> bool:
    """Whether an object is in the cache as it was put there; a damaged one is compiled again."""
    try:
        return files.sha256(cached) == _checksum_path(cached).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False


def _checksum_path(cached: Path) -> Path:
    return cached.with_suffix(".sha256")


def _key(module: tvm.IRModule, target: Target) -> str:
    digest = hashlib.sha256()
    passes = [inspect.getsource(m) for m in (vector_math, codegen, stack)]
    parts = (tvm.__version__, *passes, str(target.tvm_target()), tvm.ir.save_json(module))
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _backend_symbols(path: Path) -> tuple[str, ...]:
    with path.open("rb") as file:
        tables = [s for s in ELFFile(file).iter_sections() if isinstance(s, SymbolTableSection)]
        weak = {
            symbol.name
            for table in tables
            for symbol in table.iter_symbols()
            if symbol["st_info"]["bind"] == "STB_WEAK" and symbol["st_shndx"] != "SHN_UNDEF"
        }
    unknown = {n for n in weak if n.startswith(("__TVM", "__tvm"))} - _BACKEND - _IGNORED
    if unknown:
        raise UnsupportedError(
            f"the kernels need {', '.join(sorted(unknown))}, which the runtime does not have"
        )
    return tuple(sorted(weak & _BACKEND))


def _empty_kernel() -> tvm.tirx.PrimFunc:
    from tvmake.lower.kernel import copy_kernel

    return copy_kernel("uint8", (1,)).function
