"""The toolchain files: their names and places, and what each needs on this machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tvmake.errors import TvmakeError, did_you_mean
from tvmake.paths import data_dir

_ZIG = "ziglang>=0.17,<0.18"
_DEBIAN = {"aarch64": "arm64", "armv7l": "armhf", "riscv64": "riscv64", "x86_64": "amd64"}


@dataclass(frozen=True)
class Need:
    """One thing that a toolchain needs. `found` is None when it is missing."""

    name: str
    found: str | None
    fix: str


def toolchain_names() -> list[str]:
    """The names of all toolchain files."""
    return sorted(
        path.name.removesuffix(".cmake") for path in data_dir("toolchains").glob("*.cmake")
    )


def toolchain_file(name: str) -> Path:
    """The file for CMAKE_TOOLCHAIN_FILE.

    Raises:
        TvmakeError: for an unknown name; it suggests the nearest.
    """
    names = toolchain_names()
    if name not in names:
        raise TvmakeError(
            f"there is no toolchain '{name}'",
            expected=f"one of {' '.join(names)}",
            fix=did_you_mean(name, names),
        )
    return data_dir("toolchains") / f"{name}.cmake"


def toolchain_needs(name: str) -> list[Need]:
    """What building with a toolchain, and running its tests, needs on this machine.

    Raises:
        TvmakeError: for an unknown name.
    """
    toolchain_file(name)
    if name.startswith("android-"):
        return [_android_ndk()]
    kind, triple = _split(name)
    architecture = triple.split("-")[0]
    compiler = {"zig": _zig, "clang": _clang, "gcc": _gcc}[kind]
    needs = compiler(triple)
    if architecture != platform.machine():
        needs.append(_emulator(architecture))
        if "-gnu" in triple and kind != "gcc":
            needs.append(_libc(triple))
    return needs


def _split(name: str) -> tuple[str, str]:
    """zig-aarch64-linux-gnu.2.28 -> zig, aarch64-linux-gnu."""
    for kind in ("zig", "clang"):
        if name.startswith(f"{kind}-"):
            return kind, name.removeprefix(f"{kind}-").split(".")[0]
    return "gcc", name


def _gnu_triple(triple: str) -> str:
    return triple.replace("armv7l-", "arm-")


def _gcc(triple: str) -> list[Need]:
    gnu = _gnu_triple(triple)
    package = f"g++-{gnu.replace('_', '-')}"
    return [
        _command(
            "C++ compiler",
            (f"{gnu}-g++",),
            f"apt-get install {package}, or use the toolchain zig-{triple}, which needs no package",
        )
    ]


def _zig(triple: str) -> list[Need]:
    del triple
    try:
        found = importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        return [Need("ziglang", None, f"{sys.executable} -m pip install '{_ZIG}'")]
    return [Need("ziglang", found, "")]


def _clang(triple: str) -> list[Need]:
    fix = f"apt-get install clang lld, or use the toolchain zig-{triple}, which needs no package"
    linkers = ("ld.lld", f"{_gnu_triple(triple)}-ld")
    return [_command("C++ compiler", ("clang++",), fix), _command("linker", linkers, fix)]


def _android_ndk() -> Need:
    fix = "get it from https://developer.android.com/ndk/downloads, then set ANDROID_NDK_HOME"
    for variable in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK"):
        folder = os.environ.get(variable)
        if folder and Path(folder, "build", "cmake", "android.toolchain.cmake").is_file():
            return Need("Android NDK", folder, "")
    return Need("Android NDK", None, fix)


def _emulator(architecture: str) -> Need:
    name = f"qemu-{'arm' if architecture.startswith('armv') else architecture}"
    return _command("emulator", (name, f"{name}-static"), "apt-get install qemu-user")


def _libc(triple: str) -> Need:
    folder = Path("/usr", _gnu_triple(triple), "lib")
    package = f"libc6-{_DEBIAN[triple.split('-', maxsplit=1)[0]]}-cross"
    found = str(folder) if any(folder.glob("libc.so.*")) else None
    return Need("libc of the target", found, f"apt-get install {package} (to run programs here)")


def _command(name: str, commands: tuple[str, ...], fix: str) -> Need:
    return Need(name, next((path for path in map(shutil.which, commands) if path), None), fix)
