"""Kernels to one relocatable object, by LLVM, for the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvmake.emit import elf, files
from tvmake.emit.merge import merge
from tvmake.emit.parts import NAME, compile_parts
from tvmake.errors import UnsupportedError

if TYPE_CHECKING:
    import tvm

    from tvmake.target import Target

SYMBOL_PREFIX = "__tvm_ffi_"

# What a kernel's code calls through variables that the loader fills in.
_BACKEND = {
    "__TVMBackendParallelLaunch",
    "__TVMBackendAllocWorkspace",
    "__TVMBackendFreeWorkspace",
    "__TVMFFIErrorSetRaisedFromCStr",
}
# Defined in the object, but nothing that a kernel of ours calls: the module's own handle.
_IGNORED = {"__tvm_ffi__library_ctx"}


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
    path: Path,
    kernels: dict[str, tvm.tirx.PrimFunc],
    target: Target,
    prefix: str,
    cache: Path,
    jobs: int = 1,
) -> KernelObject:
    """Compile kernels into `path`, or take them from the cache.

    Args:
        path: the object file to write.
        kernels: prim funcs by name.
        target: the machine to compile for.
        prefix: put before every name, so that models can be linked into one program.
        cache: folder of compiled kernels by content.
        jobs: how many kernels are compiled at once; see `compile_parts`.

    Raises:
        UnsupportedError: when the code generator needs a runtime function that there is not.
    """
    if not kernels:  # a model of views only; LLVM has nothing to compile, the build wants a file
        kernels = {"nothing": _empty_kernel()}
    symbols = {name: f"{SYMBOL_PREFIX}{prefix}{name}" for name in sorted(kernels)}
    parts = compile_parts([kernels[name] for name in symbols], target, cache, jobs)
    merged = merge(
        [
            (part, _renaming(name, symbol))
            for part, (name, symbol) in zip(parts, symbols.items(), strict=True)
        ]
    )
    backend = _backend_symbols(merged)
    with files.replacing(path) as file:
        file.write(elf.write(merged))
    return KernelObject(symbols, backend)


def _renaming(name: str, symbol: str) -> Callable[[str], str]:
    """From the names of a kernel compiled for itself to those in the model."""

    def rename(old: str) -> str:
        if old == f"{SYMBOL_PREFIX}{NAME}":
            return symbol
        # Functions within a kernel, which profilers show.
        return f"{name}{old.removeprefix(NAME)}" if old.startswith(f"{NAME}_") else old

    return rename


def _backend_symbols(merged: elf.Object) -> tuple[str, ...]:
    weak = {
        symbol.name
        for symbol in merged.symbols
        if symbol.binding == elf.WEAK and symbol.section != elf.UNDEFINED
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
