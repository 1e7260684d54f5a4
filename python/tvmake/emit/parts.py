"""Kernels, each compiled for itself by LLVM, several at once, and kept by what they compute."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import tvm
from filelock import FileLock, Timeout

from tvmake.emit import codegen, files, shares, stack, statements
from tvmake.kernels import vector_math

if TYPE_CHECKING:
    from tvmake.target import Target

# What every kernel is called here: one may have another name in each model.
NAME = "kernel"

# Names of Relax variables, alone or before what TVM calls what it makes of them: the importers'
# (`variable_name`) and Relax's own.
_POSITION = re.compile(r'("type":"ffi\.String","data":")(n\d+_|[lg]v\d*)(?=["_])')

_CHECKSUM = hashlib.sha256().digest_size  # bytes at the end of an entry, where ELF has no use


def compile_parts(
    functions: Sequence[tvm.tirx.PrimFunc], target: Target, cache: Path, jobs: int
) -> list[bytes]:
    """An object of each kernel, from the cache or compiled into it.

    Args:
        functions: the kernels.
        target: the machine to compile for.
        cache: folder of compiled kernels by content.
        jobs: how many are compiled at once. More than one forks this process, which must not have
            threads that are at work then.
    """
    texts = [_text(function) for function in functions]
    entries = [cache / f"{key}.o" for key in _keys(texts, target)]
    missing = {entry: text for entry, text in zip(entries, texts, strict=True) if not _read(entry)}
    if missing:
        cache.mkdir(parents=True, exist_ok=True)
        # The largest first, so that none of them is the last that all wait for.
        work = sorted(missing.items(), key=lambda item: (-len(item[1]), item[0]))
        helpers = [_fork(work, target) for _ in range(min(jobs, len(work)) - 1)]
        try:
            _compile_free(work, target)
            for item in work:  # what the helpers are still at, or could not compile
                _compile(*item, target, timeout=-1)
        finally:
            for helper in helpers:
                os.waitpid(helper, 0)
    return [_read(entry) for entry in entries]


def _text(function: tvm.tirx.PrimFunc) -> str:
    """What a kernel computes, without the names that say where in the model it stands.

    Those count the nodes and the calls of the model: a new one would change all behind it.
    """
    numbers: dict[str, int] = {}

    def renamed(match: re.Match[str]) -> str:
        return f"{match[1]}v{numbers.setdefault(match[2], len(numbers))}"

    return _POSITION.sub(renamed, tvm.ir.save_json(function.with_attr("global_symbol", NAME)))


def _keys(texts: Iterable[str], target: Target) -> list[str]:
    common = hashlib.sha256()
    modules = (vector_math, codegen, shares, stack, statements)
    passes = [inspect.getsource(module) for module in modules]
    for part in (tvm.__version__, *passes, str(target.tvm_target())):
        common.update(part.encode() + b"\0")
    keys = []
    for text in texts:
        digest = common.copy()
        digest.update(text.encode())
        keys.append(digest.hexdigest())
    return keys


def _read(entry: Path) -> bytes:
    """An object as it was put into the cache; nothing where it is not, or is damaged."""
    try:
        content = entry.read_bytes()
    except FileNotFoundError:
        return b""
    data, checksum = content[:-_CHECKSUM], content[-_CHECKSUM:]
    return data if hashlib.sha256(data).digest() == checksum else b""


def _compile_free(work: Iterable[tuple[Path, str]], target: Target) -> None:
    """Compile what nobody else, be it of this build or another, is at."""
    for item in work:
        with suppress(Timeout):
            _compile(*item, target, timeout=0)


def _compile(entry: Path, text: str, target: Target, timeout: float) -> None:
    with FileLock(entry.with_suffix(".lock"), timeout):
        if _read(entry):
            return
        module = tvm.IRModule({NAME: tvm.ir.load_json(text)})
        code = codegen.compile_module(module, target.tvm_target())
        with tempfile.TemporaryDirectory(dir=entry.parent) as folder:
            scratch = Path(folder) / entry.name
            code.write_to_file(str(scratch), "o")
            data = scratch.read_bytes()
        files.write(entry, data + hashlib.sha256(data).digest())


def _fork(work: Sequence[tuple[Path, str]], target: Target) -> int:
    """Start a process that compiles what is free.

    Processes, since options of LLVM belong to one as a whole, and a copy of this one, since TVM
    takes longer to import than most models' kernels to compile. Errors are for the process that
    waits: it compiles what is missing in the end.
    """
    with warnings.catch_warnings():
        # Python warns of the threads of NumPy's BLAS, which wait for work and hold no locks.
        warnings.simplefilter("ignore", DeprecationWarning)
        helper = os.fork()
    if helper:
        return helper
    try:
        _compile_free(work, target)
    finally:
        os._exit(0)
